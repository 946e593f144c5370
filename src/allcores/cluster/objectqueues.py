"""Queues and pipes of a cluster, seen from one of its processes."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Self, cast

from allcores import counting
from allcores.cluster import parcel
from allcores.cluster.calls import Gone
from allcores.cluster.objects import HostedObject, pack_noted, seconds
from allcores.connection import write_into
from allcores.errors import NotSupported

if TYPE_CHECKING:
    from allcores.cluster.link import Origin
    from allcores.queuestate import QueueStatistics

__all__ = ("End", "JoinableQueue", "Queue", "SimpleQueue", "make_pipe")


class Queue(HostedObject):
    """A queue of a cluster; see ``allcores.queues.Queue``. Items are copied: into it, and out of it."""

    _kind = "Queue"
    _joinable = False
    _closed = False
    _bound = _max_bytes = 0

    def __init__(self, origin: Origin, maxsize: int = 0, *, max_bytes: int | None = None) -> None:
        counting.check_limits(maxsize, max_bytes)
        self._bound, self._max_bytes = max(maxsize, 0), max_bytes or 0
        self._make(origin, self._bound, self._max_bytes, self._joinable)

    def _extras(self) -> tuple[Any, ...]:
        return self._bound, self._max_bytes

    def _set_extras(self, *extras: Any) -> None:
        self._bound, self._max_bytes = extras

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item. ``queue.Full`` if there is no room, in time; ``UnpicklableError`` if it cannot travel."""
        self._check_open("put")
        data, handles = pack_noted(obj)
        nbytes = counting.estimate_bytes(obj) if isinstance(obj, bytes | bytearray | str) else len(data)
        self._call("put", data, nbytes, handles, timeout=seconds(block, timeout))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item. ``queue.Empty`` if there is none, in time."""
        self._check_open("get")
        return parcel.unpack(self._call("get", timeout=seconds(block, timeout)))

    def put_nowait(self, obj: Any) -> None:
        """Put without waiting; ``queue.Full`` if there is no room."""
        self.put(obj, block=False)

    def get_nowait(self) -> Any:
        """Get without waiting; ``queue.Empty`` if there is nothing."""
        return self.get(block=False)

    def qsize(self) -> int:
        """How many items wait."""
        return int(self._call("counts")[0])

    def empty(self) -> bool:
        """Whether nothing is in it. ``OSError`` if there is something, and it was closed here."""
        nothing = self.qsize() == 0
        if self._closed and not nothing:
            raise OSError("this queue is closed: empty() after close()")
        return nothing

    def full(self) -> bool:
        """Whether as many items or bytes wait as may."""
        items, nbytes = self._call("counts")[:2]
        return bool((self._bound and items >= self._bound) or (self._max_bytes and nbytes >= self._max_bytes))

    @property
    def max_bytes(self) -> int:
        """How many bytes may wait; 0: no limit."""
        return self._max_bytes

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        return self._closed

    def close(self) -> None:
        """Refuse further use by this handle."""
        self._closed = True

    def join_thread(self) -> None:
        """Return at once: there is no helper thread."""
        if not self._closed:
            raise ValueError("join_thread() before close(): close the queue first")

    def cancel_join_thread(self) -> None:
        """Do nothing: there is no helper thread."""

    def _check_open(self, what: str) -> None:
        if self._closed:
            raise ValueError(f"this queue is closed: {what}() after close()")

    @property
    def _reader(self) -> Self:
        """The end to wait for, which of the standard's queue many programs take."""
        return self

    _writer = _reader

    def statistics(self) -> QueueStatistics:
        """How the queue is now."""
        from allcores.queuestate import QueueStatistics

        items, nbytes, *unfinished = self._call("counts")
        return QueueStatistics(
            items,
            nbytes if self._max_bytes else None,
            self._bound,
            self._max_bytes or None,
            *(unfinished if self._joinable else (None, None, None)),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self._closed else f'holding {self.qsize()}'}>"


class SimpleQueue(Queue):
    """A ``Queue`` without limits; see ``allcores.queues.SimpleQueue``."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)

    def empty(self) -> bool:
        """Whether nothing is in it; ``OSError`` after ``close``."""
        if self._closed:
            raise OSError("this queue is closed: empty() after close()")
        return super().empty()


class JoinableQueue(Queue):
    """A ``Queue`` that knows which items are not done yet; see ``allcores.queues.JoinableQueue``."""

    _joinable = True

    def task_done(self) -> None:
        """Mark an item that was taken as done. ValueError: everything is done already."""
        self._call("task_done")

    def join(self) -> None:
        """Wait until every item has been marked done. ConsumerDied: a process has ended with items in its hands."""
        self._call("join")

    def recover(self) -> int:
        """Count as done what processes that have ended had in their hands. How many items that were."""
        return int(self._call("recover"))


class End(HostedObject):
    """One side of one direction of a pipe: what a Connection is made of."""

    _sends = False
    _closed = False

    def __init__(self, origin: Origin, sends: bool, other: int | None = None) -> None:
        self._kind = "SendingEnd" if sends else "ReceivingEnd"
        self._sends, self._waits = sends, set[int]()
        self._make(origin, *(() if other is None else (other,)))

    def _extras(self) -> tuple[Any, ...]:
        self._check_open()
        return (self._sends,)

    def _set_extras(self, *extras: Any) -> None:
        (self._sends,) = extras
        self._waits = set()

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("handle is closed")

    def send(self, obj: Any, /) -> None:
        """Send an object."""
        self._send(False, *pack_noted(obj))

    def send_bytes(self, buffer: Any) -> None:
        """Send bytes."""
        self._send(True, bytes(buffer))

    def _send(self, is_bytes: bool, data: bytes, handles: tuple[tuple[int, str], ...] = ()) -> None:
        self._check_open()
        self._call("send", is_bytes, data, handles)

    def recv(self) -> Any:
        """Wait for an object."""
        self._check_open()
        is_bytes, data = self._wait("recv")
        return pickle.loads(data) if is_bytes else parcel.unpack(data)

    def recv_bytes(self) -> bytes:
        """Wait for bytes."""
        self._check_open()
        return bytes(self._wait("recv")[1])

    def recv_bytes_into(self, buffer: Any, offset: int) -> int | bytes:
        """Wait for bytes; those themselves where they do not fit."""
        return write_into(buffer, offset, self.recv_bytes())

    def poll(self, timeout: float | None = None) -> bool:
        """Wait until something is there, or the end."""
        self._check_open()
        return bool(self._wait("poll", seconds(True, timeout)))

    def _wait(self, op: str, timeout: float | None = None) -> Any:
        """A call that another thread ends by closing this."""
        ticket = self._link.ticket()
        self._waits.add(ticket)
        try:
            return self._link.call(self._oid, op, (), timeout, ticket)
        except Gone:
            self._check_open()
            raise
        finally:
            self._waits.discard(ticket)

    def lend(self) -> Self:
        """Another of this side, for a thread."""
        return cast("Self", self._again())

    def fileno(self) -> int:
        """Not possible: what comes, comes over the engine's connections."""
        self._check_open()
        raise NotSupported("a connection of a cluster has no file descriptor: use wait(), or poll()")

    def close(self) -> None:
        """Let go of the side; it is gone when its last end is."""
        self._closed = True
        for ticket in list(self._waits):
            self._link.post(0, "cancel", (ticket,))
        self._end()


def make_pipe(origin: Origin) -> tuple[End, End]:
    """A new direction: who receives, and who sends."""
    receives = End(origin, False)
    return receives, End(origin, True, receives._oid)
