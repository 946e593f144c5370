"""The client side of a cluster's objects: the names, methods and errors of ``allcores.sync``, over a Link.

They travel by handle, into every process of the cluster: as argument, in closures, through queues, as result.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.cluster import link as links

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Link, Origin

__all__ = ("HostedObject", "Lock", "RLock", "Semaphore")

_tokens = itertools.count(1)


class HostedObject:
    """An object of a cluster, seen from one of its processes."""

    _kind: str
    _link: Link
    _origin: Origin
    _oid: int

    def _make(self, origin: Origin, *args: Any) -> None:
        """Have it made, where the cluster's objects are."""
        self._bind(origin, links.find(origin).call(0, "make", (self._kind, args)))

    def _bind(self, origin: Origin, oid: int) -> None:
        self._origin, self._oid = origin, oid
        self._link = links.find(origin)
        self._end = weakref.finalize(self, self._link.post, 0, "drop", (oid,))
        self._end.atexit = False  # the process's end says the same

    def _call(self, op: str, *args: Any, timeout: float | None = None) -> Any:
        return self._link.call(self._oid, op, args, timeout)

    def _extras(self) -> tuple[Any, ...]:
        """What else of it travels; ``_set_extras`` takes it where it arrives."""
        return ()

    def _set_extras(self, *_extras: Any) -> None: ...

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        token = f"{self._link.node}:{threading.get_native_id()}:{next(_tokens)}"
        self._link.post(0, "leave", (self._oid, token))
        return _arrived, (type(self), self._origin, self._oid, token, self._extras())


def _arrived(cls: Any, origin: Origin, oid: int, token: str, extras: tuple[Any, ...]) -> Any:
    obj = cls.__new__(cls)
    obj._bind(origin, oid)
    obj._link.post(0, "arrive", (oid, token))
    obj._set_extras(*extras)
    return obj


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


class Semaphore(HostedObject):
    """A counter of permits; see ``allcores.sync.Semaphore``."""

    _kind = "Semaphore"

    def __init__(self, origin: Origin, value: int = 1) -> None:
        self._make(origin, value)

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take a permit; False if there was none, in time."""
        return bool(self._call("acquire", timeout=seconds(block, timeout)))

    def release(self, n: int = 1) -> None:
        """Give permits back."""
        self._call("release", n)

    def get_value(self) -> int:
        """Permits that are free."""
        return int(self._call("get_value"))

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self.release()
