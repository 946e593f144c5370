"""Which context a program has that names none, and by which method its processes start: what was chosen so far.

ALLCORES_CONTEXT, else "process"  ──▶  set_start_method()  ──▶  first use: from then on only by force
in a child: the method that it was started by
"""

from __future__ import annotations

import os

from allcores.errors import UsageError

__all__ = ("DEFAULT", "METHODS", "check", "choose", "fix", "is_fixed", "method", "name", "place")

# In the standard's order.
METHODS = ("fork", "spawn", "forkserver")
# Where nothing was chosen: a context, and its start method.
DEFAULT, _ITS_METHOD = "process", "forkserver"

_name: str | None = None


def name() -> str:
    """The context of the program, as it is now; a later choice may change it."""
    return _name or os.environ.get("ALLCORES_CONTEXT") or DEFAULT


def place() -> str | None:
    """The context that the environment names, where that has no start methods: then all of the program runs there."""
    named = os.environ.get("ALLCORES_CONTEXT")
    return None if not named or named in (DEFAULT, *METHODS) else named


def fix() -> str:
    """The same, and it stays: something depends on it from now on."""
    choose(name())
    return name()


def is_fixed() -> bool:
    """Whether it was chosen, or used."""
    return _name is not None


def choose(context: str | None) -> None:
    """Have this context from now on; None: choose again."""
    global _name
    _name = context


def method(context: str) -> str:
    """The start method of processes in this context."""
    return context if context in METHODS else _ITS_METHOD


def check(start_method: str) -> None:
    """Refuse what is no start method.

    Raises:
        UsageError: with those that there are.
    """
    if start_method not in METHODS:
        raise UsageError(
            f"no start method {start_method!r}: choose one of {', '.join(METHODS)}. Another context is chosen by "
            "get_context(name), and for a whole program by the environment variable ALLCORES_CONTEXT"
        )
