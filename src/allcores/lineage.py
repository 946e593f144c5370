"""Which processes are forks of one another: what they had before, they have at the same addresses."""

from __future__ import annotations

import os

__all__ = ("family", "leave")

_family = ""


def family() -> str:
    """The name of this process's family. Nothing: it was never forked, nor made by a fork; so nobody is like it."""
    return _family


def _found() -> None:
    global _family
    _family = _family or os.urandom(8).hex()


def leave() -> None:
    """In a child of the template, which has nothing that its siblings have but what came with the template."""
    global _family
    _family = ""


os.register_at_fork(before=_found)
