"""What belongs to one worker of a pool: a namespace that its initializer and its tasks share."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from allcores.base import in_fork
from allcores.errors import UsageError

__all__ = ("WorkerState", "begin", "here", "worker_state")


class WorkerState(SimpleNamespace):
    """A worker's own names: set and read as attributes. Empty when the worker begins."""

    __slots__ = ("_place",)

    def __init__(self, place: int) -> None:
        super().__init__()
        self._place = place

    @property
    def place(self) -> int:
        """The worker's number in its pool, from 0. Whoever replaces a worker has the same."""
        return self._place


class _Here(threading.local):
    """Of each thread: the state of the pool's worker that it is."""

    state: WorkerState | None = None


here = _Here()
_of_process: WorkerState | None = None


def _forget() -> None:
    """In a fork of a worker, which is none."""
    global _of_process
    _of_process = here.state = None


in_fork.append(_forget)


def begin(place: int) -> None:
    """This process is a pool's worker from here on, and a new one."""
    global _of_process
    _of_process = WorkerState(place)


def worker_state() -> WorkerState:
    """The namespace of the worker that this runs in: ``worker_state().model = load()`` in the initializer or a task.

    It belongs to the worker, which is a process, a thread of a thread pool, or a serial pool; it is empty when the
    worker begins, also where one takes the place of another, and goes with it. ``worker_state().place`` is the
    worker's number in its pool, from 0, and that of whoever replaces it. Does not block. Threads that a task starts
    itself have the worker's in a worker process only.

    Raises:
        UsageError: this is no worker of a pool.
    """
    state = here.state or _of_process
    if state is None:
        raise UsageError(
            "worker_state() belongs to a worker of a pool, and this is none: call it in a task or in the initializer"
        )
    return state
