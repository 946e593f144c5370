"""The client side of a cluster's objects: the names, methods and errors of ``allcores.sync``, over a Link.

They travel by handle, into every process of the cluster: as argument, in closures, through queues, as result.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from allcores import codec, reducers
from allcores.cluster import link as links
from allcores.cluster import parcel
from allcores.sync import AwaitsPredicates, _number

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Link, Origin

__all__ = (
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "HostedObject",
    "Lock",
    "RLock",
    "Semaphore",
    "pack_noted",
    "seconds",
)

_tokens = itertools.count(1)


class _Leaving(threading.local):
    """Of each thread: the handles in what it packs, where somebody wants to know."""

    noted: list[tuple[int, str]] | None = None


_leaving = _Leaving()


def pack_noted(obj: Any) -> tuple[bytes, tuple[tuple[int, str], ...]]:
    """An object, packed, and the handles in it: who gives it up unread says so of them."""
    before, _leaving.noted = _leaving.noted, []
    try:
        return parcel.pack_small(obj), tuple(_leaving.noted)
    finally:
        _leaving.noted = before


class HostedObject:
    """An object of a cluster, seen from one of its processes."""

    _kind: str
    _origin: Origin
    _oid: int
    _by: Link

    def _make(self, origin: Origin, *args: Any) -> None:
        """Have it made, where the cluster's objects are."""
        self._bind(origin, links.find(origin).call(0, "make", (self._kind, args)))

    def _bind(self, origin: Origin, oid: int) -> None:
        self._origin, self._oid = origin, oid
        self._by = links.find(origin)
        self._end = weakref.finalize(self, self._by.post, 0, "drop", (oid,))
        self._end.atexit = False  # the process's end says the same

    @property
    def _link(self) -> Link:
        if self._by.pid != os.getpid():  # this is a fork, which comes to the cluster by a way of its own
            self._end.detach()
            self._bind(self._origin, self._oid)
            _say_arrived(self, self._leave())
        return self._by

    def _leave(self) -> str:
        token = f"{self._link.node}:{threading.get_native_id()}:{next(_tokens)}"
        if reducers.sending.hosted is not None:  # it is kept, with this handle, and not on its way
            reducers.sending.hosted.append(self)
            return token
        self._link.post(0, "leave", (self._oid, token))
        if _leaving.noted is not None:
            _leaving.noted.append((self._oid, token))
        return token

    def _call(self, op: str, *args: Any, timeout: float | None = None) -> Any:
        return self._link.call(self._oid, op, args, timeout)

    def _extras(self) -> tuple[Any, ...]:
        """What else of it travels; ``_set_extras`` takes it where it arrives."""
        return ()

    def _set_extras(self, *_extras: Any) -> None: ...

    def _again(self) -> Any:
        """Another handle of it here."""
        how, args = self.__reduce__()
        return how(*args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _arrived, (type(self), self._origin, self._oid, self._leave(), self._extras())


def _arrived(cls: Any, origin: Origin, oid: int, token: str, extras: tuple[Any, ...]) -> Any:
    obj = cls.__new__(cls)
    obj._bind(origin, oid)
    _say_arrived(obj, token)
    obj._set_extras(*extras)
    return obj


def _say_arrived(obj: HostedObject, token: str) -> None:
    obj._link.post(0, "arrive", (obj._oid, token))


def seconds(block: bool, timeout: float | None) -> float | None:
    """How long a call may wait."""
    return 0 if not block else None if timeout is None else max(timeout, 0)


class Lock(HostedObject):
    """A lock of a cluster; see ``allcores.sync.Lock``.

    If the process of its holder dies, or the worker that it is in, ``acquire`` raises ``OwnerDied`` until
    ``recover()``.
    """

    _kind = "Lock"
    _recursive = False

    def __init__(self, origin: Origin, *, on_owner_death: Any = "poison") -> None:
        if on_owner_death not in ("poison", "release"):
            raise ValueError(f"on_owner_death must be 'poison' or 'release', not {codec.short_repr(on_owner_death)}")
        self._make(origin, self._recursive, on_owner_death == "release", type(self).__name__)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire it; False if that was not possible, in time."""
        return bool(self._call("acquire", timeout=seconds(block, timeout)))

    def release(self) -> None:
        """Release it."""
        self._call("release")

    def locked(self) -> bool:
        """Whether it is held, by anybody."""
        return bool(self._call("locked"))

    def recover(self) -> bool:
        """What it guards is all right again: whether anybody had died with it."""
        return bool(self._call("recover"))

    def _is_mine(self) -> bool:
        return bool(self._call("is_mine"))

    @property
    def recursive(self) -> bool:
        """Whether its owner may acquire it again."""
        return self._recursive

    @property
    def name(self) -> str:
        """A name for people."""
        return f"{type(self).__name__} {self._oid}"

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{self.name} {'held' if self.locked() else 'free'}>"


class RLock(Lock):
    """A lock that its owning thread may acquire again; see ``allcores.sync.RLock``."""

    _recursive = True

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire it, once more if this thread has it; False if that was not possible, in time."""
        got = super().acquire(block, timeout)
        if got:
            self._link.holds(1)
        return got

    def release(self) -> None:
        """Release it, once."""
        super().release()
        self._link.holds(-1)


class Semaphore(HostedObject):
    """A counter of permits; see ``allcores.sync.Semaphore``."""

    _kind = "Semaphore"

    def __init__(self, origin: Origin, value: int = 1) -> None:
        if not 0 <= _number(value, "value", "of permits") <= 1 << 30:
            raise ValueError(f"value must be 0 or more, not {value}")
        self._make(origin, value)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a permit; False if there was none, in time."""
        return bool(self._call("acquire", timeout=seconds(block, timeout)))

    def release(self, n: int = 1) -> None:
        """Give permits back."""
        if n < 1:
            raise ValueError(f"n must be one or more, not {n}")
        self._call("release", n)

    def get_value(self) -> int:
        """Permits that are free."""
        return int(self._call("get_value"))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} value={self.get_value()}>"


class BoundedSemaphore(Semaphore):
    """A semaphore that is never released more often than acquired; see ``allcores.sync.BoundedSemaphore``."""

    _kind = "BoundedSemaphore"

    def __init__(self, origin: Origin, value: int = 1) -> None:
        if _number(value, "value", "of permits") > 1 << 20:
            raise ValueError(f"value must be from 0 to {1 << 20}, not {value}")
        super().__init__(origin, value)


class Event(HostedObject):
    """A flag; see ``allcores.sync.Event``."""

    _kind = "Event"

    def __init__(self, origin: Origin) -> None:
        self._make(origin)

    def is_set(self) -> bool:
        """Whether it is set."""
        return bool(self._call("is_set"))

    def set(self) -> None:
        """Set it: all that wait go on."""
        self._call("set")

    def clear(self) -> None:
        """Unset it."""
        self._call("clear")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set; False if it was not, in time."""
        return bool(self._call("wait", timeout=seconds(True, timeout)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


class Condition(AwaitsPredicates, HostedObject):
    """A condition variable; see ``allcores.sync.Condition``."""

    _kind = "Condition"
    _lock: Lock

    def __init__(self, origin: Origin, lock: Any = None) -> None:
        if lock is not None and not isinstance(lock, Lock):
            raise TypeError(f"lock must be a Lock or RLock of this context, not {codec.short_repr(lock)}")
        self._set_extras(RLock(origin) if lock is None else lock)
        self._make(origin, self._lock._oid)

    def _extras(self) -> tuple[Any, ...]:
        return (self._lock,)

    def _set_extras(self, *extras: Any) -> None:
        (self._lock,) = extras
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        # A wait() that ended by OwnerDied has left without the lock.
        if exc_info[0] is None or self._lock._is_mine():
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock, wait to be notified, acquire it again. False: not in time. See there for errors."""
        try:
            return bool(self._call("wait", timeout=seconds(True, timeout)))
        except BaseException as error:
            if not isinstance(
                error, Exception
            ):  # broken off by Ctrl-C: its caller's `with` releases the lock, if need be
                self._call("take_back")
            raise

    def notify(self, n: int = 1) -> None:
        """Wake the ``n`` that have waited longest."""
        if _number(n, "n", "of those to wake") < 0:
            raise ValueError(f"n must be 0 or more, not {n}")
        self._call("notify", n)

    def notify_all(self) -> None:
        """Wake all that wait."""
        self._call("notify", sys.maxsize)

    def _waiting(self) -> int:
        return int(self._call("waiting"))

    def __repr__(self) -> str:
        return f"<Condition of {self._lock.name}, {self._waiting()} waiting>"


class Barrier(HostedObject):
    """A place where a number of processes or threads wait for each other; see ``allcores.sync.Barrier``."""

    _kind = "Barrier"

    def __init__(
        self, origin: Origin, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> None:
        if not 1 <= _number(parties, "parties", "of those who wait for each other") <= 1 << 20:
            raise ValueError(f"parties must be from 1 to {1 << 20}, not {parties}")
        self._set_extras(parties, action, timeout)
        self._make(origin, parties)

    def _extras(self) -> tuple[Any, ...]:
        return self.parties, self._action, self._timeout

    def _set_extras(self, *extras: Any) -> None:
        self.parties, self._action, self._timeout = extras

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all parties are here. The number of this one among them, from 0.

        Raises:
            BrokenBarrierError: the barrier is or was broken, or ``reset()`` came meanwhile.
        """
        timeout = self._timeout if timeout is None else timeout
        number, acts = self._call("wait", self._action is not None, timeout=seconds(True, timeout))
        if acts:
            well = False
            try:
                self._action()
                well = True
            finally:
                self._call("acted", well)
        return int(number)

    def abort(self) -> None:
        """Break it."""
        self._call("abort")

    def reset(self) -> None:
        """Begin anew; who waits gets BrokenBarrierError."""
        self._call("reset")

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self._call("state")[0])

    @property
    def n_waiting(self) -> int:
        """How many wait."""
        return int(self._call("state")[1])

    def __repr__(self) -> str:
        state = "broken" if self.broken else f"{self.n_waiting} of {self.parties} waiting"
        return f"<Barrier {state}>"
