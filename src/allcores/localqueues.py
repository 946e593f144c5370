"""Queues inside one process, for the contexts whose workers are threads of it. Items are shared, not copied."""

from __future__ import annotations

import os
import queue
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from allcores import kin, several
from allcores.base import here
from allcores.counting import check_limits, estimate_bytes
from allcores.errors import ConsumerDied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allcores.queuestate import QueueStatistics

__all__ = ("LocalJoinableQueue", "LocalQueue", "LocalSimpleQueue")


class LocalQueue(queue.Queue[Any]):
    """A queue inside one process, with the names of ``multiprocessing.Queue``. Items are not copied.

    With ``max_bytes`` the size of an item is an estimate: see ``counting.estimate_bytes``.
    """

    __class__ = kin.also("multiprocessing.queues", "Queue")

    def __init__(self, maxsize: int = 0, *, max_bytes: int | None = None) -> None:
        check_limits(maxsize, max_bytes)
        super().__init__(maxsize)
        self._closed_by: set[object] = set()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sizes: deque[int] = deque()

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        self._check_open("put")
        timeout = _seconds(timeout)
        if self._max_bytes is None:
            super().put(obj, block, timeout)
            several.tell()
            return
        size = estimate_bytes(obj)
        with self.not_full:
            if not self.not_full.wait_for(lambda: self._fits(size), timeout if block else 0):
                raise queue.Full
            self._sizes.append(size)
            self._bytes += size
            self._put(obj)
            self.unfinished_tasks += 1
            self.not_empty.notify()
        several.tell()

    def _fits(self, size: int) -> bool:
        assert self._max_bytes is not None
        has_room = self.maxsize <= 0 or self._qsize() < self.maxsize
        return has_room and (self._qsize() == 0 or self._bytes + size <= self._max_bytes)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._check_open("get")
        return super().get(block, _seconds(timeout))

    def _get(self) -> Any:
        if self._max_bytes is not None:
            self._bytes -= self._sizes.popleft()
            self.not_full.notify_all()  # one may wait for more room than another
        return super()._get()

    def full(self) -> bool:
        """Whether as many items or bytes wait as may."""
        return super().full() or (self._max_bytes is not None and self._bytes >= self._max_bytes)

    def empty(self) -> bool:
        """Whether nothing is in it. ``OSError`` if there is something, and it was closed here."""
        nothing = super().empty()
        if self.closed and not nothing:
            raise OSError("this queue is closed: empty() after close()")
        return nothing

    @property
    def _reader(self) -> Self:
        """The end to wait for, which of the standard's queue many programs take."""
        return self

    _writer = _reader

    def _is_ready(self) -> bool:
        self._check_open("wait")
        return not self.empty()

    def _check_open(self, what: str) -> None:
        if self.closed:
            raise ValueError(f"this queue is closed: {what}() after close()")

    @property
    def closed(self) -> bool:
        """Whether the worker that asks has closed it: each has an end of its own, as where workers are processes."""
        return here() in self._closed_by

    def close(self) -> None:
        """Refuse further use from this worker."""
        self._closed_by.add(here())

    def join_thread(self) -> None:
        """Return at once: there is no helper thread."""
        if not self.closed:
            raise ValueError("join_thread() before close(): close the queue first")

    def cancel_join_thread(self) -> None:
        """Do nothing: there is no helper thread."""

    def statistics(self) -> QueueStatistics:
        """How the queue is now: items, bytes, limits. Does not block."""
        from allcores.queuestate import QueueStatistics

        with self.mutex:
            size = None if self._max_bytes is None else self._bytes
            return QueueStatistics(self._qsize(), size, max(self.maxsize, 0), self._max_bytes, *self._unfinished())

    def _unfinished(self) -> tuple[int | None, int | None, int | None]:
        return None, None, None


class LocalSimpleQueue(LocalQueue):
    """``SimpleQueue`` inside one process."""

    __class__ = kin.also("multiprocessing.queues", "SimpleQueue")

    def __init__(self) -> None:
        super().__init__()

    def empty(self) -> bool:
        """Whether nothing is in it; ``OSError`` after ``close``."""
        if self.closed:
            raise OSError("this queue is closed: empty() after close()")
        return super().empty()


class LocalJoinableQueue(LocalQueue):
    """``JoinableQueue`` inside one process. A worker that ends with items in its hands is to it what a dead one is."""

    __class__ = kin.also("multiprocessing.queues", "JoinableQueue")

    def __init__(self, maxsize: int = 0, *, max_bytes: int | None = None) -> None:
        super().__init__(maxsize, max_bytes=max_bytes)
        self._hands: dict[Any, int] = {}  # Thread, None for the program itself -> items taken and not done
        self._early = 0  # marked done before anybody took them

    def _get(self) -> Any:
        if self._early:
            self._early -= 1
        else:
            me = here()
            self._hands[me] = self._hands.get(me, 0) + 1
            if me is not None:
                me._joinable.add(self)
        return super()._get()

    def task_done(self) -> None:
        """Mark an item that was taken as done.

        Raises:
            ValueError: everything is done already.
        """
        with self.all_tasks_done:
            if self.unfinished_tasks == 0:
                raise ValueError("task_done() called too many times")
            if not self._hands:
                self._early += 1
            elif (me := here()) in self._hands:
                self._drop(me, 1)
            else:  # a living worker's, which may have passed it on; last one of those that have ended
                self._drop(min(self._hands, key=_has_ended), 1)
            self._count_done(1)

    def _drop(self, worker: Any, n: int) -> None:
        self._hands[worker] -= n
        if self._hands[worker] == 0:
            del self._hands[worker]

    def _count_done(self, n: int) -> None:
        self.unfinished_tasks -= n
        if self.unfinished_tasks == 0:
            self.all_tasks_done.notify_all()

    def join(self) -> None:
        """Wait until every item that was put has been marked done.

        Raises:
            ConsumerDied: a worker has ended with items that it had taken and not marked done.
        """
        with self.all_tasks_done:
            while self.unfinished_tasks:
                if lost := [(os.getpid(), worker.name, n) for worker, n in self._lost()]:
                    raise ConsumerDied(lost)
                self._wait()

    def _wait(self) -> None:
        self.all_tasks_done.wait()

    def recover(self) -> int:
        """Count as done what workers that have ended had in their hands. How many items that were."""
        with self.all_tasks_done:
            lost = list(self._lost())
            for worker, n in lost:
                self._drop(worker, n)
            self._count_done(n := sum(n for _, n in lost))
            return n

    def look_again(self) -> None:
        """A worker that took items has ended: who joins has to know."""
        with self.all_tasks_done:
            self.all_tasks_done.notify_all()

    def _lost(self) -> Iterator[tuple[Any, int]]:
        return ((each, n) for each, n in self._hands.items() if _has_ended(each))

    def _unfinished(self) -> tuple[int, int, int]:
        return self.unfinished_tasks, sum(self._hands.values()), sum(n for _, n in self._lost())


def _seconds(timeout: float | None) -> float | None:
    """As between processes: what is negative or NaN is over at once, and infinity never."""
    return None if timeout is None or timeout > 1e6 else timeout if timeout > 0 else 0


def _has_ended(worker: Any) -> bool:
    return worker is not None and worker._ended.is_set()
