"""Waiting for several things at once: connections, queues, processes, locks, events, descriptors.

    announce at each thing  ->  look at all  ->  sleep on one word of shared memory  ->  look at all ...

What changes at an announced place counts that word up (native/include/allcores/several.hpp). Things of this process
alone, as the thread context has them, and a thread that looks at descriptors, count it up likewise.
"""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from allcores import _native, codec
from allcores.connection import Connection
from allcores.queues import QueueEnd

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Local", "has_descriptors", "tell", "wait")

_NATIVE = (
    _native.Channel,
    _native.PipeEnd,
    _native.Lock,
    _native.Semaphore,
    _native.BoundedSemaphore,
    _native.Event,
)


@runtime_checkable
class Local(Protocol):
    """Something of this process alone; whoever changes it calls ``tell``."""

    def _is_ready(self) -> bool: ...


# A token for each wait that looks at something local.
_waits: set[object] = set()


def tell() -> None:
    """Something of this process has changed: whoever waits for several things looks again."""
    if _waits:
        _native.several_tell()


class _Things:
    """What is waited for, sorted by how it is looked at."""

    def __init__(self, object_list: Iterable[Any]) -> None:
        self.objects = list(object_list)
        self.native: list[Any] = []
        self.local: list[Local] = []
        self.fds: list[int] = []
        self._kinds = [self._sort(obj) for obj in self.objects]
        self._poll = select.poll()
        for fd in self.fds:
            self._poll.register(fd, select.POLLIN)

    def _sort(self, obj: Any) -> tuple[list[Any], int]:
        """Where it is looked at: in which list, at which place."""
        thing: Any = (obj._receives or obj._refuse_to_receive()) if isinstance(obj, Connection) else obj
        if isinstance(obj, QueueEnd):
            thing = obj.queue
        kind: list[Any]
        if isinstance(thing, _NATIVE):
            if isinstance(thing, _native.Channel) and thing.closed:
                raise ValueError("this queue is closed: wait() after close()")
            kind = self.native
        elif isinstance(thing, Local):
            kind = self.local
        else:
            kind, thing = self.fds, _descriptor(thing)
        kind.append(thing)
        return kind, len(kind) - 1

    def handles(self) -> list[int]:
        """Asked for anew each time: a connection that was closed meanwhile names nothing any more."""
        return [thing.offset for thing in self.native]

    def ready(self) -> list[Any]:
        """Those that are ready, in their order."""
        readable = self.readable(0) if self.fds else set()
        found = {
            id(self.native): _native.several_ready(self.handles()) if self.native else [],
            id(self.local): [thing._is_ready() for thing in self.local],
            id(self.fds): [fd in readable for fd in self.fds],
        }
        return [obj for obj, (kind, i) in zip(self.objects, self._kinds, strict=True) if found[id(kind)][i]]

    def readable(self, timeout: float | None) -> set[int]:
        """Which of the descriptors are; waits for that."""
        events = self._poll.poll(None if timeout is None else max(timeout, 0) * 1000)
        for fd, event in events:
            if event & select.POLLNVAL:
                raise OSError(errno.EBADF, f"{os.strerror(errno.EBADF)}: {fd} is no open file descriptor")
        return {fd for fd, _ in events}


def _descriptor(obj: Any) -> int:
    fd = obj
    if not isinstance(obj, int):
        fileno = getattr(obj, "fileno", None)
        fd = fileno() if fileno is not None else getattr(obj, "sentinel", None)
    if not isinstance(fd, int):
        raise TypeError(
            f"cannot wait for {codec.short_repr(obj)}: wait() takes connections, queues, processes, locks, semaphores, "
            "events, file descriptors, and what has a fileno()"
        )
    if fd < 0:
        raise ValueError(f"a file descriptor is 0 or more, not {fd}")
    return fd


def has_descriptors(object_list: Iterable[Any]) -> bool:
    """Whether something outside of the program could end the wait."""
    return bool(_Things(object_list).fds)


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until one or more of the things are ready; the list of those that are, in their order.

    Ready is a Connection when something can be received or the other end is gone, a Queue when an item can be taken, a
    Process (or its ``sentinel``) when it has ended, a Lock or Semaphore when it could be acquired, or would raise, an
    Event when it is set, a file descriptor (or what has a ``fileno()``) when it is readable. Nothing is taken: where
    others wait for the same, it may be gone a moment later.

    Args:
        object_list: any number of them, of any kinds. With none the answer is at once an empty list.
        timeout: seconds to wait at most; None for as long as it takes. When it is over, the list is empty.

    Raises:
        TypeError: one of them cannot be waited for.
        OSError: a connection is closed, or cannot receive; a descriptor is not open.
        ValueError: a queue is closed.
    """
    things = _Things(object_list)
    deadline = None if timeout is None or timeout > 1e6 else time.monotonic() + timeout
    ready = things.ready()
    if ready or not things.objects or (timeout is not None and not timeout > 0):  # NaN too
        return ready
    if not things.native and not things.local:
        return _wait_for_descriptors(things, deadline)
    return _wait(things, deadline)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - time.monotonic(), 0)


def _wait_for_descriptors(things: _Things, deadline: float | None) -> list[Any]:
    things.readable(_left(deadline))
    return things.ready()


def _wait(things: _Things, deadline: float | None) -> list[Any]:
    me = object()
    lookout = None
    try:
        if things.local:
            _waits.add(me)
        while True:
            if things.fds and (lookout is None or lookout.told()):
                if lookout is not None:
                    lookout.stop()
                lookout = _native.Lookout(things.fds)
            seen = _native.several_announce(things.handles())
            ready = things.ready()
            left = _left(deadline)
            if ready or left == 0:
                return ready
            _native.several_sleep(seen, left)
    finally:
        _waits.discard(me)
        if lookout is not None:
            lookout.stop()
