"""What the asynchronous methods of a pool return: results that arrive when somebody waits for them, or by a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from allcores import codec
from allcores.errors import PoolTerminated
from allcores.failure import Failure
from allcores.pool.chunked import Chunked
from allcores.pool.crew import Mode
from allcores.pool.doing import TookTooLong
from allcores.pool.unasked import Unseen
from allcores.pool.waiting import is_ctrl_c, log

if TYPE_CHECKING:
    from allcores.deaths import Death
    from allcores.pool.chunking import Chunker
    from allcores.pool.chunktask import ChunkTask
    from allcores.pool.crew import Known
    from allcores.pool.doing import Overdue
    from allcores.pool.engine import Engine
    from allcores.pool.options import Options

__all__ = ("AsyncResult", "MapResult", "RetriedResult")

Callbacks = tuple[Any, Any]


class AsyncResult:
    """The result of one call, as ``multiprocessing.pool.AsyncResult``."""

    # Defaults of the class, not set for each: a pool makes a million of these.
    ready_ = False
    _settled = False
    _ok = False
    _callbacks: Callbacks | None = None
    value: Any = None
    _unseen: Unseen | None = None
    given_up = False  # nobody can ask for it any more
    attempts = 1
    _cancelled = False

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
            TaskTimeout: it took longer than its ``timeout`` option; a TimeoutError as well.
            concurrent.futures.CancelledError: it was cancelled.
        """
        if not self.ready_ and not self._engine.wait(self, timeout):
            from allcores.errors import TimeoutError

            raise TimeoutError(f"no result within {timeout} s; the work goes on")
        if self._ok:
            return self.value
        self._asked()
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
        self._asked()
        return self._ok

    def cancel(self) -> bool:
        """Have the call not run, or no further. Does not block for work.

        A call that waits is dropped. One that runs is ended, in the process context, with its worker and what that has
        started; a fresh worker takes the place. A thread cannot be ended, so there a call that has begun is not
        cancelled. Of a map, items that are done are lost, and in threads those that run go on and are dropped.

        Returns:
            Whether it is cancelled, now or before: ``get()`` then raises ``concurrent.futures.CancelledError``. False
            if it is done, or cannot be ended.
        """
        return self._engine.cancel(self)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled

    def _asked(self) -> None:
        """Whoever asks knows of the error: it is not logged when the pool ends."""
        if self._unseen is not None:
            self._unseen.seen()

    # Called by the engine.

    def succeed(self, value: Any) -> None:
        self.settle(True, value)

    def fail(self, error: BaseException) -> None:
        failure = getattr(error, "failure", None)
        if type(failure) is Failure and failure.index is None and not failure.item:
            failure.item, failure.attempts = codec.short_repr(self._what), self.attempts
        self.settle(False, error)

    def abandon(self, error: BaseException) -> None:
        self.settle(False, error)

    def died(self, death: Death | Overdue, _item: int) -> None:
        item = codec.short_repr(self._what)
        error = death.error(None, item, self.attempts)
        seconds = getattr(death, "seconds", None)
        self.settle(False, Failure(None, item, error, death.pid, seconds, self.attempts).carried())

    def is_settled(self) -> bool:
        return self._settled

    def cancel_now(self, error: BaseException, stopped: bool) -> None:
        """Asked for by ``cancel``: with all its tasks ``stopped`` it is."""
        if stopped:
            self.given_up = True
            self.abandon(error)
            self._cancelled = self.value is error

    def settle(self, ok: bool, value: Any) -> None:
        # Ctrl-C may come between any two calls, and the answer is then dispatched again: each step can be repeated, and
        # the last of them is what makes it ready.
        if self._settled or (self.ready_ and self._callbacks is None):
            return
        self._ok = ok
        self.value = value
        self._what = None
        if not ok and self._unseen is None:
            self._watch(value)
        if self._callbacks is not None:
            self._engine.later(self._call_back)
        self._settled = True
        if self._callbacks is None:
            self.ready_ = True
        self._forget()

    def _watch(self, error: BaseException) -> None:
        """Unless an error_callback is told, or the program itself ended the pool, somebody should ask for the error."""
        told = self._callbacks is not None and self._callbacks[1] is not None
        if not told and not self.given_up and not isinstance(error, PoolTerminated):
            self._unseen = Unseen(self._engine.unasked, self._known.func, error)

    def _forget(self) -> None:
        self._engine.crew.forget(self._known)

    def _call_back(self) -> None:
        """Ready only when the callback has run, as the standard has it."""
        assert self._callbacks is not None
        if self.ready_:
            return  # told twice
        callback = self._callbacks[0 if self._ok else 1]
        try:
            if callback is not None:
                callback(self.value)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            log("a pool callback raised")  # it has no caller to raise to; the result stands
        finally:
            self.ready_ = True
            self._engine.tell()


class Attempt:
    """One sending of a call that may be sent again. What is told of another than the last is told twice."""

    __slots__ = ("job", "number")

    def __init__(self, job: RetriedResult, number: int) -> None:
        self.job, self.number = job, number

    def succeed(self, value: Any) -> None:
        self.job.succeed(value)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, TookTooLong):
            self.died(error.overdue, 0)
        elif not isinstance(error, self.job.options.retry_on) or not self._again():
            self.job.attempts = self.number
            self.job.fail(error)

    def abandon(self, error: BaseException) -> None:
        self.job.abandon(error)

    def drop(self) -> None:
        self.job.drop()

    def died(self, death: Death | Overdue, _item: int) -> None:
        if not self._again():
            self.job.attempts = self.number
            self.job.died(death, 0)

    def _again(self) -> bool:
        job = self.job
        if job.given_up or self.number > job.options.retries:
            return False
        if job.attempt is self:
            job.attempt = Attempt(job, self.number + 1)
        job.due = True
        job._engine.later(job.send_again)
        return True


class RetriedResult(AsyncResult):
    """The result of a call with options: it may be sent again when its worker died, it took too long or it raised."""

    options: Options
    attempt: Attempt
    due = False
    _how: tuple[int, Any]

    def begin(self, call: int, payload: Any, options: Options) -> Self:
        """Send it. From now on the pool's end waits for it."""
        call |= Mode.EXACT if options.exact else 0
        self._how = (call | Mode.ORDERS, (options.orders(), payload)) if options.travels else (call, payload)
        self.options = options
        self.attempt = Attempt(self, 1)
        self._engine.maps.add(self)
        try:
            self._engine.submit(self.attempt, self._how[0], self._how[1], options.timeout)
        except BaseException:
            self._engine.maps.discard(self)
            raise
        return self

    def settle(self, ok: bool, value: Any) -> None:
        super().settle(ok, value)
        self._engine.maps.discard(self)

    def drop(self) -> None:
        """It was queued, and has been taken back: nobody else settles it."""
        from concurrent.futures import CancelledError

        self.cancel_now(CancelledError("this call was cancelled"), True)

    def send_again(self) -> None:
        if not self.due:
            return
        try:
            self.due = False
            if self.given_up:
                raise PoolTerminated("the call was interrupted")
            self._engine.tally.retries += 1
            self._engine.submit(self.attempt, self._how[0], self._how[1], self.options.timeout)
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise


class MapResult(AsyncResult, Chunked):
    """The result of ``map`` and ``starmap``: a list in the order of the input, or the error that ended it."""

    def __init__(
        self,
        engine: Engine,
        known: Known,
        chunks: Chunker,
        star: bool,
        options: Options,
        callbacks: Callbacks | None = None,
    ) -> None:
        AsyncResult.__init__(self, engine, known, None, callbacks)
        Chunked.__init__(self, engine, known, chunks, star, options)
        if options.errors == "raise":
            self.call |= Mode.STOP
        self._results: dict[int, list[Any]] = {}
        self._failures: dict[int, Failure] = {}
        self._forgotten = False

    def begin(self) -> None:
        """Send what there is room for. From now on the pool's end waits for it."""
        self.engine.maps.add(self)
        try:
            self.accompany()
        except BaseException as error:
            self.abandon(error)
            self.fed()
            raise
        self.proceed()

    def run(self) -> Any:
        """Begin, and wait for the result. Broken off by Ctrl-C, it is given up: nobody else could ask for it."""
        try:
            self.begin()
            return self.get()
        finally:
            if not self.ready_:
                self.abandon(PoolTerminated("the call of map was interrupted"))
                self.engine.give_up(self)
                self.part()

    def chunk_done(self, task: ChunkTask, results: list[Any], failures: dict[int, Failure]) -> None:
        self._results[task.start] = self.placed(results, failures)
        if failures and self.options.errors == "raise":
            self._failures |= {task.start + i: failure for i, failure in failures.items()}
            self.exhausted = self.ending = True

    def handed_over(self) -> None:
        self.engine.later(self.proceed)

    def fed(self) -> None:
        if self._failures and not self._settled:
            self._end_now()
        if not self.exhausted or self.pending:
            return
        self.repeats = None
        if not self.part():
            return
        if not self._forgotten:
            self._forgotten = True
            self.engine.crew.forget(self._known)
        self.engine.maps.discard(self)
        if self._settled:
            return  # given up, and now its last chunk has come
        if self._input_error is not None:
            self.fail(self._input_error)
        else:
            parts = [self._results[start] for start in sorted(self._results)]
            self._results = {}
            self.succeed(parts[0] if len(parts) == 1 else [x for part in parts for x in part])
        self.engine.tell()

    def _end_now(self) -> None:
        """The first failure, of those that are known the lowest, ends it: what waits is dropped, what runs is left."""
        self.part()
        failure = self._failures[min(self._failures)]
        finished: dict[int, Any] = {}
        for start, results in self._results.items():
            finished.update((i, x) for i, x in enumerate(results, start) if i not in self._failures)
        self._results = {}
        self.settle(False, failure.carried(finished))
        self.engine.give_up(self, interrupt=False)
        self.engine.tell()

    def abandon(self, error: BaseException) -> None:
        """Give up: no more chunks are sent. Those on the way are still calls of the function, which must stay known."""
        self.exhausted = self.given_up = True
        self.engine.maps.discard(self)
        self.part_soon()
        self.settle(False, error)

    def cancel_now(self, error: BaseException, stopped: bool) -> None:
        super().cancel_now(error, True)

    def _forget(self) -> None:
        """Not when it is settled, but when no chunk is out: ``fed``."""
