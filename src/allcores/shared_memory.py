"""SharedMemory and ShareableList: the standard library's, whose names are tracked as they should be.

The program that has made a segment removes it at its end if nobody has: as the standard's resource tracker does. Who
only attaches to a segment, as of another program, leaves it to its maker: before Python 3.13 the standard removes it,
at the end of whoever has attached, while others use it.
"""

from __future__ import annotations

from multiprocessing import resource_tracker as tracker
from multiprocessing import shared_memory as standard
from types import FunctionType
from typing import Any

from allcores import start

__all__ = ("ShareableList", "SharedMemory")


class _Untracked:
    """What the standard's code finds in the place of its tracker."""

    @staticmethod
    def register(name: str, kind: str) -> None:
        """Nothing: ``SharedMemory`` below does it."""

    unregister = register


def _as_here(function: Any) -> Any:
    """A function of the standard's that finds the names of this module."""
    ours = FunctionType(function.__code__, globals(), function.__name__, function.__defaults__, function.__closure__)
    ours.__kwdefaults__ = function.__kwdefaults__
    return ours


globals().update({name: value for name, value in vars(standard).items() if not name.startswith("__")})
resource_tracker = _Untracked
_begin: Any = _as_here(standard.SharedMemory.__init__)
_unlink: Any = _as_here(standard.SharedMemory.unlink)


class SharedMemory(standard.SharedMemory):
    """``multiprocessing.shared_memory.SharedMemory``: a named block of memory, which any program can attach to.

    Args:
        name: its name; None: a new one.
        create: make it. Else attach to what is there.
        size: bytes, if it is made.
        track: whether the program removes it at its end. By default what it has made, and nothing else.
    """

    _name: str
    _track = False

    def __init__(
        self, name: str | None = None, create: bool = False, size: int = 0, *, track: bool | None = None
    ) -> None:
        _begin(self, name, create, size)
        self._track = bool(create) if track is None else track
        if self._track:
            start.prepare()  # who removes it, if nobody does
            tracker.register(self._name, "shared_memory")

    def unlink(self) -> None:
        """Remove the name: nobody can attach any more, and the memory goes with the last who has it.

        Raises:
            FileNotFoundError: it was removed before.
        """
        _unlink(self)
        if not self._track:
            tracker.register(self._name, "shared_memory")  # perhaps by another process of the program: now surely
        tracker.unregister(self._name, "shared_memory")


class ShareableList(standard.ShareableList[Any]):
    """``multiprocessing.shared_memory.ShareableList``: a list of fixed length in shared memory."""

    __init__ = _as_here(standard.ShareableList.__init__)
