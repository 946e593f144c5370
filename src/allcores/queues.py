"""Queues between processes, in shared memory: a put never depends on a reader, nor on a helper thread.

put ── encode ── cell of the ring, buffers in blocks ──▶ get
                      │
                   ledger      only of a JoinableQueue, or with max_bytes: bytes that wait, items not done, in whose
                               hands; changed under a lock together with the ring, so that no death leaves it wrong
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any, Self

from allcores import _native, codec, kin
from allcores.errors import UnpicklableError
from allcores.faces import face

if TYPE_CHECKING:
    from allcores.queuestate import QueueStatistics

__all__ = ("JoinableQueue", "Queue", "QueueEnd", "SimpleQueue")

__getattr__ = face(__name__)


class Queue(_native.Channel):
    """A first-in, first-out queue for any number of producers and consumers, as ``multiprocessing.Queue``.

    What was put before a process ends, or is killed, arrives. With ``maxsize`` 0 (or less) ``put`` never blocks: what
    is waiting stays in shared memory. NumPy arrays and other buffers of 4 KiB and more take one copy in and none out;
    the receiver's array is writable and its own.

    ``get(block=True, timeout=None)`` and ``put(obj, block=True, timeout=None)`` take a timeout in seconds, and raise
    ``queue.Empty`` and ``queue.Full``. ``put`` raises ``UnpicklableError`` at once for what cannot travel.

    Args:
        maxsize: how many items may wait before ``put`` blocks; 0 for no limit.
        max_bytes: how many bytes may wait before ``put`` blocks; None for no limit. An item counts with what it takes
            in shared memory, its pickle and buffers, and at least 1; shared objects in it count as their handles. One
            that is larger than ``max_bytes`` is let in when the queue is empty; until then smaller ones may overtake
            it. May be given together with ``maxsize``.
        ctx: for subclasses written for the standard library, which give it: it changes nothing.

    A subclass that has ``_on_queue_feeder_error(error, obj)``, as the standard lets it, is told by that of what cannot
    travel: ``put`` then raises nothing.
    """

    __class__ = kin.also("multiprocessing.queues", "Queue")

    _joinable = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "_on_queue_feeder_error" in vars(cls) and "put" not in vars(cls):
            cls.put = _put_or_tell  # type: ignore[method-assign] # here only: no frame more for all other queues

    def __init__(self, maxsize: int = 0, *, max_bytes: int | None = None, ctx: Any = None) -> None:
        if not isinstance(maxsize, int) or max_bytes is not None:
            from allcores import counting

            counting.check_limits(maxsize, max_bytes)
        super().__init__(bound=max(maxsize, 0), max_bytes=max_bytes or 0, joinable=self._joinable)

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        _native.Channel.__init__(obj, offset=offset)
        return obj

    def __reduce__(self) -> tuple[Any, ...]:
        handle, state = codec.handle_of(self, self.offset), self.__getstate__()
        return (*handle, state) if state else handle

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What a class that inherits from this one has beside the queue itself."""
        self.__dict__.update(state)

    def put_nowait(self, obj: Any) -> None:
        """Put without waiting; ``queue.Full`` if there is no room."""
        self.put(obj, block=False)

    def get_nowait(self) -> Any:
        """Get without waiting; ``queue.Empty`` if there is nothing."""
        return self.get(block=False)

    def join_thread(self) -> None:
        """Return at once: there is no helper thread to wait for. After ``close`` only, as the standard says."""
        if not self.closed:
            raise ValueError("join_thread() before close(): close the queue first")

    def cancel_join_thread(self) -> None:
        """Do nothing: a process never waits for its queues at exit, and what it put is not lost."""

    @property
    def _reader(self) -> QueueEnd:
        """The end to wait for, which of the standard's queue many programs take: ``wait([q._reader])``."""
        return QueueEnd(self)

    _writer = _reader

    def statistics(self) -> QueueStatistics:
        """How the queue is now: items, bytes, limits. Does not block."""
        from allcores.queuestate import QueueStatistics

        size, *unfinished = self._counts() if self._joinable or self.max_bytes else (0, 0, 0, 0)
        return QueueStatistics(
            self.qsize(),
            size if self.max_bytes else None,
            self.bound,
            self.max_bytes or None,
            *(unfinished if self._joinable else (None, None, None)),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self.closed else f'holding {self.qsize()}'}>"


class QueueEnd:
    """A queue as the standard's queues show it to who looks inside: a connection to wait for, and to receive from."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    @property
    def closed(self) -> bool:
        """Whether the queue was closed here."""
        return self.queue.closed

    def fileno(self) -> int:
        """A file descriptor that is readable while something is in the queue; as that of a ``Connection``."""
        if self.queue.closed:
            raise OSError("handle is closed")
        return self.queue._fileno(alone=False)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether something is there, or comes within ``timeout`` seconds; with None however long it takes."""
        if not self.queue.empty():
            return True
        wait = select.poll()
        wait.register(self.fileno(), select.POLLIN)
        return bool(wait.poll(None if timeout is None else max(timeout, 0) * 1000))

    def recv(self) -> Any:
        """Take an item."""
        return self.queue.get()

    def send(self, obj: Any) -> None:
        """Put an item."""
        self.queue.put(obj)

    def close(self) -> None:
        """Close the queue here."""
        self.queue.close()


class SimpleQueue(Queue):
    """``put``, ``get``, ``empty`` and ``close``, as ``multiprocessing.SimpleQueue``: a ``Queue`` without limits."""

    __class__ = kin.also("multiprocessing.queues", "SimpleQueue")

    def __init__(self, *, ctx: Any = None) -> None:
        super().__init__()

    def empty(self) -> bool:
        """Whether nothing is in it; ``OSError`` after ``close``."""
        if self.closed:
            raise OSError("this queue is closed: empty() after close()")
        return super().empty()


class JoinableQueue(Queue):
    """A ``Queue`` that knows which items are not done yet, as ``multiprocessing.JoinableQueue``.

    A consumer calls ``task_done()`` once for each item that it has taken. If it ends or is killed with items in its
    hands, taken and not marked done, ``join()`` raises ``ConsumerDied`` instead of waiting for ever; another process
    may still mark them done, or ``recover()`` does. A producer killed in ``put`` leaves an item that arrives, or none.

    An item whose ``get`` failed, because it could not be unpickled, counts as taken.

    Args:
        maxsize: how many items may wait before ``put`` blocks; 0 for no limit.
        max_bytes: how many bytes may wait before ``put`` blocks; see ``Queue``.
    """

    __class__ = kin.also("multiprocessing.queues", "JoinableQueue")

    _joinable = True

    def task_done(self) -> None:
        """Mark an item that was taken as done.

        One of this process's items, if it has any; else one of a process that is alive, which may have passed it on.

        Raises:
            ValueError: everything that was put is done already.
        """
        self._task_done()

    def join(self) -> None:
        """Wait until every item that was put has been marked done.

        Raises:
            ConsumerDied: a process has ended with items that it had taken and not marked done; the error says which and
                how many. Raised until they are marked done, or ``recover()`` is called.
        """
        self._join()

    def recover(self) -> int:
        """Count as done what processes that have ended had in their hands. How many items that were; 0: none.

        For whoever has made sure of what became of them, as ``Lock.recover()``: what has to be done still is put again.
        """
        return self._recover()


def _put_or_tell(self: Any, obj: Any, block: bool = True, timeout: float | None = None) -> None:
    """``put`` of a queue that has ``_on_queue_feeder_error``."""
    try:
        _native.Channel.put(self, obj, block, timeout)
    except UnpicklableError as error:
        self._on_queue_feeder_error(error.__cause__ or error, obj)
