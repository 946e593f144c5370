"""What runs in a worker of a cluster: ``work`` for a task of a pool, ``prepare`` before the first.

    setup, job, buffers ──▶ unpack ── run_task (pool/crew.py) ── pack ──▶ Answer

Of each pool a worker remembers what it was prepared with, and its functions. Prints and logs stay the engine's.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores import codec, cores, limits
from allcores.cluster import link as links
from allcores.cluster import parcel, stored
from allcores.pool import state
from allcores.pool.chunking import Pace
from allcores.pool.crew import Mode, Outcome, run_task
from allcores.pool.doing import Doing, Here
from allcores.pool.statistics import LocalRecord, private_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.seams import Job, Setup

__all__ = (
    "Answer",
    "Preparation",
    "forget",
    "give_up",
    "pace_of",
    "prepare",
    "records",
    "stacks",
    "step_aside",
    "work",
)

# The key of a large buffer, and the buffer.
Arrived = tuple[str | None, Any]
# A task costs milliseconds on the way, most of them in the engine's scheduler.
_PACE = Pace(aim=50_000_000, growth=32, least=5_000_000)
# Of each chunk's time, for each worker: some thousand microseconds of a core of the program and of the scheduler go to
# a chunk, and all workers share these two.
_FOR_EACH_WORKER = 4_000_000
# Functions a worker remembers of one pool.
_REMEMBERED = 256


class Answer(NamedTuple):
    """What comes of a task."""

    info: int  # as of Crew.receive: an Outcome in the low byte
    data: bytes  # the body, packed
    buffers: list[Any]
    pid: int
    goes_on: bool = False  # an item that was given up does so, in a thread of this process


class Preparation(NamedTuple):
    """What a worker must know of a pool, unpacked in two steps: its path first, since the rest may need it."""

    path: list[str]  # the program's
    cores: int  # this worker's share
    threads: dict[str, str]  # variables of native libraries
    patience: int  # nanoseconds after which a chunk that may be cut ends early
    begin: bytes  # packed: the initializer and its arguments


def pace_of(workers: int) -> Pace:
    """What chunks for so many workers are to be like."""
    return _PACE._replace(aim=max(_PACE.aim, workers * _FOR_EACH_WORKER))


class _Team:
    """A pool, in one of its workers."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._lock = threading.RLock()
        self._ready = False
        self._functions: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._state: state.WorkerState | None = None
        self._cores = 1
        self.patience: int | None = None
        self.failed: BaseException | None = None
        self.records: dict[int, LocalRecord] = {}  # by thread
        self.doing: dict[int, Here] = {}  # by task

    def enter(self) -> None:
        """Be this pool's worker in this thread. The first makes all ready; ``failed`` says that it went wrong."""
        with self._lock:
            if not self._ready:
                try:
                    self._prepare()
                except BaseException as error:  # noqa: BLE001 - told to the pool, which cannot work
                    self.failed = error
                self._ready = True
        cores.adopt_in_thread(self._cores)
        state.here.state = self._state

    def _prepare(self) -> None:
        link = links.find((self.setup.cluster, "", {}))
        self._state = state.WorkerState(link.call(0, "join", (self.setup.team,)))
        told = Preparation(*parcel.unpack(link.call(0, "fetch", (self.setup.team, ""))))
        sys.path.extend(each for each in told.path if each not in sys.path)
        limits.adopt(told.threads)
        limits.apply()
        self._cores, self.patience = told.cores, told.patience
        cores.adopt_in_thread(self._cores)
        state.here.state = self._state
        initializer, initargs = parcel.unpack(told.begin)
        if initializer is not None:
            initializer(*initargs)
        link.call(0, "readied", (self.setup.team,))  # waited for: whoever dies now does not do so by its initializer

    def record(self) -> LocalRecord:
        """What this thread, which is a worker of the pool, does."""
        thread = threading.get_ident()
        found = self.records.get(thread)
        if found is None:
            place = 0 if self._state is None else self._state.place
            found = self.records[thread] = LocalRecord(f"PoolWorker-{place + 1}")
        return found

    def function(self, job: Job, buffers: list[Any]) -> Callable[..., Any]:
        """The function of a job."""
        number = job.call >> 8
        with self._lock:
            func = self._functions.get(number)
            if func is None:
                data = job.function
                if data is None:
                    link = links.find((self.setup.cluster, "", {}))
                    data = link.call(0, "fetch", (self.setup.team, str(number)))
                func = self._functions[number] = parcel.unpack(data, buffers)
                while len(self._functions) > _REMEMBERED:
                    self._functions.popitem(last=False)
        return func


_teams: dict[str, _Team] = {}
_lock = threading.RLock()


def _team(setup: Setup) -> _Team:
    with _lock:
        return _teams.setdefault(setup.team, _Team(setup))


def forget(team: str) -> None:
    """That pool has ended."""
    _teams.pop(team, None)


class _Place(threading.local):
    """Of each thread: the cluster that it works for, and how it gives up its place there."""

    cluster: str | None = None
    leave: Callable[[], object] | None = None


_place = _Place()


def step_aside(cluster: str) -> None:
    """What runs here has others of this cluster do something, which may need this very place: it is given up, once.

    Else all workers could wait for what nobody is left to do.
    """
    if _place.cluster == cluster:
        leave, _place.leave = _place.leave, None
        if leave is not None:
            leave()


def prepare(setup: Setup, leave: Callable[[], object] | None = None) -> Answer:
    """Be ready for a pool: STARTED, or BROKEN with what its initializer raised. ``leave``: see ``work``."""
    with _Working(setup.cluster, leave):
        team = _team(setup)
        team.enter()
        team.record()
    return _broken(team) or Answer(Outcome.STARTED, parcel.pack_small(os.getpid()), [], os.getpid())


def _broken(team: _Team) -> Answer | None:
    if team.failed is None:
        return None
    return Answer(Outcome.BROKEN, parcel.pack_small(codec.pack_error(team.failed)), [], os.getpid())


def work(setup: Setup, job: Job, buffers: list[Arrived], leave: Callable[[], object] | None = None) -> Answer:
    """Run a task of a pool.

    Args:
        setup: of the pool.
        job: the task.
        buffers: large ones that it needs, each with its key: see ``Team.send``.
        leave: has the engine take this thread for one that only waits, and run another task meanwhile.
    """
    with _Working(setup.cluster, leave):
        team = _team(setup)
        team.enter()
        if (broken := _broken(team)) is not None:
            return broken
        record = team.record()
        record.begin(job.task)
        info, body, goes_on = _run(team, job, buffers)
        record.end(info, body)
        return _answer(info, body)._replace(goes_on=goes_on)


def _run(team: _Team, job: Job, buffers: list[Arrived]) -> tuple[int, Any, bool]:
    what = "the function"
    try:
        found = _arrived(job, buffers)
        func = team.function(job, found[: job.of_function])
        what = "an argument"
        payload = parcel.unpack(job.payload, found[job.of_function :])
    except BaseException as error:  # noqa: BLE001 - that fails this task only
        return int(Outcome.ERROR), codec.not_rebuilt(what, error), False
    mode = job.call & 0xFF
    timed = mode & Mode.ORDERS and payload[0][1] is not None
    doing = team.doing[job.task] = Doing() if timed else Here()
    doing.patience = team.patience
    try:
        if isinstance(doing, Doing):
            return _run_watched(team, func, mode, payload, doing)
        return *run_task(func, mode, payload, doing), False
    finally:
        del team.doing[job.task]


def give_up(name: str, tasks: list[int]) -> None:
    """Nobody waits for these tasks any more: those that run here begin no other item."""
    team = _teams.get(name)
    if team is not None:
        for task in tasks:
            if (doing := team.doing.get(task)) is not None:
                doing.told.append(True)


def _run_watched(team: _Team, func: Callable[..., Any], mode: int, payload: Any, doing: Doing) -> tuple[int, Any, bool]:
    """Run a task whose items have a time limit, in a thread of its own: one that takes longer is left alone there."""
    done: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()

    def run() -> None:
        with _Working(team.setup.cluster, lambda: done.put(None)):
            team.enter()
            done.put(run_task(func, mode, payload, doing))

    threading.Thread(target=run, name="allcores-item", daemon=True).start()
    seconds = payload[0][1]
    while True:
        try:
            told = done.get(timeout=min(seconds, threading.TIMEOUT_MAX))
            if told is not None:
                return *told, False
            step_aside(team.setup.cluster)
        except queue.Empty:
            pass
        found = doing.condemn_if_overdue(time.monotonic_ns())
        if isinstance(found, tuple):
            item, overdue = found
            return Outcome.OVERDUE | item << 8, tuple(overdue), True
        seconds = payload[0][1] if found is None else found


def records(name: str) -> list[tuple[Any, ...]]:
    """What the workers of a pool that are here say of themselves: a ``Record`` of each."""
    return [tuple(each.now()._replace(memory=private_bytes(os.getpid()))) for each in _records(name)]


def stacks(name: str) -> dict[str, str | None]:
    """Their Python stacks."""
    from allcores.pool.dump import stacks_of_threads

    return stacks_of_threads((each.name, each.runs_in) for each in _records(name))


def _records(name: str) -> list[LocalRecord]:
    team = _teams.get(name)
    if team is None:
        return []
    alive = {each.ident for each in threading.enumerate()}
    return [each for each in list(team.records.values()) if each.runs_in in alive]


def _arrived(job: Job, buffers: list[Arrived]) -> list[Any]:
    """All large buffers of a job, for it to have."""
    found = [_own(*each) for each in buffers]
    for position, key, pid, fd, nbytes in job.mapped:
        found.insert(position, stored.mapped(key, pid, fd, nbytes))
    return found


def _own(key: str | None, view: Any) -> Any:
    """A large buffer that has arrived, for a task: of what several tasks have a copy, or read-only."""
    if key is None:
        return view
    return memoryview(view).toreadonly() if key.startswith(stored.READ_ONLY) else bytearray(view)


class _Working:
    """Around a task: the engine's thread is nobody's worker afterwards."""

    def __init__(self, cluster: str, leave: Callable[[], object] | None) -> None:
        self._now = cluster, leave

    def __enter__(self) -> None:
        self._before = state.here.state, _place.cluster, _place.leave
        _place.cluster, _place.leave = self._now

    def __exit__(self, *_exc: object) -> None:
        state.here.state, _place.cluster, _place.leave = self._before
        cores.adopt_in_thread(None)


def _answer(info: int, body: Any) -> Answer:
    if info & 0xFF == Outcome.ERROR:
        body = codec.pack_error(body), os.getpid()
    elif info & 0xFF == Outcome.CHUNK and body[1]:
        body = body[0], [(i, codec.pack_error(e), ns, os.getpid()) for i, e, ns in body[1]]
    try:
        return Answer(info, *parcel.pack(body), os.getpid())
    except BaseException as error:  # noqa: BLE001 - the result cannot travel; by SystemExit, for one
        return _answer_in_parts(info, body, error)


def _answer_in_parts(info: int, body: Any, error: BaseException) -> Answer:
    """Of a chunk, only the results that cannot travel become errors."""
    if info & 0xFF != Outcome.CHUNK:
        error = _why_not(body, error)
        return Answer(Outcome.ERROR, parcel.pack_small((codec.pack_error(error), os.getpid())), [], os.getpid())
    results, errors = body
    for i, result in enumerate(results):
        try:
            parcel.pack(result)
        except BaseException as why:  # noqa: BLE001 - likewise
            results[i] = None
            why = _why_not(result, why)
            errors.append((i, codec.pack_error(why), -1, os.getpid()))
    return Answer(info, *parcel.pack((results, errors)), os.getpid())


def _why_not(result: Any, error: BaseException) -> BaseException:
    """What pickling it raises is better said by the part that it is about; not where even that ends the program."""
    try:
        return codec.why_not(result, "the result") or error
    except BaseException as again:  # noqa: BLE001 - its reducer's
        return again
