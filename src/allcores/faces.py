"""Modules under the standard library's names: what is not ours is the standard's, looked up when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("face",)


def face(module: str, above: Mapping[str, str] | None = None, *, rest: bool = True) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module that ``multiprocessing`` has one of the same name of.

    Args:
        module: its name, ``allcores.connection``.
        above: names that are ours, and where they are, as ``allcores.several wait``: what the module itself, which lies
            lower, cannot import.
        rest: whether all other names are the standard's: not so where a module of ours has the name of one of them.
    """
    standard = module.replace("allcores", "multiprocessing", 1)
    known = above or {}

    def find(name: str) -> Any:
        # Names with two underscores are asked for by whoever looks at modules, and are no names of theirs.
        if name in known or (rest and not name.startswith("__")):
            where, _, found = known.get(name, f"{standard} {name}").partition(" ")
            try:
                return getattr(importlib.import_module(where), found)
            except AttributeError:
                pass
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find
