"""Cancelling calls of a pool: what waits is dropped, and a worker that is at it is replaced by another.

any thread: Cancel ──▶ inbox ──▶ under the seat, where no answer is dispatched meanwhile:
                                 crew.give_up: what no worker has taken     crew.condemn: what one is at
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from allcores.errors import PoolTerminated

if TYPE_CHECKING:
    from allcores.pool.crew import Crew
    from allcores.pool.engine import Engine

__all__ = ("Cancel", "TakesBack")


class TakesBack:
    """What an engine has for tasks that nobody waits for any more. Ctrl-C may come between any two lines: what has been
    taken back is in a list from that moment on, and stays there until it is settled."""

    crew: Crew
    _tasks: dict[int, Any]
    _taken_back: list[int]  # tasks that no worker will have: nobody else settles them

    def is_out(self, number: int) -> bool:
        """Whether a task has been sent and not answered."""
        return number in self._tasks

    def numbers_of(self, *jobs: Any) -> list[int]:
        """The tasks of some jobs that have no answer yet."""
        ids = {id(job) for job in jobs}
        return [n for n, task in list(self._tasks.items()) if id(task) in ids or id(getattr(task, "job", None)) in ids]

    def give_up(self, job: Any, interrupt: bool = True) -> None:
        """Nobody will ask for what is left of the job: its workers become free, by ``interrupt`` at once."""
        job.given_up = True
        self.crew.give_up(self.numbers_of(job), interrupt, self._taken_back)
        self._settle_taken_back()

    def take_back(self, numbers: list[int]) -> None:
        """Cancel those of the tasks that no worker has begun."""
        self.crew.drop(numbers, self._taken_back)
        self._settle_taken_back()

    def _settle_taken_back(self) -> None:
        while self._taken_back:
            number = self._taken_back[0]
            task = self._tasks.get(number)
            if task is not None and hasattr(task, "drop"):
                task.drop()
            elif task is not None:
                task.fail(PoolTerminated("the call was interrupted"))
            self._tasks.pop(number, None)
            with contextlib.suppress(ValueError):  # another thread was faster
                self._taken_back.remove(number)


class Cancel:
    """A request to cancel some calls. Can be run again: Ctrl-C may come in the middle."""

    def __init__(self, engine: Engine, jobs: tuple[Any, ...]) -> None:
        from concurrent.futures import CancelledError  # 10 ms that nothing else here needs

        self._engine = engine
        self._jobs = [(job, CancelledError("this call was cancelled")) for job in jobs]
        self._stopped: list[int] = []
        self._error: Exception | None = None
        self.ready_ = False

    def run(self) -> None:
        """Do it. Under the seat, where an error has nobody to be raised to: whoever asks for the outcome gets it."""
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - no memory, or the system refuses
            self._error = error
        self.ready_ = True

    def _run(self) -> None:
        engine, tasks = self._engine, self._engine._tasks
        jobs = [(job, error) for job, error in self._jobs if not job.is_settled()]
        numbers = engine.numbers_of(*(job for job, _error in jobs))
        engine.crew.give_up(numbers, False, self._stopped)
        try:
            engine.crew.condemn(numbers, self._stopped)
        except Exception as why:  # noqa: BLE001 - what was dropped is to be settled all the same
            self._error = why
        stopped = set(self._stopped)
        found = {number: tasks.get(number) for number in numbers}
        of = {number: getattr(task, "job", task) for number, task in found.items() if task is not None}
        for job, error in jobs:
            job.cancel_now(error, all(n in stopped for n, owner in of.items() if owner is job))
        for number in stopped:
            task = tasks.pop(number, None)
            if task is not None and number not in of:  # there was no memory to put it back
                task.fail(MemoryError("a task was lost when others were cancelled: there is no memory"))
            elif hasattr(task, "leave"):
                task.leave()

    @property
    def done(self) -> bool:
        """Whether all of them are cancelled."""
        cancelled = all(job.cancelled() for job, _error in self._jobs)
        if self._error is not None and not cancelled:
            raise self._error
        return cancelled
