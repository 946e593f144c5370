"""What the asynchronous methods of a pool return: results that arrive when somebody waits for them, or by a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.errors import PoolTerminated
from allcores.pool.chunked import Chunked
from allcores.pool.crew import Mode
from allcores.pool.engine import is_ctrl_c, log
from allcores.pool.unasked import Unseen

if TYPE_CHECKING:
    from allcores.deaths import Death
    from allcores.pool.chunked import ChunkTask
    from allcores.pool.chunking import Chunker
    from allcores.pool.crew import Known
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

    def _asked(self) -> None:
        """Whoever asks knows of the error: it is not logged when the pool ends."""
        if self._unseen is not None:
            self._unseen.seen()

    # Called by the engine.

    def succeed(self, value: Any) -> None:
        self.settle(True, value)

    def fail(self, error: BaseException) -> None:
        self.settle(False, error)

    abandon = fail

    def died(self, death: Death, _item: int) -> None:
        self.fail(death.error(None, codec.short_repr(self._what)))

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


class RetriedResult(AsyncResult):
    """The result of a call that is sent again when its worker died: so often, and no more."""

    def sent_as(self, call: int, payload: Any, options: Options) -> tuple[int, Any]:
        """How it is to be sent. From now on the pool's end waits for it."""
        self._how = (call | Mode.ORDERS, (options.orders(), payload)) if options.travels else (call, payload)
        self._options = options
        self._deaths: set[int] = set()  # pids: a death that is told twice counts once
        self._due = False
        self._engine.maps.add(self)
        return self._how

    def settle(self, ok: bool, value: Any) -> None:
        super().settle(ok, value)
        self._engine.maps.discard(self)

    def died(self, death: Death, _item: int) -> None:
        self._deaths.add(death.pid)
        if self.given_up or len(self._deaths) > self._options.retries:
            self.fail(death.error(None, codec.short_repr(self._what), len(self._deaths)))
            return
        self._due = True
        self._engine.later(self._send_again)

    def _send_again(self) -> None:
        if not self._due:
            return
        try:
            self._due = False
            if self.given_up:
                raise PoolTerminated("the call was interrupted")
            self._engine.submit(self, *self._how)
        except BaseException as error:
            self.fail(error)
            if not isinstance(error, Exception):
                raise


class MapResult(AsyncResult, Chunked):
    """The result of ``map`` and ``starmap``: a list in the order of the input, or the error of the lowest index."""

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
        self._results: dict[int, list[Any]] = {}
        self._errors: dict[int, BaseException] = {}
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

    def chunk_done(self, task: ChunkTask, results: list[Any], errors: dict[int, BaseException]) -> None:
        self._results[task.start] = results
        self._errors |= {task.start + i: error for i, error in errors.items()}
        self.engine.later(self.proceed)

    def fed(self) -> None:
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
        self.part_soon()
        self.fail(error)

    def _forget(self) -> None:
        """Not when it is settled, but when no chunk is out: ``fed``."""
