"""The process context: work runs in processes of this machine, on shared memory."""

# ruff: noqa: E402 - the template starts first, and imports while this process does
from __future__ import annotations

from allcores import start

start.prepare()

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from allcores import connection, process
from allcores.base import current_process
from allcores.context import Context
from allcores.contexts.processcrew import ProcessCrew
from allcores.contexts.thread import Thread
from allcores.queues import JoinableQueue, Queue, SimpleQueue

if TYPE_CHECKING:
    from allcores.pool.plan import Plan

__all__ = ("ForkContext", "ForkServerContext", "ProcessContext", "SpawnContext")


class ProcessContext(Context):
    """Work runs in processes of this machine."""

    name = "process"
    _start_method = "forkserver"
    Process: type[process.Process] = process.ForkServerProcess
    Thread = Thread

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Queue:  # noqa: N802
        return Queue(maxsize, max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> JoinableQueue:  # noqa: N802
        return JoinableQueue(maxsize, max_bytes=max_bytes)

    def SimpleQueue(self) -> SimpleQueue:  # noqa: N802
        return SimpleQueue()

    def _pipe_ends(self) -> Any:
        return connection.make_pipe()

    def _crew(self, plan: Plan) -> ProcessCrew:
        return ProcessCrew(plan, self.Process)

    @property  # type: ignore[misc] # read-only, which for object is not
    def __class__(self) -> type:
        """What ``isinstance`` asks beside the type: a context of ``multiprocessing`` too, where anybody knows of those.

        torch's ``DataLoader(multiprocessing_context=...)`` takes no other. To inherit would be to import them always.
        """
        if "multiprocessing.context" not in sys.modules:
            return type(self)
        return _of_both(type(self))  # type: ignore[arg-type] # any class has a hash

    def current_process(self) -> Any:
        return current_process()

    def active_children(self) -> list[Any]:
        return list(process.active_children())


@cache
def _of_both(ours: type[ProcessContext]) -> type:
    """A class for ``isinstance`` to find both in; nothing is one of it."""
    theirs = sys.modules["multiprocessing.context"].BaseContext
    return type(ours.__name__, (ours, theirs), {"__module__": __name__})


class ForkContext(ProcessContext):
    """Processes that are forks of who starts them."""

    name = _start_method = "fork"
    Process = process.ForkProcess


class SpawnContext(ProcessContext):
    """Processes that have nothing of who starts them but what they are given."""

    name = _start_method = "spawn"
    Process = process.SpawnProcess


class ForkServerContext(ProcessContext):
    """The same: both are forked by the template process."""

    name = _start_method = "forkserver"
    Process = process.ForkServerProcess
