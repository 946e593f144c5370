"""What an engine brings: a Fleet, its Teams, and what they tell. (Its Link is a class in ``link``.)

A context of an engine is ``ClusterContext`` (``cluster.context``) with two methods: ``_found()``, which starts or
joins the cluster and gives a Fleet, and ``_refuse(options)``. Its options are the arguments of its ``__init__``:
keyword-only, all with defaults; ``get_context(name, **options)`` refuses others by name and gives the same context for
the same options. A context must be cheap to make: the cluster is looked for at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Link, Origin

__all__ = ("Fleet", "Job", "Large", "Reports", "Setup", "Team")


class Setup(NamedTuple):
    """Of which pool a task is. What a worker must know of that it asks the hosts, once, by its link."""

    cluster: str
    team: str  # names the pool, in all the cluster


class Job(NamedTuple):
    """One task of a pool, packed: ``remote.work(setup, job, buffers)`` runs it, and gives the answer packed."""

    task: int
    call: int  # as of Crew.send: the function's number above the low byte, a Mode
    function: bytes | None  # packed, where it is small; a worker remembers it by team and number, else asks the hosts
    payload: bytes  # packed, without its large buffers
    of_function: int = 0  # so many of the large buffers, the first, are the function's
    mapped: tuple[tuple[int, str, int, int, int], ...] = ()  # place among the buffers, and arguments of stored.mapped
    deaths: int = 0  # so many workers have died in it

    @property
    def run(self) -> int:
        """A number for this very run of it, of which the hosts know whether it has begun: higher for later tasks."""
        return self.task << 4 | self.deaths


class Large(NamedTuple):
    """A buffer of 1 MB and more."""

    key: str | None  # of one that others may have too, and that nobody changes meanwhile
    view: memoryview  # contiguous bytes


class Reports(Protocol):
    """What a team tells its crew. Called from any thread of the engine; never blocks, raises nothing."""

    def answered(self, task: int, answer: Any) -> None:
        """What ``remote.work`` returned."""
        ...

    def died(self, task: int, pid: int, exitcode: int | None, began: bool) -> None:
        """The worker died that had this task. ``began`` False: it certainly had not begun; the crew sends it again.

        Of task 0: a worker that was at no task. ``began`` False: nor had it been ready for one.
        """
        ...

    def failed(self, task: int, error: BaseException) -> None:
        """The engine could not run it, for a reason that is no death."""
        ...

    def lost(self, error: BaseException) -> None:
        """The cluster is gone (ClusterDied): nothing more will come."""
        ...


class Team(Protocol):
    """The workers of one pool. An engine may share them among pools, where it has no others."""

    size: int  # how many tasks run at a time
    alone: bool  # each in a process that runs no other task meanwhile

    def send(self, job: Job, buffers: list[Large], exact: bool) -> None:
        """Have the job run by whichever worker is free first. Does not wait for a worker.

        Args:
            job: it.
            buffers: large ones that it needs, in order: ``remote.work`` has to get each with its key. Those with a key
                the engine keeps in its object store once, for all jobs that have one of that key, until
                ``let_go(key)``; a worker that dies with it costs a copy, no more.
            exact: the job must not run twice, whoever dies: of its death it must be known whether it had begun.
        """
        ...

    def let_go(self, key: str) -> None:
        """No job to come has a buffer of this key. From any thread, a finalizer too; never blocks."""
        ...

    def take_back(self, tasks: list[int]) -> list[int]:
        """Those that no worker has begun, nor will: they are forgotten, and nothing is reported of them."""
        ...

    def is_running(self, task: int) -> bool:
        """Whether a worker may be at it."""
        ...

    def ask_all(self, what: Callable[..., Any], *args: Any, timeout: float | None = None) -> list[Any]:
        """Call ``what(*args)`` in each process that has workers, beside the tasks that they run: what they give.

        Of those that have ended, or do not answer in time, nothing; and nothing at all if the cluster is gone.
        """
        ...

    def end_workers_of(self, tasks: list[int]) -> list[int]:
        """End the workers that are at these tasks, at once, where they are at nothing else; others take their places.

        The tasks for which that was done, or that were begun by no worker: nothing more is reported of them.
        """
        ...

    def end(self, wait: bool) -> None:
        """The pool ends. Without ``wait`` its tasks are lost."""
        ...


class Fleet(Protocol):
    """A cluster that this process works with."""

    cluster: str  # names the cluster: the same in all its processes
    near: bool  # all its workers are on this very machine
    link: Link
    options: dict[str, Any]  # of ``get_context`` elsewhere, to come to this very cluster: with its address

    def slots(self) -> int:
        """How many tasks the cluster can run at a time now: the default size of a pool."""
        ...

    def recruit(self, size: int, setup: Setup, reports: Reports) -> Team:
        """Workers for a pool. A cluster of our own grows to so many; another has what it has, and ``size`` says it.

        In each of the workers ``remote.prepare(setup)`` is run at once; what it gives is reported as of task 0.
        """
        ...

    def launch(self, origin: Origin, ending: int, name: str, path: list[str], made: bytes) -> int:
        """Start a process somewhere in the cluster, its pid: by ``launching.launch`` in some worker, or an actor.

        An engine that has ways of its own to run a process says to the hosts, as that does: ``call(ending, "placed")``
        from the node that it ends with; it has signals sent that ``call(ending, "orders")`` gives (None: it is to end);
        and when it has ended ``call(0, "gone", (node, why))`` and ``call(ending, "end", (code, told, stderr))``.
        """
        ...

    def close(self) -> None:
        """Leave the cluster; one that was started here ends. Can be called twice."""
        ...
