"""The engine of a pool: numbers tasks, and brings answers to whoever waits for them.

    any thread:      submit ──▶ crew
    one at a time:   receive ──▶ dispatch ──▶ results                  (whoever has the seat)

No thread of its own does this: of the threads that wait for results, one has the seat, receives for all, and hands
the seat on when it has what it waits for. Only where nobody waits (a callback is due, or a map_async must be fed) a
driver thread takes the seat.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from allcores import codec
from allcores.errors import InitializerFailed, PoolTerminated
from allcores.pool.crew import Outcome
from allcores.start import STARTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.pool.crew import Crew

__all__ = ("Engine",)


class Waitable(Protocol):
    """Something that becomes ready by messages of the crew."""

    @property
    def ready_(self) -> bool: ...


class Engine:
    """Tasks out, answers in. Thread-safe."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.broken: BaseException | None = None
        self._tasks: dict[int, Any] = {}
        self._count = itertools.count(1)
        self._seat = threading.Lock()
        self._changed = threading.Condition()
        self._followers = 0
        self._deaths_at_start = 0
        self._driver: threading.Thread | None = None
        self._driving = threading.Lock()
        self._background: deque[Waitable] = deque()

    def submit(self, task: Any, call: int, payload: Any) -> None:
        """Send a task; ``task`` gets its answer by ``succeed``, ``fail``, ``chunk_done`` or ``died``."""
        number = next(self._count)
        self._tasks[number] = task
        try:
            self.crew.send(number, call, payload)
        except BaseException:
            del self._tasks[number]
            raise

    # Waiting.

    def wait(self, job: Waitable, timeout: float | None = None) -> bool:
        """Wait until ``job.ready_``, receiving for all while the seat is free. False: the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not job.ready_:
            if self._seat.acquire(blocking=False):
                try:
                    in_time = self._lead(job, deadline)
                finally:
                    self._seat.release()
                    self._tell_followers()
                if not in_time:
                    return job.ready_
            elif not self._follow(job, deadline):
                return job.ready_
        return True

    def _lead(self, job: Waitable, deadline: float | None) -> bool:
        receive = self.crew.receive
        while not job.ready_:
            message = receive(None if deadline is None else max(deadline - time.monotonic(), 0))
            if message is None:
                return False
            self._dispatch(*message)
            if self._followers:
                self._tell_followers()
        return True

    def _follow(self, job: Waitable, deadline: float | None) -> bool:
        with self._changed:
            self._followers += 1
            try:
                if job.ready_ or not self._seat.locked():
                    return True
                return self._changed.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
            finally:
                self._followers -= 1

    def _tell_followers(self) -> None:
        if self._followers:
            with self._changed:
                self._changed.notify_all()

    def idle(self) -> bool:
        return not self._tasks

    def wait_idle(self) -> None:
        """Wait until no task is out."""
        self.wait(_Idle(self))

    # Answers.

    def _dispatch(self, number: int, info: int, body: Any) -> None:
        outcome = info & 0xFF
        broken = not self.crew.local and info >> 62 & 1
        if outcome > Outcome.CHUNK:
            self._news(outcome, number, info >> 8, body)
            return
        task = self._tasks.pop(number, None)
        if task is None:
            return  # given up meanwhile: the pool was terminated
        if outcome == Outcome.VALUE and not broken:
            task.succeed(body)
        else:
            self._answer(task, outcome, info, body, bool(broken))

    def _answer(self, task: Any, outcome: int, info: int, body: Any, broken: bool) -> None:
        if broken:
            task.fail(body)
        elif outcome == Outcome.ERROR:
            task.fail(self._error(body))
        else:
            results, errors = body
            task.chunk_done(results, [(i, self._error(e)) for i, e in errors], info >> 8)

    def _error(self, body: Any) -> BaseException:
        return body if self.crew.local else codec.unpack_error(body)

    def _news(self, outcome: int, number: int, item: int, body: Any) -> None:
        if outcome == Outcome.STARTED:
            self._deaths_at_start = 0
        elif outcome == Outcome.RETIRED:
            self.crew.replace(body)
        elif outcome == Outcome.BROKEN:
            self._break("the pool's initializer raised an error in a worker", self._error(body))
        elif outcome == Outcome.DIED:
            pid, exitcode = body >> 32, (body & 0xFFFFFFFF) - ((body & 0x80000000) << 1)
            if number == STARTING:
                self._died_at_start(pid, exitcode)
            elif number in self._tasks:
                self._tasks.pop(number).died(pid, exitcode, item)
            if self.broken is None:
                self.crew.replace(pid)

    def _died_at_start(self, pid: int, exitcode: int) -> None:
        self._deaths_at_start += 1
        if self._deaths_at_start > self.crew.size:
            from allcores.errors import WorkerDied

            self._break(
                "the pool's workers keep dying in its initializer", WorkerDied(pid, exitcode, None, "the initializer")
            )

    def _break(self, why: str, cause: BaseException) -> None:
        """The pool cannot work: everything that waits, and everything asked later, fails with the reason."""
        if self.broken is not None:
            return
        error = InitializerFailed(f"{why}: {codec._describe(cause)}")
        error.__cause__ = cause
        self.broken = error
        self.crew.abort()
        self.fail_all(error)

    def fail_all(self, error: BaseException) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.abandon(error)
        self._tell_followers()

    def terminate(self) -> None:
        """End the workers now; what is not there yet fails with PoolTerminated."""
        if self.broken is None:
            self.broken = PoolTerminated("the pool was terminated before this result was there")
        self.crew.abort()
        self.fail_all(self.broken)
        self.crew.wake()  # whoever has the seat sees its failed result
        self.join_driver()

    # Callbacks, and maps that nobody waits for.

    def call_back(self, callback: Callable[[Any], object], value: Any) -> None:
        try:
            callback(value)
        except Exception:
            import logging

            logging.getLogger("allcores").exception("a pool callback raised")

    def drive(self, job: Waitable) -> None:
        """Receive in the background until the job is ready."""
        with self._driving:
            self._background.append(job)
            if self._driver is None:
                self._driver = threading.Thread(target=self._drive, name="allcores-pool-driver", daemon=True)
                self._driver.start()

    def _drive(self) -> None:
        while True:
            with self._driving:
                while self._background and self._background[0].ready_:
                    self._background.popleft()
                if not self._background:
                    self._driver = None
                    return
                job = self._background[0]
            self.wait(job)

    def join_driver(self) -> None:
        driver = self._driver
        if driver is not None and driver is not threading.current_thread():
            driver.join()


class _Idle:
    """Ready when no task is out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def ready_(self) -> bool:
        return self._engine.idle()
