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

__all__ = ("ProcessContext",)


class ProcessContext(Context):
    """Work runs in processes of this machine."""

    name = "process"
    Process = process.Process
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
        return ProcessCrew(plan)

    @property  # type: ignore[misc] # read-only, which for object is not
    def __class__(self) -> type:
        """What ``isinstance`` asks beside the type: a context of ``multiprocessing`` too, where anybody knows of those.

        torch's ``DataLoader(multiprocessing_context=...)`` takes no other. To inherit would be to import them always.
        """
        return _of_both() if "multiprocessing.context" in sys.modules else type(self)

    def current_process(self) -> Any:
        return current_process()

    def active_children(self) -> list[Any]:
        return list(process.active_children())


@cache
def _of_both() -> type:
    """A class for ``isinstance`` to find both in; nothing is one of it."""
    theirs = sys.modules["multiprocessing.context"].BaseContext
    return type(ProcessContext.__name__, (ProcessContext, theirs), {"__module__": __name__})
