"""What the asynchronous methods of a pool return: results that arrive when somebody waits for them, or by a driver."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from allcores import codec
from allcores.errors import PoolTerminated, WorkerDied
from allcores.pool.crew import Mode
from allcores.pool.engine import deadline_after, left_until, log

if TYPE_CHECKING:
    from allcores.pool.chunking import Chunker
    from allcores.pool.crew import Known
    from allcores.pool.engine import Engine

__all__ = ("AsyncResult", "IMapIterator", "MapResult")

Callbacks = tuple[Any, Any]


class AsyncResult:
    """The result of one call, as ``multiprocessing.pool.AsyncResult``."""

    # Defaults of the class, not set for each: a pool makes a million of these.
    ready_ = False
    _settled = False
    _ok = False
    _callbacks: Callbacks | None = None
    value: Any = None

    def __init__(self, engine: Engine, known: Known, what: Any, callbacks: Callbacks | None = None) -> None:
        self._engine = engine
        self._known = known
        self._what = what
        if callbacks is not None:
            self._callbacks = callbacks

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

    def succeed(self, value: Any) -> None:
        self.settle(True, value)

    def fail(self, error: BaseException) -> None:
        self.settle(False, error)

    abandon = fail

    def died(self, pid: int, exitcode: int, _item: int) -> None:
        self.fail(WorkerDied(pid, exitcode, None, codec.short_repr(self._what)))

    def settle(self, ok: bool, value: Any) -> None:
        if self._settled:
            return
        self._ok = ok
        self.value = value
        self._what = None
        self._settled = True
        self._forget()
        if self._callbacks is None:
            self.ready_ = True
        else:
            self._engine.later(self._call_back)

    def _forget(self) -> None:
        self._engine.crew.forget(self._known)

    def _call_back(self) -> None:
        """Ready only when the callback has run, as the standard has it."""
        assert self._callbacks is not None
        callback = self._callbacks[0 if self._ok else 1]
        try:
            if callback is not None:
                callback(self.value)
        except (Exception, SystemExit):  # noqa: BLE001 - it has no caller to raise to; the result stands
            log("a pool callback raised")
        finally:
            self.ready_ = True
            self._engine.tell()


class _ChunkTask:
    """One chunk on its way, and which items of the input it is."""

    __slots__ = ("items", "job", "start")

    def __init__(self, job: _Chunked, start: int, items: list[Any]) -> None:
        self.job = job
        self.start = start
        self.items = items

    def chunk_done(self, results: list[Any], errors: list[tuple[int, BaseException]], ns: int) -> None:
        self.job.chunks.measured(len(self.items), ns)
        for i, error in errors:
            self._note(i, error)
        self._finish(results, dict(errors))

    def fail(self, error: BaseException) -> None:
        """The chunk or its answer could not be carried: of several items one is to blame, so each goes alone."""
        if (n := len(self.items)) > 1:
            self._again([(i, i + 1) for i in range(n)])
            return
        self._note(0, error)
        self._finish([None], {0: error})

    def abandon(self, error: BaseException) -> None:
        self.job.pending.clear()
        self.job.abandon(error)

    def died(self, pid: int, exitcode: int, item: int) -> None:
        """Only the item that was running fails. The others of its chunk had not answered: they run again."""
        n = len(self.items)
        if item >= n:  # in the middle of answering, not of an item
            self.fail(WorkerDied(pid, exitcode, self.start, codec.short_repr(self.items[0])))
            return
        self._again([(0, item), (item + 1, n)])
        one = _ChunkTask(self.job, self.start + item, self.items[item : item + 1])
        self.job.pending.add(one)
        one._finish([None], {0: WorkerDied(pid, exitcode, one.start, codec.short_repr(one.items[0]))})

    def _note(self, i: int, error: BaseException) -> None:
        note = f"item {self.start + i} of the input: {codec.short_repr(self.items[i])}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)

    def _finish(self, results: list[Any], errors: dict[int, BaseException]) -> None:
        self.job.chunk_done(self, results, errors)
        self.job.pending.discard(self)

    def _again(self, parts: list[tuple[int, int]]) -> None:
        parts = [] if self.job.given_up else parts
        self.job.engine.later(self.job.proceed)  # given up, this may have been its last
        tasks = [_ChunkTask(self.job, self.start + a, self.items[a:b]) for a, b in parts if a < b]
        self.job.pending |= set(tasks)
        self.job.pending.discard(self)
        for task in tasks:
            self.job.send(task)


class _Chunked:
    """What map and imap have in common: an input that is fed in chunks, a bounded number of them on the way.

    ``chunk_done`` comes under the engine's seat; ``proceed`` runs the user's iterator, outside of it, in one thread
    at a time.
    """

    def __init__(self, engine: Engine, known: Known, chunks: Chunker, star: bool) -> None:
        self.engine = engine
        self.call = known.call | Mode.CHUNK | (Mode.STAR if star else 0)
        self.chunks = chunks
        self.window = 2 * engine.crew.size + 1
        self.pending: set[_ChunkTask] = set()
        self.exhausted = self.given_up = False
        self._input_error: BaseException | None = None
        self._feeding = threading.Lock()
        self._again = False

    def send(self, task: _ChunkTask) -> None:
        try:
            self.engine.submit(task, self.call, task.items)
        except Exception as error:  # noqa: BLE001 - an item that cannot travel
            self.engine.fail_later(task, error)

    def proceed(self) -> None:
        """Send what the window has room for. If another thread is at it, that one does."""
        self._again = True
        while self._again and self._feeding.acquire(blocking=False):
            try:
                self._again = False
                self.feed(self.window)
                self.fed()
            finally:
                self._feeding.release()

    def feed(self, window: float) -> None:
        try:
            while not self.exhausted and self.ahead() + len(self.pending) < window:
                chunk = self.chunks.next()
                if chunk is None:
                    self.exhausted = True
                    return
                task = _ChunkTask(self, *chunk)
                self.pending.add(task)
                self.send(task)
        except Exception as error:  # noqa: BLE001 - the caller's iterator raised: after the results before it
            self._input_error, self.exhausted = error, True

    def ahead(self) -> int:
        """Chunks that are done and not asked for."""
        return 0

    def fed(self) -> None:
        """Called after feeding: perhaps all is done."""

    def abandon(self, error: BaseException) -> None:
        raise NotImplementedError

    def chunk_done(self, task: _ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        raise NotImplementedError


class MapResult(AsyncResult, _Chunked):
    """The result of ``map`` and ``starmap``: a list in the order of the input, or the error of the lowest index."""

    def __init__(
        self, engine: Engine, known: Known, chunks: Chunker, star: bool, callbacks: Callbacks | None = None
    ) -> None:
        AsyncResult.__init__(self, engine, known, None, callbacks)
        _Chunked.__init__(self, engine, known, chunks, star)
        self._results: dict[int, list[Any]] = {}
        self._errors: dict[int, BaseException] = {}
        self._forgotten = False
        engine.maps.add(self)

    def begin(self) -> Self:
        self.proceed()
        return self

    def run(self) -> Any:
        """Begin, and wait for the result. Broken off by Ctrl-C, it is given up: nobody else could ask for it."""
        try:
            return self.begin().get()
        finally:
            if not self.ready_:
                self.abandon(PoolTerminated("the call of map was interrupted"))
                self.engine.give_up(self)

    def chunk_done(self, task: _ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        self._results[task.start] = results
        self._errors |= {task.start + i: error for i, error in errors.items()}
        self.engine.later(self.proceed)

    def fed(self) -> None:
        if not self.exhausted or self.pending:
            return
        if not self._forgotten:
            self._forgotten = True
            self.engine.crew.forget(self._known)
        self.engine.maps.discard(self)
        if self._settled:
            return  # given up, and now its last chunk has come
        if self._errors:
            self.fail(self._errors[min(self._errors)])
        elif self._input_error is not None:
            self.fail(self._input_error)
        else:
            parts = [self._results[start] for start in sorted(self._results)]
            self._results = {}
            self.succeed(parts[0] if len(parts) == 1 else [x for part in parts for x in part])
        self.engine.tell()

    def abandon(self, error: BaseException) -> None:
        """Give up: no more chunks are sent. Those on the way are still calls of the function, which must stay known."""
        self.exhausted = self.given_up = True
        self.engine.maps.discard(self)
        self.fail(error)

    def _forget(self) -> None:
        """Not when it is settled, but when no chunk is out: ``fed``."""


class IMapIterator(_Chunked):
    """Results as they are asked for, in order or as they come.

    An item that failed raises at its place; the next ``next()`` goes on. Never more than a bounded window of chunks
    ahead of the consumer, however long the input.
    """

    def __init__(self, engine: Engine, known: Known, chunks: Chunker, ordered: bool) -> None:
        super().__init__(engine, known, chunks, star=False)
        self._ordered = ordered
        self._waiting: dict[int, tuple[list[Any], dict[int, BaseException]]] = {}
        self._next = 0  # index of the first item not yet in _current
        self._current: deque[Any] = deque()
        self._errors: dict[int, BaseException] = {}  # by how many of _current are left when it is its turn
        self._one_at_a_time = threading.RLock()
        self.ready_ = False
        # Not at the last result: nobody need ask for that one. Its chunks keep it alive while they are out.
        weakref.finalize(self, engine.crew.forget, known).atexit = False

    def begin(self) -> Self:
        self.proceed()
        return self

    def ahead(self) -> int:
        return len(self._waiting)

    def finish(self, whatever_length: bool) -> None:
        """The pool is closing: submit the rest now, or cut an input of unknown length, which may be endless."""
        if whatever_length or self.chunks.sized:
            self.window = math.inf  # type: ignore[assignment] # a number of chunks all the same
            self.proceed()
        elif not self.exhausted:
            self.exhausted = True
            self._input_error = PoolTerminated("the pool was closed before this input was used up: read it before that")
        self.ready_ = True
        self.engine.tell()

    def chunk_done(self, task: _ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        self._waiting[task.start] = (results, errors)
        self.ready_ = True

    def abandon(self, error: BaseException) -> None:
        self._input_error, self.exhausted, self.ready_ = error, True, True

    def _take(self) -> bool:
        """Make the next finished chunk the current one, if it is there."""
        start = self._next if self._ordered else next(iter(self._waiting), None)
        if start not in self._waiting:
            return False
        results, errors = self._waiting.pop(start)
        self._next = start + len(results)
        self._current.extend(results)
        self._errors = {len(results) - i: e for i, e in errors.items()}
        self.proceed()
        return True

    def next(self, timeout: float | None = None) -> Any:
        """The next result; waits for it at most ``timeout`` seconds.

        Raises:
            StopIteration: there are no more.
            TimeoutError: it is not there in time; it can be asked for again.
        """
        deadline = deadline_after(timeout)
        with self._one_at_a_time:
            while True:
                self.ready_ = False  # before the look: what arrives after it is not missed
                if self._current or self._take():
                    return self._pop()
                if self.exhausted and not self.pending:
                    self._end()
                if not self.engine.wait(self, left_until(deadline)):
                    from allcores.errors import TimeoutError

                    raise TimeoutError(f"no result within {timeout} s; the work goes on")

    def _pop(self) -> Any:
        error = self._errors.pop(len(self._current), None)
        result = self._current.popleft()
        if isinstance(error, StopIteration):  # raised from here it would end the loop in silence
            raise RuntimeError("the job raised StopIteration") from error
        if error is not None:
            raise error
        return result

    def _end(self) -> None:
        if self._waiting:
            return  # a chunk came between the looks
        if self._input_error is not None:
            error, self._input_error = self._input_error, None
            raise error
        raise StopIteration

    def __next__(self) -> Any:
        with self._one_at_a_time:
            if self._current and not self._errors:
                return self._current.popleft()
        return self.next()

    def __iter__(self) -> Self:
        return self
