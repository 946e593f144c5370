"""Futures: results of calls as ``concurrent.futures`` has them, and light where nobody waits on their condition.

    submit ──▶ Future ◀── the engine: succeed, fail      result() waits as all results do: no thread of ours
                 │
                 └─ somebody asks for its condition (as_completed, wait, add_done_callback): only then it has one, and a
                    driver receives in the background, since such a one waits where no answer comes

A condition costs as much as a whole call. One lock of all futures decides which came first, the answer or the
condition: what is done before it has one tells nobody, what is done after that tells under the condition.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections import deque
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from typing import TYPE_CHECKING, Any, TypeVar

from allcores import codec
from allcores.errors import PoolTerminated, as_broken
from allcores.pool.results import RetriedResult
from allcores.pool.unasked import Unseen
from allcores.pool.waiting import is_ctrl_c, log

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.deaths import Death
    from allcores.pool.crew import Known
    from allcores.pool.doing import Overdue
    from allcores.pool.engine import Engine
    from allcores.pool.options import Options

__all__ = ("CarefulCall", "Future")

T = TypeVar("T")

_UNDONE = (PENDING, RUNNING)
# Held for a few instructions, none of which is a call: what is done, and what has a condition, is decided under it.
_deciding = threading.Lock()


class Future(concurrent.futures.Future[T]):
    """The result of one call, as ``concurrent.futures.Future``; made by ``submit``.

    ``cancel`` ends a queued call at once. An error that nobody asks for, and no callback is told of, is logged when
    the pool ends.
    """

    # Defaults of the class, not set for each: there may be millions. `__init__` of the parent would make the condition.
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _guard: Any = None  # the lock of its condition; both are there, or neither
    _made: threading.Condition | None = None
    _waiters: Any = ()
    _done_callbacks: Any = ()
    _to_tell: deque[Any] | None = None  # the waiters that are to be told that it is done
    _told = False  # all of them are, and the callbacks have run
    _unseen: Unseen | None = None
    _number = 0  # of its task
    _call: CarefulCall | None = None  # the task, if it is not the future itself

    def __init__(self, engine: Engine, known: Known | None = None, what: Any = None) -> None:
        self._engine = engine
        self._known = known  # until it is done
        self._what = what

    @property
    def ready_(self) -> bool:
        return self._state not in _UNDONE

    # What the standard's functions and methods use.

    def _make_condition(self) -> threading.Condition:
        """Its condition, made when somebody asks for it. Who waits on it receives nothing: a driver does."""
        if self._made is None:
            guard, waiters, callbacks = threading.RLock(), [], []  # type: ignore[var-annotated]
            condition, undone = threading.Condition(guard), False
            with _deciding:
                if self._made is None:
                    self._guard, self._waiters, self._done_callbacks = guard, waiters, callbacks
                    self._made = condition
                    undone = self._state in _UNDONE
            if undone:
                self._engine.drive(_Telling(self))
        return self._made

    if not TYPE_CHECKING:  # to whom it is the attribute that the standard's functions ask for
        _condition = property(_make_condition)

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it, or raise what the call raised.

        Raises:
            CancelledError: it was cancelled.
            TimeoutError: it is not there after ``timeout`` seconds; the work goes on.
            WorkerDied: the worker died in this call. It is also a ``BrokenProcessPool``, though the executor goes on.
        """
        try:
            if self._state != FINISHED:
                self._wait(timeout)
            if self._exception is None:
                return self._result  # type: ignore[no-any-return]
            self._asked()
            raise self._exception
        finally:
            self = None  # type: ignore[assignment] # no cycle of error, traceback, frame and future

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end of the call and return what it raised; None if it returned. Raises as ``result``."""
        if self._state != FINISHED:
            self._wait(timeout)
        self._asked()
        return self._exception

    def _wait(self, timeout: float | None) -> None:
        if self._state in _UNDONE and not self._engine.wait(self, timeout):
            from allcores.errors import TimeoutError

            raise TimeoutError(f"no result within {timeout} s; the work goes on")
        if self._state != FINISHED:
            raise concurrent.futures.CancelledError

    def done(self) -> bool:
        """Whether the call has ended, or was cancelled."""
        return self._state not in _UNDONE or self._engine.wait(self, 0)

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Whether a worker is at it."""
        return not self.done() and any(map(self._engine.crew.is_running, self._numbers()))

    def cancel(self) -> bool:
        """End the call: True if it is cancelled, now or before; False if it is done, or cannot be ended.

        One that no worker has begun never runs. One that runs is ended, in the process context, with its worker and
        what that has started; a fresh worker takes the place. The standard's would answer False; so does this in the
        thread context, where nothing can be ended.
        """
        return self.cancelled() or (not self.done() and self._engine.cancel(self._call or self))

    def _numbers(self) -> list[int]:
        return [self._number] if self._call is None else self._engine.numbers_of(self._call)

    def set_result(self, result: T) -> None:
        """For executors and tests, as the standard says."""
        super().set_result(result)
        self._engine.tell()

    def set_exception(self, exception: BaseException | None) -> None:
        """For executors and tests, as the standard says."""
        super().set_exception(exception)
        self._engine.tell()

    def __repr__(self) -> str:
        state = self._state.replace("_AND_NOTIFIED", "").lower()
        if self._state == FINISHED:
            error = self._exception
            state += f" {'returned' if error is None else 'raised'} {type(error or self._result).__name__}"
        return f"<Future at {id(self):#x} state={state}>"

    def _asked(self) -> None:
        """Whoever asks knows of the error: it is not logged when the pool ends."""
        if self._unseen is not None:
            self._unseen.seen()

    def send(self, call: int, payload: Any) -> None:
        """Have a worker do it. What cannot be sent is the error of the call."""
        try:
            self._number = self._engine.submit(self, call, payload)
        except Exception as error:  # noqa: BLE001 - or the pool has just broken
            self.abandon(error)
        except BaseException:
            self.drop()
            raise

    # Called by the engine.

    def succeed(self, value: Any) -> None:
        with _deciding:
            light = self._made is None
            if light and self._state in _UNDONE:
                self._result = value
                self._state = FINISHED
        if not light:
            self._settle_loudly(FINISHED, value, None)
        self._forget()

    def fail(self, error: BaseException) -> None:
        known = self._known
        if known is not None and not isinstance(error, PoolTerminated):
            self.watch(known.func, error)
        self._settle(FINISHED, None, error)

    def abandon(self, error: BaseException) -> None:
        self.fail(as_broken(error))

    def died(self, death: Death, _item: int) -> None:
        self.fail(as_broken(death.error(None, codec.short_repr(self._what))))

    def drop(self) -> None:
        """It was queued, and has been taken back: nobody else settles it."""
        self._settle(CANCELLED_AND_NOTIFIED, None, None)

    def is_settled(self) -> bool:
        return self._state not in _UNDONE

    def cancel_now(self, _error: BaseException, stopped: bool) -> None:
        """Asked for by ``cancel``: with its task stopped it is."""
        if stopped:
            self.drop()

    def watch(self, func: Callable[..., Any], error: BaseException) -> None:
        """Nobody has asked for this error yet. With a condition, somebody is told."""
        if self._unseen is None and self._made is None:
            self._unseen = Unseen(self._engine.unasked, func, error)

    def _settle(self, state: str, value: Any, error: BaseException | None) -> None:
        # Ctrl-C may come between any two calls, and the answer is then dispatched again: each step can be repeated.
        with _deciding:
            light = self._made is None
            if light and self._state in _UNDONE:
                self._result, self._exception = value, error
                self._state = state
        if not light:
            self._settle_loudly(state, value, error)
        self._forget()

    def _forget(self) -> None:
        known = self._known
        if known is not None:
            self._known = self._what = None
            self._engine.crew.forget(known)

    def _settle_loudly(self, state: str, value: Any, error: BaseException | None) -> None:
        if self._told:
            return
        assert self._made is not None
        with self._guard:
            if self._state in _UNDONE:
                self._result, self._exception = value, error
                self._to_tell = deque(self._waiters)  # who comes later sees that it is done
                self._state = state
            how = "add_exception" if self._exception is not None else "add_result"
            if self._state != FINISHED:
                how = "add_cancelled"
            while self._to_tell:
                getattr(self._to_tell[0], how)(self)
                self._to_tell.popleft()
            self._made.notify_all()
        self._engine.later(self._call_back)

    def _call_back(self) -> None:
        """Outside of the seat: the callbacks are the user's."""
        callbacks = self._done_callbacks
        while callbacks:
            try:
                callbacks[0](self)
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                log("a callback of a future raised")  # it has no caller to raise to; the result stands
            callbacks.pop(0)
        self._told = True
        self._engine.tell()


class CarefulCall(RetriedResult):
    """A call with options, whose result a future has."""

    _died = False

    def __init__(self, engine: Engine, known: Known, what: Any) -> None:
        super().__init__(engine, known, what)
        self.future: Future[Any] = Future(engine)
        self.future._call = self

    def send(self, call: int, payload: Any, options: Options) -> None:
        """Likewise ``Future.send``."""
        try:
            self.begin(call, payload, options)
        except Exception as error:  # noqa: BLE001 - or the pool has just broken
            self.abandon(error)
        except BaseException:
            self.drop()
            raise

    def settle(self, ok: bool, value: Any) -> None:
        super().settle(ok, value)
        if ok:
            self.future.succeed(value)
            return
        if not isinstance(value, PoolTerminated):
            self.future.watch(self._known.func, value)
        self.future.fail(as_broken(value) if self._died else value)

    def abandon(self, error: BaseException) -> None:
        super().abandon(as_broken(error))

    def died(self, death: Death | Overdue, item: int) -> None:
        self._died = True
        super().died(death, item)

    def drop(self) -> None:
        """It was queued, and has been taken back: nobody else settles it."""
        self.given_up = True
        self.future.drop()
        super().settle(True, None)

    def cancel_now(self, _error: BaseException, stopped: bool) -> None:
        if stopped:
            self.drop()

    def cancelled(self) -> bool:
        return self.future.cancelled()

    def _watch(self, error: BaseException) -> None:
        """The future does."""


class _Telling:
    """Ready when a future has told all who wait for it."""

    __slots__ = ("_future",)

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    @property
    def ready_(self) -> bool:
        return self._future._told


def _after_fork() -> None:
    """Another thread may have held it."""
    global _deciding
    _deciding = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
