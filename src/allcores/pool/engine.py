"""The engine of a pool: numbers tasks, and brings answers to whoever waits for them.

    any thread:      submit ──▶ crew
    one at a time:   crew ──▶ inbox ──▶ dispatch ──▶ results     (whoever has the seat)
    outside of it:   what the user gave us to run: iterators of maps, callbacks

No thread of its own does this: of the threads that wait for results, one has the seat, receives for all, and hands
the seat on when it has what it waits for. Only where nobody waits (a callback is due, or a map_async must be fed) a
driver thread takes the seat.

Ctrl-C may come between any two lines. So a message is taken from the inbox only after it has been dispatched,
dispatching twice does no harm, and the seat is one atomic entry that its owner may take again.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.deaths import Death
from allcores.errors import InitializerFailed, PoolTerminated, UnpicklableError
from allcores.pool.cancelling import Cancel, TakesBack
from allcores.pool.crew import Mode, Outcome
from allcores.pool.doing import Overdue
from allcores.pool.driver import Driven
from allcores.pool.statistics import Tally
from allcores.pool.takeserrors import TakesErrors
from allcores.pool.unasked import Unasked
from allcores.pool.waiting import Idle, Later, Posted, deadline_after, is_ctrl_c, left_until, log
from allcores.protocol import STARTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.pool.crew import Crew
    from allcores.pool.driver import Waitable

__all__ = ("Engine",)


class Engine(Driven, TakesErrors, TakesBack):
    """Tasks out, answers in. Thread-safe."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self._forked = False  # this is a copy, in a process that was forked from the pool's own
        self.broken: BaseException | None = None
        self.unasked = Unasked(crew.local)
        self._tasks: dict[int, Any] = {}
        self._taken_back: list[int] = []
        self._count = _numbers
        self._inbox: list[tuple[int, int, Any]] = []
        self._later: deque[Callable[[], object]] = deque()
        self.maps: set[Any] = set()  # not done yet, though it may have no task out: its iterator is slow, or it retries
        self._told = self._shown = 0  # that workers have printed something; how much of that was told is shown
        self.tally = Tally()
        self._seat: dict[int, int] = {}  # at 0: the thread that has it
        self._changed = threading.Condition()
        self._followers = 0
        self._deaths_at_start = 0
        super().__init__()
        _engines.add(self)
        crew.begin(weakref.ref(self))

    def submit(self, task: Any, call: int, payload: Any, timeout: float | None = None) -> int:
        """Send a task; ``task`` gets its answer by ``succeed``, ``fail``, ``chunk_done`` or ``died``. Its number."""
        number = next(self._count)
        if not number % _BETWEEN_LOOKS and 0 not in self._seat:
            self.take_in()
        self._tasks[number] = task
        try:
            if self.broken is not None:
                raise self.broken
            if timeout is not None:
                self.crew.expect(number, timeout)
            if (nbytes := self.crew.send(number, call, payload)) is not None and call & Mode.CHUNK:
                task.sent(nbytes)
        except BaseException:
            self._tasks.pop(number, None)
            raise
        return number

    def fail_later(self, task: Any, error: BaseException) -> None:
        """A task that could not be sent fails as if its answer had come: in its turn, not in the middle of feeding."""
        number = next(self._count)
        self._tasks[number] = task
        self.post((number, Outcome.ERROR, error), packed=False)

    def succeed_later(self, task: Any, value: Any) -> None:
        """A task that need not be sent, since its answer is known."""
        number = next(self._count)
        self._tasks[number] = task
        self.post((number, Outcome.VALUE, value))

    def cancel(self, *jobs: Any) -> bool:
        """Have nothing more done for these calls; true if all of them are cancelled now. See ``cancelling``."""
        request = Cancel(self, jobs)
        self._inbox.append((0, Outcome.ENGINE, request))
        self.crew.wake()
        me = threading.get_ident()
        while not request.ready_:
            try:
                if self._seat.setdefault(0, me) == me:
                    self._dispatch_all(request)
                else:
                    self._follow(request, None)
            finally:
                if self._seat.get(0) == me:
                    self._seat.pop(0, None)
                self._tell_followers()
        if self._later:  # nothing of the user's runs in here
            self.drive(Later(self))
        return request.done

    def later(self, action: Callable[[], object]) -> None:
        """Have something of the user's run outside the seat."""
        self._later.append(action)

    def outside(self, action: Callable[[], object]) -> None:
        """Run something of the user's at once, if this thread has not the seat; else when it has handed it on."""
        if self._seat.get(0) == threading.get_ident():
            self.later(action)
        else:
            action()

    def take_in(self, patience: float = 0) -> None:
        """Take in what has come. Callbacks are for who waits: the caller may hold a lock that they want.

        ``patience`` is how many seconds to wait for the first.
        """
        me = threading.get_ident()
        try:
            if self._seat.setdefault(0, me) == me:
                inbox, receive_into = self._inbox, self.crew.receive_into
                for _ in range(2 * _BETWEEN_LOOKS):  # other threads may go on submitting
                    if self._told != self._shown or (not inbox and not receive_into(inbox, patience)):
                        break  # what was printed comes before the answers behind it
                    patience = 0
                    self._dispatch(*inbox[0])
                    del inbox[0]
        finally:
            if self._seat.get(0) == me:
                self._seat.pop(0, None)
            self._tell_followers()

    def look(self, patience: float = 0) -> None:
        """Take in what has come, for who neither waits nor runs anything of the user's: of that, a driver does."""
        self.take_in(patience)
        if self._later or self._told != self._shown:
            with contextlib.suppress(RuntimeError):  # no thread is to be had: the program ends. Who waits does it
                self.drive(Later(self))

    # Waiting.

    def wait(self, job: Waitable, timeout: float | None = None) -> bool:
        """Wait until ``job.ready_``, receiving for all while the seat is free. False: the time is over."""
        if self._forked:
            raise RuntimeError("this pool belongs to the process that forked this one, and so do its results")
        deadline = deadline_after(timeout)
        me = threading.get_ident()
        while not job.ready_:
            in_time = True
            try:
                if self._seat.setdefault(0, me) == me:
                    in_time = self._lead(job, deadline)
                else:
                    in_time = self._follow(job, deadline)
            finally:
                if self._seat.get(0) == me:
                    self._seat.pop(0, None)
                self._tell_followers()
            self._run_later()
            if self._told != self._shown:
                self._show()
            if not in_time:
                return job.ready_
        return True

    def _lead(self, job: Waitable, deadline: float | None) -> bool:
        inbox, receive_into = self._inbox, self.crew.receive_into
        while True:
            self._dispatch_all()
            if self._followers:
                self._tell_followers()
            if self._later or job.ready_ or self._told != self._shown:
                return True
            if not receive_into(inbox, left_until(deadline)):
                return False

    def _dispatch_all(self, job: Waitable | None = None) -> None:
        inbox = self._inbox
        # What was printed comes before the answers behind it; not with a job that nobody else may keep waiting.
        while inbox and (self._told == self._shown or (job is not None and not job.ready_)):
            self._dispatch(*inbox[0])
            del inbox[0]

    def _follow(self, job: Waitable, deadline: float | None) -> bool:
        with self._changed:
            self._followers += 1
            try:
                if job.ready_ or 0 not in self._seat:
                    return True
                return self._changed.wait(left_until(deadline))
            finally:
                self._followers -= 1

    def _tell_followers(self) -> None:
        if self._followers:
            with self._changed:
                self._changed.notify_all()

    def _run_later(self) -> None:
        while self._later:
            try:
                action = self._later.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                action()
            except BaseException as error:
                if is_ctrl_c(error):  # it may not even have begun; each goes on where it was
                    self._later.appendleft(action)
                raise

    def _show(self) -> None:
        """What a task printed appears before its result is handed out, also where another thread is showing it."""
        told = self._told
        self.crew.show()
        self._shown = max(self._shown, told)

    def tell(self) -> None:
        """Something became ready outside the seat: whoever waits looks."""
        self._tell_followers()
        if self._seat.get(0, threading.get_ident()) != threading.get_ident():
            self.crew.wake()

    def idle(self) -> bool:
        return not self._tasks and not self._later and not self.maps

    def wait_idle(self) -> None:
        """Wait until no task is out."""
        self._settle_taken_back()
        self.wait(Idle(self))

    def post(self, message: tuple[int, int, Any], packed: bool = True) -> None:
        """A message that did not come from the crew: dispatched by whoever leads, or here if nobody does."""
        self._inbox.append(message if packed else (message[0], message[1] | _UNPACKED, message[2]))
        if self._seat.get(0) == threading.get_ident():
            return
        self.crew.wake()
        self.wait(Posted(self), 0)

    def post_news(self, message: tuple[int, int, Any]) -> None:
        """Likewise, from a thread that must run nothing of the user's: what there is of that, a driver does."""
        self._inbox.append(message)
        self.crew.wake()
        self.look()

    # Answers. Under the seat: nothing of the user's runs here.

    def _dispatch(self, number: int, info: int, body: Any) -> None:
        outcome = info & 0xFF
        try:
            if outcome > Outcome.CHUNK:
                self._news(outcome, number, info >> 8, body)
                return
            task = self._tasks.get(number)
            if task is None:
                return  # given up meanwhile: the pool was terminated
            if info == Outcome.VALUE:
                task.succeed(body)
            elif info & _UNPACKED or (info >> 62 & 1 and not self.crew.local):
                task.fail(body if info & _UNPACKED else codec.not_rebuilt("the result", body))
            elif outcome == Outcome.VALUE:
                task.succeed(body)
            elif outcome == Outcome.ERROR:
                task.fail(self._raised(body, info >> 8))
            else:
                results, errors = body
                task.chunk_done(results, [self._of_item(*each) for each in errors], info >> 8)
            self._tasks.pop(number, None)
        except Exception as error:  # noqa: BLE001 - it would come again and again
            self._garbage(number, error)

    def _garbage(self, number: int, why: Exception) -> None:
        """A message that is none of ours, or damaged: it fails the task that it names, if there is one."""
        log("a message to a pool makes no sense")
        task = self._tasks.pop(number, None)
        if task is not None:
            error = UnpicklableError("a worker's answer arrived damaged")
            error.__cause__ = why
            task.fail(error)

    def _news(self, outcome: int, number: int, item: int, body: Any) -> None:
        if outcome == Outcome.OUTPUT:
            self._told += 1
        elif outcome == Outcome.STARTED:
            self._deaths_at_start = 0
        elif outcome == Outcome.BROKEN:
            self.break_("the pool's initializer raised an error in a worker", self._error(body))
        elif outcome == Outcome.RETIRED:
            self.tally.recycled += 1
        elif outcome == Outcome.DIED:
            # The call is known, unless it was cancelled, and its worker ended by us. 0: the worker was idle.
            self.tally.deaths += number in (0, STARTING) or number in self._tasks
            death = Death(*body)
            if number == STARTING:
                self._died_at_start(death)
            else:
                self._died(number, death, item)
        elif outcome == Outcome.OVERDUE:
            self.tally.timeouts += 1
            self._died(number, Overdue(*body), item)
        elif outcome == Outcome.ENGINE:
            body.run()

    def _died(self, number: int, death: Death | Overdue, item: int) -> None:
        if number in self._tasks and self.broken is None:  # else it was we who ended the worker
            self._tasks[number].died(death, item)
            self._tasks.pop(number, None)

    def _died_at_start(self, death: Death) -> None:
        self._deaths_at_start += 1
        if self._deaths_at_start > self.crew.patience:
            cause = death.error(None, "the initializer")
            self.break_("the pool's workers keep dying before they have begun, as in its initializer", cause)

    def break_(self, why: str, cause: BaseException) -> None:
        """The pool cannot work: everything that waits, and everything asked later, fails with the reason."""
        if self.broken is not None:
            return
        error = InitializerFailed(f"{why}: {codec.describe(cause)}")
        error.__cause__ = cause
        self.broken = error
        try:
            self.crew.abort()
        finally:
            self.fail_all(error)

    def fail_all(self, error: BaseException) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.abandon(error)
        self._tell_followers()

    def end(self) -> None:
        """The workers are about to end: what is sent all the same, by who was in the user's iterator, fails."""
        if self.broken is None:
            self.broken = PoolTerminated("the pool was closed before this could be sent")

    def terminate(self) -> None:
        """End the workers now; what is not there yet fails with PoolTerminated."""
        if self.broken is None:
            self.broken = PoolTerminated("the pool was terminated before this result was there")
        try:
            self.crew.abort()
        finally:
            self.fail_all(self.broken)
            self.crew.wake()  # whoever has the seat sees its failed result
            self._run_later()
            self.crew.show_all()


# One for all pools of the process: a worker may go from one pool to another, and is condemned by the number of a task.
_numbers = itertools.count(1)
# In the info of a message: the body is an exception as it is.
_UNPACKED = 1 << 61
# Who only submits takes in what has come, and keeps memory, once in so many tasks: a look costs half as much as a task.
_BETWEEN_LOOKS = 256


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _mark_forked() -> None:
    for engine in _engines:
        engine._forked = True
    _engines.clear()


os.register_at_fork(after_in_child=_mark_forked)
