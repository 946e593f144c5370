"""Cancelling calls of a pool: what waits is dropped, and a worker that is at it is replaced by another.

any thread: Cancel ──▶ inbox ──▶ under the seat, where no answer is dispatched meanwhile:
                                 crew.give_up: what no worker has taken     crew.condemn: what one is at
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcores.pool.engine import Engine

__all__ = ("Cancel",)


class Cancel:
    """A request to cancel some calls. Can be run again: Ctrl-C may come in the middle."""

    def __init__(self, engine: Engine, jobs: tuple[Any, ...]) -> None:
        from concurrent.futures import CancelledError  # 10 ms that nothing else here needs

        self._engine = engine
        self._jobs = [(job, CancelledError("this call was cancelled")) for job in jobs]
        self._stopped: set[int] = set()
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
        self._stopped.update(engine.crew.give_up(numbers, False))
        try:
            self._stopped.update(engine.crew.condemn([n for n in numbers if n not in self._stopped]))
        except Exception as why:  # noqa: BLE001 - what was dropped is to be settled all the same
            self._error = why
        found = {number: tasks.get(number) for number in numbers}
        of = {number: getattr(task, "job", task) for number, task in found.items() if task is not None}
        for job, error in jobs:
            job.cancel_now(error, all(n in self._stopped for n, owner in of.items() if owner is job))
        for number in self._stopped:
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
