"""Locks, semaphores and events that work between processes and threads alike, and survive the death of a holder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from allcores import _native, codec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BoundedSemaphore", "Event", "Lock", "RLock", "Semaphore")


class Lock(_native.Lock):
    """A lock between processes and threads, as ``multiprocessing.Lock``.

    May be released by another thread or process than acquired it. If its holder dies, ``acquire`` raises
    ``OwnerDied`` until ``recover()`` is called. Travels by handle: as argument, in closures, through queues.
    """

    def __init__(self) -> None:
        super().__init__(recursive=False)

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        _native.Lock.__init__(obj, recursive=cls is RLock, offset=offset)
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'held' if self.locked() else 'free'}>"


class RLock(Lock):
    """A lock that its owning thread may acquire again, as ``multiprocessing.RLock``; released as often."""

    def __init__(self) -> None:
        _native.Lock.__init__(self, recursive=True)


class Semaphore(_native.Semaphore):
    """A counter of permits, as ``multiprocessing.Semaphore``. A permit whose holder dies is gone.

    Args:
        value: permits at the start, 0 or more.
    """

    _bounded = False

    def __init__(self, value: int = 1) -> None:
        super().__init__(value=_permits(value), bounded=self._bounded)

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        _native.Semaphore.__init__(obj, offset=offset)
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} value={self.get_value()}>"


class BoundedSemaphore(Semaphore):
    """A semaphore that refuses, with ValueError, to be released more often than it was acquired."""

    _bounded = True


class Event(_native.Event):
    """A flag that processes and threads wait for, as ``multiprocessing.Event``."""

    def __init__(self) -> None:
        super().__init__()

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        _native.Event.__init__(obj, offset=offset)
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset)

    def __repr__(self) -> str:
        return f"<Event {'set' if self.is_set() else 'not set'}>"


def _permits(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"value must be an int, the number of permits, not {value!r}")
    return value
