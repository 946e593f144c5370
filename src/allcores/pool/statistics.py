"""What a pool has done, and what its workers are at: ``Pool.statistics()``."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from allcores.pool.engine import Engine

__all__ = (
    "LocalRecord",
    "PoolStatistics",
    "Record",
    "Tally",
    "Traffic",
    "WorkerStatistics",
    "measure",
    "private_bytes",
)

# The item of a chunk that is computed, and whose answer is being made.
ANSWERING = 0xFFFFFFFF


_CHUNK = 2  # of Outcome, in crew.py, which knows this module


class WorkerStatistics(NamedTuple):
    """One worker of a pool at one moment."""

    name: str
    """Its name, as log records of it have."""
    pid: int
    """Its process; of a thread, the one it is in."""
    tasks: int
    """Tasks it has done: calls, and chunks of maps."""
    items: int
    """Calls of a function in those tasks."""
    busy: float
    """Which share of the time it was in a task, since it was ready for the first one: 0 to 1."""
    memory: int | None
    """Bytes of the machine's memory that it alone has, without shared memory; None of a thread, or if it has ended."""
    state: str
    """``"starting"``: not ready yet, or about to be replaced; ``"idle"``; ``"busy"``; or ``"ended"``."""
    since: float
    """Seconds it has been in this state."""


class PoolStatistics(NamedTuple):
    """A pool at one moment; of one that has ended, just before. ``str()`` is a table.

    Numbers of workers are from their own records, times by a clock of some milliseconds: right in sum, but of one
    short task 0 or too long.
    """

    workers: tuple[WorkerStatistics, ...]
    """Those that there are now. A worker that was replaced is not among them."""
    tasks: int
    """Tasks that workers have answered, with results or errors."""
    items: int
    """Calls in those tasks."""
    waiting: int
    """Tasks that are not done yet: on their way, or with a worker."""
    bytes_sent: int
    """Bytes of arguments, as they were sent, without functions and what goes by handle; 0 where nothing is copied."""
    bytes_received: int
    """Likewise of results."""
    waited: float
    """Seconds that this process waited for results. Of several threads that wait one waits for all: it counts once."""
    idle: float
    """Seconds that the present workers waited for work, since each was ready: all together."""
    retries: int
    """Items that were sent again, since ``retries`` allowed it."""
    deaths: int
    """Workers that died. Not those that this pool has ended itself."""
    timeouts: int
    """Items that took longer than their ``timeout``."""
    recycled: int
    """Workers that were replaced because of ``maxtasksperchild`` or ``max_memory``."""

    def __str__(self) -> str:
        head = f"{'worker':<16} {'pid':>8} {'tasks':>9} {'items':>11} {'busy':>5} {'memory':>9}  state"
        rows = [
            f"{w.name:<16} {w.pid:>8} {w.tasks:>9} {w.items:>11} {w.busy:>5.0%} "
            f"{'' if w.memory is None else f'{w.memory / 1e6:.0f} MB':>9}  {w.state} for {w.since:.1f} s"
            for w in self.workers
        ]
        return "\n".join(
            [
                head,
                *rows,
                f"{self.tasks} tasks done with {self.items} items, {self.waiting} waiting; "
                f"{self.bytes_sent / 1e6:.1f} MB sent, {self.bytes_received / 1e6:.1f} MB received",
                f"waited {self.waited:.1f} s for results; workers {self.idle:.1f} s for work",
                f"{self.retries} retries, {self.deaths} deaths, {self.timeouts} timeouts, {self.recycled} recycled",
            ]
        )


class Record(NamedTuple):
    """What a crew says of one worker. Times in seconds."""

    name: str
    pid: int
    task: int
    item: int
    tasks: int
    items: int
    busy: float
    since: float
    life: float
    memory: int | None = None  # where it is to be asked for there: as of WorkerStatistics


class Traffic(NamedTuple):
    """What went between a pool and its workers."""

    sent: int
    received: int
    waited: float  # seconds, for answers
    answers: int


class Tally:
    """What only the engine knows of. Written under its seat."""

    __slots__ = ("deaths", "more_items", "recycled", "retries", "timeouts")

    def __init__(self) -> None:
        self.more_items = 0  # than tasks
        self.retries = self.deaths = self.timeouts = self.recycled = 0

    def update(self, statistics: PoolStatistics) -> PoolStatistics:
        """The same with these counts: of a worker's end the pool may hear while it ends itself."""
        return statistics._replace(
            retries=self.retries, deaths=self.deaths, timeouts=self.timeouts, recycled=self.recycled
        )


class LocalRecord:
    """Of one worker that is a thread: what it does, written by itself."""

    __slots__ = ("_born", "_busy", "_items", "_since", "gone", "name", "runs_in", "task", "tasks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs_in = threading.get_ident()
        self.gone = False
        self.task = self.tasks = self._items = self._busy = 0
        self._born = self._since = time.monotonic_ns()

    def begin(self, task: int) -> None:
        """It is in this task now."""
        self._since, self.task = time.monotonic_ns(), task

    def end(self, info: int, body: Any) -> None:
        """It is done with it; this is the answer."""
        now = time.monotonic_ns()
        self._busy += now - self._since
        self.task, self._since = 0, now
        self.tasks += 1
        self._items += len(body[0]) if info & 0xFF == _CHUNK else 1

    def now(self) -> Record:
        """It, as others see it."""
        now, task = time.monotonic_ns(), self.task
        state = now - self._since
        busy = self._busy + (state if task else 0)
        times = (busy / 1e9, state / 1e9, (now - self._born) / 1e9)
        return Record(self.name, os.getpid(), task, 0, self.tasks, self._items, *times)


def measure(engine: Engine) -> PoolStatistics:
    """The pool of this engine, now."""
    records, traffic, tally = engine.crew.records(), engine.crew.traffic(), engine.tally
    return PoolStatistics(
        tuple(_worker(each, not engine.crew.local) for each in records),
        traffic.answers,
        traffic.answers + tally.more_items,
        len(engine._tasks),
        traffic.sent,
        traffic.received,
        traffic.waited,
        sum(max(each.life - each.busy, 0.0) for each in records),
        tally.retries,
        tally.deaths,
        tally.timeouts,
        tally.recycled,
    )


def _worker(record: Record, alone: bool) -> WorkerStatistics:
    state = "starting" if not record.life else "busy" if record.task else "idle"
    busy = min(record.busy / record.life, 1.0) if record.life else 0.0
    memory = private_bytes(record.pid) if alone and record.memory is None else record.memory
    return WorkerStatistics(record.name, record.pid, record.tasks, record.items, busy, memory, state, record.since)


def private_bytes(pid: int) -> int | None:
    """How much memory a process of this machine has for itself; None if it has ended."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            _size, resident, shared, *_ = file.read().split()
    except OSError:  # it has just ended
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
