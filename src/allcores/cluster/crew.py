"""The crew of a pool whose workers are a cluster's: tasks out by a Team, answers in by a queue.

    send ── pack ──▶ Team ──▶ engine ──▶ remote.work ──▶ answered ──▶ SimpleQueue ──▶ receive_into: unpack

A worker's death loses nothing: what it had is sent again, at most RETRIES times, unless the caller has said how often
(Mode.EXACT). A chunk of several items is not: the engine cuts it, to find the one to blame.
"""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import time
import uuid
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from allcores import limits
from allcores.cluster import parcel, remote, stored
from allcores.cluster.seams import Job, Large, Setup
from allcores.deaths import Death
from allcores.errors import NotSupported
from allcores.pool.crew import Known, Mode, Outcome
from allcores.pool.shown import Answers
from allcores.pool.statistics import ANSWERING, Record, Traffic
from allcores.protocol import STARTING

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from allcores.cluster.remote import Answer
    from allcores.cluster.seams import Fleet
    from allcores.pool.engine import Engine
    from allcores.pool.plan import Plan

__all__ = ("RETRIES", "ClusterCrew", "check")

# How often a task is sent again whose worker died, where the caller has not said.
RETRIES = 3
# In the info of a message, as the engine has them: the body is the error of unpacking it, or an error as it is.
_BROKEN, _ERROR = 1 << 62, 1 << 61
# A function of so many bytes goes with each task; a larger one workers ask for.
_SMALL = 4096
# Seconds after which an answer is taken in for which nobody waits, when there is nothing else to come.
_SOON = 0.1
# Seconds for workers to answer. One that keeps its GIL does not.
_PATIENCE = 1.0
# Functions that are kept packed for the next call of the same.
_KEPT = 256


class _Packed(Known):
    """A function, packed for the workers."""

    __slots__ = ("data", "kept", "large")

    def __init__(self, func: Callable[..., Any], key: int) -> None:
        super().__init__(func, key)
        packed = parcel.pack(func)
        self.data = packed.data
        views = (memoryview(each).cast("B") for each in packed.buffers)
        self.large = [Large(stored.key_for(each), each) for each in views]
        # Only plain functions are the same function the next time, and closures may hold something else by then.
        self.kept = isinstance(func, FunctionType | BuiltinFunctionType) and not getattr(func, "__closure__", None)


class _Out:
    """A task that is out."""

    __slots__ = ("buffers", "job", "single", "unwanted")

    def __init__(self, job: Job, buffers: list[Large], single: bool) -> None:
        self.job, self.buffers, self.single = job, buffers, single
        self.unwanted = False  # nobody waits for it any more


class ClusterCrew:
    """The pool's side of a Team."""

    local = False
    in_parts = False
    immediate = False
    sees_items = False

    def __init__(self, plan: Plan, fleet: Fleet) -> None:
        self._fleet = fleet
        self._numbers = itertools.count(1)
        self._functions: dict[int, _Packed] = {}  # by key
        self._by_func: dict[int, _Packed] = {}
        self._lock = threading.RLock()
        self._out: dict[int, _Out] = {}
        self._answers = Answers()
        self._come: list[tuple[int, int, Any]] = []  # at most one, taken from there by a call that Ctrl-C cannot split
        self._ended = self._looks = False
        self._lost: BaseException | None = None
        self._engine: weakref.ref[Engine] | None = None
        self._sent = self._received = self._count = 0
        self._waited = 0.0
        self._setup = Setup(fleet.cluster, uuid.uuid4().hex)
        self.pace = remote.pace_of(plan.processes)
        self._keep("", parcel.pack_small(tuple(_preparation(plan, 3 * self.pace.aim))))
        self._team = fleet.recruit(plan.processes, self._setup, self)
        self.size, self.alone = self._team.size, self._team.alone
        self.patience = self.size if plan.initializer is not None else max(100, self.size)

    def _keep(self, key: str, data: bytes) -> None:
        self._fleet.link.call(0, "keep", (self._setup.team, key, data))

    def begin(self, engine: weakref.ref[Engine]) -> None:
        self._engine = engine

    # Functions and tasks.

    def repeats_in(self, items: Any, /) -> Any:
        return stored.repeated_in(items) if "numpy" in sys.modules else None

    def learn(self, func: Callable[..., Any]) -> Known:
        with self._lock:
            known = self._by_func.get(id(func))
            if known is None:
                known = _Packed(func, next(self._numbers))
                if len(known.data) > _SMALL:
                    self._keep(str(known.call >> 8), known.data)
                self._functions[known.call >> 8] = known
                if known.kept:
                    self._by_func[id(func)] = known
                    while len(self._by_func) > _KEPT:
                        self._by_func.pop(next(iter(self._by_func))).kept = False
            known.uses += 1
            return known

    def forget(self, known: Known) -> None:
        assert isinstance(known, _Packed)
        with self._lock:
            known.uses -= 1
            if not known.kept and not known.uses:
                self._functions.pop(known.call >> 8, None)
                for key, _ in known.large:
                    stored.drop_file(key or "")
                    self._team.let_go(key or "")

    def send(self, task: int, call: int, payload: Any, /) -> int | None:
        if self._lost is not None:
            raise self._lost
        remote.step_aside(self._setup.cluster)
        packed = parcel.pack(payload)
        buffers = [Large(stored.key_of(each, self._team), memoryview(each).cast("B")) for each in packed.buffers]
        known = self._functions[call >> 8]
        large, mapped = self._told_apart([*known.large, *buffers])
        function = known.data if len(known.data) <= _SMALL else None
        job = Job(task, call, function, packed.data, len(known.large), mapped)
        single = not call & Mode.CHUNK or len(payload[1] if call & Mode.ORDERS else payload) == 1
        out = self._out[task] = _Out(job, large, single)
        nbytes = packed.nbytes
        self._sent += nbytes
        try:
            self._team.send(job, out.buffers, bool(call & Mode.EXACT))
        except BaseException:
            self._out.pop(task, None)
            raise
        return nbytes if nbytes > 4096 else None

    def _told_apart(self, buffers: list[Large]) -> tuple[list[Large], tuple[tuple[int, str, int, int, int], ...]]:
        """The buffers that the engine has to carry, and those that workers map: see ``Job.mapped``."""
        if not self._fleet.near:
            return buffers, ()
        mapped = ((i, each.key, *stored.file_of(each.key, each.view)) for i, each in enumerate(buffers) if each.key)
        return [each for each in buffers if not each.key], tuple(mapped)

    def expect(self, task: int, timeout: float, /) -> None:
        """Nothing to do: the worker looks itself."""

    def drop(self, tasks: list[int], into: list[int], /) -> None:
        """Take back what no worker has begun.

        The engine is asked, over the network: what it forgets while Ctrl-C comes is settled only by ``terminate()``.
        """
        mine = [task for task in tasks if task in self._out]
        if mine:
            into.extend(self._team.take_back(mine))
        for task in into:
            self._out.pop(task, None)

    def give_up(self, tasks: list[int], _interrupt: bool, into: list[int], /) -> None:
        """The item that runs goes on to its end: nobody can interrupt it."""
        for task in tasks:
            if (out := self._out.get(task)) is not None:
                out.unwanted = True
        self.drop(tasks, into)
        if left := [task for task in tasks if task in self._out]:
            self._team.ask_all(remote.give_up, self._setup.team, left, timeout=_PATIENCE)

    def condemn(self, tasks: list[int], into: list[int], /) -> None:
        """End the workers that run these, where they run nothing else."""
        with self._lock:  # so none is just being sent again
            into.extend(self._team.end_workers_of([task for task in tasks if task in self._out]))
            into.extend(task for task in tasks if task in self._out and not self._team.is_running(task))
            for task in into:
                self._out.pop(task, None)

    def workers(self) -> list[Any]:
        """They are the engine's."""
        return []

    def is_running(self, task: int, /) -> bool:
        return task in self._out and self._team.is_running(task)

    # Reports, from any thread of the engine.

    def answered(self, task: int, answer: Answer) -> None:
        """See Reports."""
        if task and self._out.pop(task, None) is None:
            return
        self._answers.put((task, answer.info, answer))
        if not self._out:
            self._look_after(_SOON)

    def died(self, task: int, pid: int, exitcode: int | None, began: bool) -> None:
        """See Reports."""
        if task == 0:
            self._answers.put((0 if began else STARTING, Outcome.DIED, tuple(Death(pid, exitcode))))
            return
        out = self._out.get(task)
        if out is None:
            return
        exact = bool(out.job.call & Mode.EXACT)
        if began and (exact or out.unwanted or not out.single or out.job.deaths >= RETRIES):
            self._out.pop(task, None)
            item = 0 if out.single else ANSWERING
            self._answers.put((task, Outcome.DIED | item << 8, tuple(Death(pid, exitcode))))
            if exact:  # it may have to run again, and perhaps nobody waits for it
                self._look_after(0)
            return
        if began:
            out.job = out.job._replace(deaths=out.job.deaths + 1)
            self._answers.put((0, Outcome.DIED, tuple(Death(pid, exitcode))))  # to be counted
        with self._lock:
            if self._out.get(task) is not out:  # somebody has ended it meanwhile
                return
            try:
                self._team.send(out.job, out.buffers, True)
            except Exception as error:  # noqa: BLE001 - the cluster may be gone
                self.failed(task, error)

    def _look_after(self, seconds: float) -> None:
        """Have the engine look, by a thread of its own: perhaps nobody waits."""
        if not self._looks:
            self._looks = True
            timer = threading.Timer(seconds, self._look)
            timer.daemon = True
            timer.start()

    def _look(self) -> None:
        self._looks = False
        engine = None if self._engine is None else self._engine()
        if engine is not None:
            engine.look()

    def failed(self, task: int, error: BaseException) -> None:
        """See Reports."""
        if self._out.pop(task, None) is not None:
            self._answers.put((task, Outcome.ERROR | _ERROR, error))

    def lost(self, error: BaseException) -> None:
        """See Reports."""
        self._lost = error
        for task in list(self._out):
            self.failed(task, error)

    # Answers.

    def receive_into(self, inbox: list[tuple[int, int, Any]], timeout: float | None = None, /) -> bool:
        began = time.monotonic()
        try:
            if not self._come:  # else Ctrl-C came in the middle of this
                self._come.extend(map(self._answers.get, (timeout != 0,), (timeout,)))
        except queue.Empty:
            return False
        finally:
            self._waited += time.monotonic() - began
        task, info, body = self._come[0]
        if task and not info & _ERROR and info & 0xFF <= Outcome.CHUNK:
            self._count += 1
        if hasattr(body, "buffers"):
            self._received += len(body.data) + sum(memoryview(each).nbytes for each in body.buffers)
            try:
                body = parcel.unpack(body.data, body.buffers)
            except BaseException as error:  # noqa: BLE001 - the result cannot be loaded here
                info, body = info | _BROKEN, error
        inbox.append((task, info, body))
        self._come.clear()
        return True

    def fileno(self) -> int:
        if self._come:  # an event loop sees it there only
            self._answers.put(self._come[0])
            self._come.clear()
        return -1 if self._ended else self._answers.fileno()

    def wake(self) -> None:
        self._answers.put((0, Outcome.WAKE, None))

    def records(self) -> list[Record]:
        found = self._team.ask_all(remote.records, self._setup.team, timeout=_PATIENCE)
        return sorted(Record(*each) for of_process in found for each in of_process)

    def traffic(self) -> Traffic:
        return Traffic(self._sent, self._received, self._waited, self._count)

    def stacks(self, timeout: float | None, /) -> dict[str, str | None]:
        found = self._team.ask_all(remote.stacks, self._setup.team, timeout=timeout)
        return {name: stack for of_process in found for name, stack in of_process.items()}

    def show(self) -> None:
        """Nothing to do: what workers print and log is the engine's to show."""

    show_all = show

    def finish(self) -> None:
        self._end(wait=True)

    def abort(self) -> None:
        self._end(wait=False)

    def _end(self, wait: bool) -> None:
        ended, self._ended = self._ended, True
        if not ended:
            self._team.end(wait)
            self._fleet.link.post(0, "disband", (self._setup.team,))
        self._answers.end()
        self._out.clear()
        self._functions.clear()
        self._by_func.clear()


def _preparation(plan: Plan, patience: int) -> remote.Preparation:
    threads = plan.threads_per_worker
    variables = limits.variables(threads or 1, forced=threads is not None)
    begin = parcel.pack_small((plan.initializer, tuple(plan.initargs)))
    return remote.Preparation(list(sys.path), 1, variables, patience, begin)


def check(plan: Plan) -> None:
    """Refuse what a pool on a cluster cannot do."""
    for name, asked, cure in (
        ("affinity", plan.affinity is not False, "pin workers where the engine starts them"),
        ("devices", plan.devices is not None, "give devices to workers where the engine starts them"),
        ("max_memory", plan.max_memory is not None, "limit the workers' memory where the engine starts them"),
        ("idle_timeout", plan.idle_timeout is not None, "let the engine scale its workers"),
        ("maxtasksperchild", plan.maxtasksperchild is not None, "let the engine limit the life of its workers"),
        ("forward_output", plan.forward_output not in (True, False), "leave it out: prints and logs are the engine's"),
    ):
        if asked:
            raise NotSupported(
                f"{name} needs workers that are the pool's own, and those of a cluster are the engine's: {cure}, or "
                "use the process context"
            )
