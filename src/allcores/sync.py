"""Locks, semaphores, events, conditions and barriers between processes and threads alike, which survive any death.

Whatever a process that dies was holding or waiting for, the others go on: a lock says ``OwnerDied`` (or is handed on),
the permits of a BoundedSemaphore are free again, a Condition's notification goes to another, a Barrier breaks.

The classes take a context, ``ctx``, as the standard's do; where their objects are does not depend on it.
"""

from __future__ import annotations

import operator
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, Self

from allcores import _native, codec, kin

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("AwaitsPredicates", "Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore")

# Threads of this library that run nothing of the user's.
SERVICE_THREADS = ("allcores-pool-keeper",)
# Modules whose handlers of signals release no lock of the user's: Python's own of Ctrl-C, and ours.
SERVICE_HANDLERS = ("_signal", "allcores.pool.onsignal", "allcores.pool.worker")

OnOwnerDeath = Literal["poison", "release"]


class _Travels:
    """Goes to other processes by handle."""

    offset: int

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        cls.__mro__[cls._native_at()].__init__(obj, offset=offset)  # type: ignore[misc]
        return obj

    @classmethod
    def _native_at(cls) -> int:
        """Where among its bases the native class is: its ``__init__`` alone is called for what arrived."""
        return next(i for i, base in enumerate(cls.__mro__) if base.__module__ == _native.__name__)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset)


class Lock(_Travels, _native.Lock):
    """A lock between processes and threads, as ``multiprocessing.Lock``.

    May be released by another thread or process than acquired it. If its holder dies, ``acquire`` raises
    ``OwnerDied`` until ``recover()`` is called. An acquire that could never end raises ``DeadlockError``: see there.
    Travels by handle: as argument, in closures, through queues.

    Args:
        on_owner_death: ``"poison"``, or ``"release"``: the lock is handed on as if the dead holder had released it, for
            data that is never half changed.
    """

    __class__ = kin.also("multiprocessing.synchronize", "Lock")

    _recursive = False

    def __init__(self, *, on_owner_death: OnOwnerDeath = "poison", ctx: Any = None) -> None:
        if on_owner_death not in ("poison", "release"):
            raise ValueError(f"on_owner_death must be 'poison' or 'release', not {codec.short_repr(on_owner_death)}")
        super().__init__(recursive=self._recursive, release_on_death=on_owner_death == "release")

    def __repr__(self) -> str:
        return f"<{self.name} {'held' if self.locked() else 'free'}>"


class RLock(Lock):
    """A lock that its owning thread may acquire again, as ``multiprocessing.RLock``; released as often.

    Where that thread has ended without releasing it, others get ``OwnerDied``, as if the process had died.
    """

    __class__ = kin.also("multiprocessing.synchronize", "RLock")

    _recursive = True


class _Permits(_Travels):
    """What the standard's own queues ask of a semaphore: they may be made for a context of ours."""

    get_value: Callable[[], int]

    @property
    def _semlock(self) -> Self:
        return self

    def _get_value(self) -> int:
        return self.get_value()

    def _is_zero(self) -> bool:
        return self.get_value() == 0


class Semaphore(_Permits, _native.Semaphore):
    """A counter of permits, as ``multiprocessing.Semaphore``. A permit whose holder dies is gone.

    Args:
        value: permits at the start, 0 or more.
    """

    __class__ = kin.also("multiprocessing.synchronize", "Semaphore")

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        super().__init__(value=_number(value, "value", "of permits"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} value={self.get_value()}>"


class BoundedSemaphore(_Permits, _native.BoundedSemaphore):
    """A semaphore that refuses, with ValueError, to be released more often than it was acquired.

    The permits of a process that dies are free again. Any thread may release a permit: one of its own if it has one.

    Args:
        value: how many may be inside at once, 0 to 1,048,576.
    """

    __class__ = kin.also("multiprocessing.synchronize", "BoundedSemaphore")

    def __init__(self, value: int = 1, *, ctx: Any = None) -> None:
        super().__init__(value=_number(value, "value", "of permits"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} value={self.get_value()}>"


class Event(_Travels, _native.Event):
    """A flag that processes and threads wait for, as ``multiprocessing.Event``."""

    __class__ = kin.also("multiprocessing.synchronize", "Event")

    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


class _Counted:
    """A number, told as a semaphore tells its own."""

    def __init__(self, value: int) -> None:
        self._value = value

    def get_value(self) -> int:
        return self._value


class AwaitsPredicates:
    """``wait_for`` of a condition that has ``wait``."""

    def wait(self, timeout: float | None = None) -> bool:
        raise NotImplementedError

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until ``predicate()``, called with the lock held, is true; its last value."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (result := predicate()):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result


class Condition(_Travels, AwaitsPredicates, _native.Condition):
    """A condition variable, as ``multiprocessing.Condition``: wait, with its lock let go of, until somebody notifies.

    Who has waited longest is notified first. A notification whose receiver died before it woke goes to another. If the
    holder of the lock dies, ``wait`` raises ``OwnerDied``; the lock is then not held.

    Args:
        lock: a Lock or RLock of this library; by default a new RLock.
    """

    __class__ = kin.also("multiprocessing.synchronize", "Condition")

    def __init__(self, lock: Lock | None = None, *, ctx: Any = None) -> None:
        if lock is not None and not isinstance(lock, Lock):
            raise TypeError(f"lock must be an allcores Lock or RLock, not {codec.short_repr(lock)}")
        super().__init__()
        self._use(RLock() if lock is None else lock)

    def _use(self, lock: Lock) -> None:
        self._lock = lock
        self.acquire = lock.acquire
        self.release = lock.release

    @classmethod
    def _attach(cls, offset: int, lock: Lock) -> Self:  # type: ignore[override]
        obj = super()._attach(offset)
        obj._use(lock)
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset, self._lock)

    def __enter__(self) -> bool:
        return bool(self._lock.__enter__())

    def __exit__(self, *exc_info: object) -> None:
        # A wait() that ended by OwnerDied, or was broken off twice, has left without the lock.
        if exc_info[0] is None or self._lock._is_mine():
            self._lock.release()

    def _check_mine(self, what: str) -> None:
        if not self._lock._is_mine():
            raise AssertionError(f"{what} without the lock: write `with condition:` around it")

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock, wait to be notified, acquire it again. False: ``timeout`` seconds were over first.

        Raises:
            AssertionError: this thread does not hold the lock.
            OwnerDied: a process died with the lock; it is not held now.
        """
        self._check_mine("wait()")
        return self._wait(self._lock.offset, timeout)

    def notify(self, n: int = 1) -> None:
        """Wake the ``n`` that have waited longest, or all if there are fewer. They go on when the lock is free."""
        self._check_mine("notify()")
        self._notify(_number(n, "n", "of those to wake"))

    def notify_all(self) -> None:
        """Wake all that wait."""
        self._check_mine("notify_all()")
        self._notify(sys.maxsize)

    # The standard's three semaphores, as far as they say anything here: who sleeps, and that nobody who was woken is
    # still counted. Its own tests look at them.

    @property
    def _sleeping_count(self) -> _Counted:
        return _Counted(self._waiting())

    @property
    def _woken_count(self) -> _Counted:
        return _Counted(0)

    _wait_semaphore = _woken_count

    def __repr__(self) -> str:
        return f"<Condition of {self._lock.name}, {self._waiting()} waiting>"


class Barrier(_Travels, _native.Barrier):
    """A place where a number of processes or threads wait for each other, as ``multiprocessing.Barrier``.

    It breaks when a process that waits here dies, or one that shares it is killed or fails: everybody who waits, now
    or later, gets ``threading.BrokenBarrierError`` with the pid, until ``reset()``.

    Args:
        parties: how many wait for each other, 1 to 1,048,576.
        action: called by one of them when all are there, before they go on; an error in it breaks the barrier.
        timeout: seconds that ``wait`` waits if it is not told otherwise.
    """

    __class__ = kin.also("multiprocessing.synchronize", "Barrier")

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        ctx: Any = None,
    ) -> None:
        if not 1 <= _number(parties, "parties", "of those who wait for each other") <= 1 << 20:
            raise ValueError(f"parties must be from 1 to {1 << 20}, not {parties}")
        super().__init__(parties=parties)
        self._action, self._timeout = action, timeout

    @classmethod
    def _attach(cls, offset: int, action: Any, timeout: float | None) -> Self:  # type: ignore[override]
        obj = super()._attach(offset)
        obj._action, obj._timeout = action, timeout
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset, self._action, self._timeout)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties are here. The number of this one among them, from 0.

        Raises:
            BrokenBarrierError: the barrier is or was broken, by ``abort()``, a timeout, an action that failed or a
                death; or ``reset()`` came meanwhile.
        """
        return self._wait(self._timeout if timeout is None else timeout, self._action)

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"{self.n_waiting} of {self.parties} waiting"
        return f"<Barrier {state}>"


def _number(value: Any, name: str, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, the number {what}, not {codec.short_repr(value)}") from None


# Asked by the core.


def _others_here() -> bool:
    """Whether anything else in this process could release a lock: another thread, or a handler of a signal."""
    ours = {t.ident for t in threading.enumerate() if t.name in SERVICE_THREADS}
    # Not only those that the threading module knows: a thread of _thread's or of an extension may release it as well.
    if len(sys._current_frames().keys() - ours) > 1:
        return True
    import signal

    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    return any(callable(each) and getattr(each, "__module__", "") not in SERVICE_HANDLERS for each in handlers)


def _line_of_caller() -> str:
    """File and line of the innermost frame that is the user's."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "allcores":
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"[-250:]


_native.trace_locks(os.environ.get("ALLCORES_TRACE_LOCKS", "0") not in ("", "0"))
