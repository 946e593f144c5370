"""The table of contexts: where each is, and those that were made."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from allcores import chosen
from allcores.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("find", "names")

# name -> module, class. The class is imported when its context is first asked for.
_TABLE = {
    "process": ("allcores.contexts.process", "ProcessContext"),
    "thread": ("allcores.contexts.thread", "ThreadContext"),
    "serial": ("allcores.contexts.serial", "SerialContext"),
    "fork": ("allcores.contexts.process", "ForkContext"),
    "spawn": ("allcores.contexts.process", "SpawnContext"),
    "forkserver": ("allcores.contexts.process", "ForkServerContext"),
    "dask": ("allcores.contexts.dask", "DaskContext"),
    "ray": ("allcores.contexts.ray", "RayContext"),
}
_made: dict[tuple[Any, ...], Any] = {}  # by name and options


def names() -> list[str]:
    """All that there are."""
    return list(_TABLE)


def find(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The context of a name and options; made when it is first asked for.

    Raises:
        UsageError: there is none of that name, it has no such option, or its engine is not installed.
    """
    if name in chosen.METHODS:
        name = chosen.place() or name
    if name not in _TABLE:
        whose = " in ALLCORES_CONTEXT" if name == os.environ.get("ALLCORES_CONTEXT") else ""
        raise UsageError(f"cannot find context for {name!r}{whose}: choose one of {', '.join(_TABLE)}")
    given = {k: v for k, v in (options or {}).items() if v is not None}
    key = (name, *sorted((option, _key_of(value)) for option, value in given.items()))
    if key not in _made:
        module, cls = _TABLE[name]
        kind = getattr(importlib.import_module(module), cls)
        for option in set(options or ()) - set(kind.OPTIONS):
            raise UsageError(
                f"the {name} context has no option {option!r}: it knows {', '.join(kind.OPTIONS) or 'none'}"
            )
        _made[key] = kind(**given)
    return _made[key]


def _key_of(value: Any) -> Any:
    return value if isinstance(value, str | int) else id(value)  # its own for as long as the context holds it
