"""What the asynchronous methods of a pool return: results that arrive when somebody waits for them, or by a driver."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from allcores import codec
from allcores.errors import PoolTerminated, WorkerDied
from allcores.pool.chunking import Chunker
from allcores.pool.crew import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allcores.pool.crew import Known
    from allcores.pool.engine import Engine

__all__ = ("AsyncResult", "IMapIterator", "MapResult")

Callback = "Callable[[Any], object] | None"


class AsyncResult:
    """The result of one call, as ``multiprocessing.pool.AsyncResult``."""

    # Defaults of the class, not set for each: a pool makes a million of these.
    ready_ = False
    _ok = False
    _callbacks: tuple[Any, Any] | None = None
    value: Any = None

    def __init__(self, engine: Engine, known: Known, what: Any) -> None:
        self._engine = engine
        self._known = known
        self._what = what

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the result and return it, or raise what the call raised.

        Raises:
            TimeoutError: it is not there after ``timeout`` seconds; the work goes on.
            WorkerDied: the worker died in this call.
        """
        if not self.ready_ and not self._engine.wait(self, timeout):
            from allcores.errors import TimeoutError

            raise TimeoutError(f"no result within {timeout} s; the work goes on")
        if self._ok:
            return self.value
        raise self.value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, at most ``timeout`` seconds."""
        if not self.ready_:
            self._engine.wait(self, timeout)

    def ready(self) -> bool:
        """Whether the result is there."""
        return self.ready_ or self._engine.wait(self, 0)

    def successful(self) -> bool:
        """Whether the call returned rather than raised.

        Raises:
            ValueError: the result is not there yet.
        """
        if not self.ready():
            raise ValueError("the result is not there yet: get() or wait() first")
        return self._ok

    # Called by the engine.

    def call_back(self, callback: Any, error_callback: Any) -> None:
        """Have one of these called when the result comes, whoever waits then; see ``Engine.drive``."""
        self._callbacks = callback, error_callback
        self._engine.drive(self)

    def succeed(self, value: Any) -> None:
        self.settle(True, value)

    def fail(self, error: BaseException) -> None:
        self.settle(False, error)

    def abandon(self, error: BaseException) -> None:
        self.fail(error)

    def died(self, pid: int, exitcode: int, _item: int) -> None:
        self.fail(WorkerDied(pid, exitcode, None, codec.short_repr(self._what)))

    def settle(self, ok: bool, value: Any) -> None:
        if self.ready_:
            return
        self._ok = ok
        self.value = value
        self._what = None
        self._engine.crew.forget(self._known)
        if self._callbacks is not None:
            callback = self._callbacks[0 if ok else 1]
            self._callbacks = None
            if callback is not None:
                self._engine.call_back(callback, value)
        self.ready_ = True


class _ChunkTask:
    """One chunk on its way, and which items of the input it is."""

    __slots__ = ("items", "job", "start")

    def __init__(self, job: _Chunked, start: int, items: list[Any]) -> None:
        self.job = job
        self.start = start
        self.items = items

    def chunk_done(self, results: list[Any], errors: list[tuple[int, BaseException]], ns: int) -> None:
        self.job.outstanding -= 1
        self.job.chunks.measured(len(self.items), ns)
        for i, error in errors:
            error.add_note(f"item {self.start + i} of the input: {codec.short_repr(self.items[i])}")
        self.job.chunk_done(self, results, dict(errors))

    def fail(self, error: BaseException) -> None:
        """The whole chunk could not be carried or run: every item of it fails, the job decides what that means."""
        self.job.outstanding -= 1
        n = len(self.items)
        if n > 1 and not isinstance(error, WorkerDied):
            self._split(0, n)  # one item is to blame: find it
            return
        self.job.chunk_done(self, [None] * n, dict.fromkeys(range(n), error))

    def abandon(self, error: BaseException) -> None:
        self.job.outstanding = 0
        self.job.fail(error)

    def died(self, pid: int, exitcode: int, item: int) -> None:
        """Only the item that was running fails. The others of its chunk had not answered: they run again."""
        self.job.outstanding -= 1
        error = WorkerDied(pid, exitcode, self.start + item, codec.short_repr(self.items[item]))
        n = len(self.items)
        self._again(0, item)
        self._again(item + 1, n)
        one = _ChunkTask(self.job, self.start + item, self.items[item : item + 1])
        self.job.chunk_done(one, [None], {0: error})

    def _split(self, first: int, end: int) -> None:
        for i in range(first, end):
            self._again(i, i + 1)

    def _again(self, first: int, end: int) -> None:
        if first < end:
            self.job.submit(self.start + first, self.items[first:end])


class _Chunked:
    """What map and imap have in common: an input that is fed in chunks, a bounded number of them on the way."""

    mode = Mode.CHUNK

    def __init__(
        self, engine: Engine, known: Known, items: Iterable[Any], star: bool, size: int | None, most: int
    ) -> None:
        self.engine = engine
        self.known = known
        self.call = known.call | self.mode | (Mode.STAR if star else 0)
        self.chunks = Chunker(items, engine.crew.size, size, most)
        self.window = 2 * engine.crew.size + 1
        self.outstanding = 0
        self.exhausted = False

    def submit(self, start: int, items: list[Any]) -> None:
        self.outstanding += 1
        task = _ChunkTask(self, start, items)
        try:
            self.engine.submit(task, self.call, items)
        except Exception as error:  # noqa: BLE001 - an item that cannot travel
            task.fail(error)

    def feed(self, ahead: int, window: float | None = None) -> None:
        while not self.exhausted and ahead + self.outstanding < (window or self.window):
            chunk = self.chunks.next()
            if chunk is None:
                self.exhausted = True
            else:
                self.submit(*chunk)

    def fail(self, error: BaseException) -> None:
        raise NotImplementedError

    def chunk_done(self, task: _ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        raise NotImplementedError


class MapResult(AsyncResult, _Chunked):
    """The result of ``map`` and ``starmap``: a list in the order of the input, or the error of the lowest index."""

    def __init__(self, engine: Engine, known: Known, items: Iterable[Any], star: bool, size: int | None) -> None:
        AsyncResult.__init__(self, engine, known, None)
        _Chunked.__init__(self, engine, known, items, star, size, 1 << 15)
        self._results: dict[int, list[Any]] = {}
        self._errors: dict[int, BaseException] = {}

    def begin(self) -> Self:
        self._proceed()
        return self

    def _proceed(self) -> None:
        try:
            self.feed(0)
        except Exception as error:  # noqa: BLE001 - the caller's iterator raised
            self.fail(error)
            return
        if not self.exhausted or self.outstanding != 0:
            return
        if self._errors:
            self.fail(self._errors[min(self._errors)])
        else:
            ordered = [self._results[start] for start in sorted(self._results)]
            self._results = {}
            self.succeed(ordered[0] if len(ordered) == 1 else [x for part in ordered for x in part])

    def chunk_done(self, task: _ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        if self.ready_:
            return
        self._results[task.start] = results
        self._errors |= {task.start + i: error for i, error in errors.items()}
        self._proceed()


class IMapIterator(_Chunked):
    """Results as they are asked for, in order or as they come.

    An item that failed raises at its place; the next ``next()`` goes on.

    Never more than a bounded window of chunks ahead of the consumer, however long the input.
    """

    def __init__(self, engine: Engine, known: Known, items: Iterable[Any], ordered: bool, size: int | None) -> None:
        super().__init__(engine, known, items, star=False, size=size, most=1 << 12)
        self._ordered = ordered
        self._waiting: dict[int, tuple[list[Any], dict[int, BaseException]]] = {}
        self._next = 0  # index of the first item not yet in _current
        self._current: deque[Any] = deque()
        self._errors: dict[int, BaseException] = {}  # by how many of _current are left when it is its turn
        self._failed: BaseException | None = None
        self._forgotten = False
        self.ready_ = False

    def begin(self) -> Self:
        self._feed()
        return self

    def _feed(self, window: float | None = None) -> None:
        try:
            self.feed(len(self._waiting), window)
        except Exception as error:  # noqa: BLE001 - the caller's iterator raised: after the results before it
            self._failed, self.exhausted = error, True

    def finish(self, whatever_length: bool) -> None:
        """The pool is closing: submit the rest now, or cut an input of unknown length, which may be endless."""
        if self.exhausted:
            return
        if whatever_length or self.chunks.sized:
            self._feed(math.inf)
        else:
            self.exhausted = True
            self._failed = PoolTerminated("the pool was closed before this input was used up: read all of it before")

    def chunk_done(self, task: _ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        self._waiting[task.start] = (results, errors)
        self.ready_ = True

    def fail(self, error: BaseException) -> None:
        self._failed, self.exhausted, self.ready_ = error, True, True

    def _take(self) -> bool:
        """Make the next finished chunk the current one, if it is there."""
        start = self._next if self._ordered else next(iter(self._waiting), None)
        if start not in self._waiting:
            return False
        results, errors = self._waiting.pop(start)
        self._next = start + len(results)
        self._current.extend(results)
        self._errors = {len(results) - i: e for i, e in errors.items()}
        self._feed()
        return True

    def next(self, timeout: float | None = None) -> Any:
        """The next result; waits for it at most ``timeout`` seconds.

        Raises:
            StopIteration: there are no more.
            TimeoutError: it is not there in time; it can be asked for again.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.ready_ = False  # before the look: what arrives after it is not missed
            if self._current or self._take():
                break
            if self._failed is not None and not self.outstanding:
                failed, self._failed = self._failed, None
                raise failed
            if self.exhausted and not self.outstanding:
                self._forget()
                raise StopIteration
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not self.engine.wait(self, left):
                from allcores.errors import TimeoutError

                raise TimeoutError(f"no result within {timeout} s; the work goes on")
        if self._errors and (error := self._errors.pop(len(self._current), None)) is not None:
            self._current.popleft()
            raise error
        return self._current.popleft()

    def _forget(self) -> None:
        if not self._forgotten:
            self._forgotten = True
            self.engine.crew.forget(self.known)

    def __next__(self) -> Any:
        return self._current.popleft() if self._current and not self._errors else self.next()

    def __iter__(self) -> Self:
        return self
