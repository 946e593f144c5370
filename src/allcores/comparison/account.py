"""From the workers' records to where the time went. Pure arithmetic, nothing is measured here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from allcores.comparison.facts import Phases, Place

__all__ = (
    "Record",
    "RoundTimes",
    "Work",
    "gil_share",
    "group_size",
    "rounds_for",
    "split_time",
    "where",
    "work_of",
)

# A group costs about 3 µs of clocks: 0.25 ms of work keeps that near 1 %; longer groups balance worse.
_GROUP_SECONDS = 250e-6
# Before anything is known: fine enough to balance, and at most some milliseconds of clocks in all.
_FIRST_GROUPS_PER_WORKER = 256
_LEAST_GROUPS_PER_WORKER = 8
# Jobs this quick are repeated more often: three rounds of a millisecond say little.
_QUICK_SECONDS = 2.0
_QUICK_ROUNDS = 9
_ROUNDS = 3
# One interval at which the interpreter switches threads: in less than that nothing had to wait for the GIL.
_LEAST_CPU_SECONDS = 5e-3


class Record(NamedTuple):
    """What the probe says about one group. Times are CLOCK_MONOTONIC: one clock for all processes here."""

    first: int  # index of the first item
    results: list[Any]
    failure: tuple[int, str, BaseException] | None  # the item that raised, what it raised as text, and itself
    ready_ns: int  # when this worker was able to work; 0: it did not say
    start_ns: int
    end_ns: int
    cpu_ns: int  # CPU time of this thread between start and end
    starved_ns: int  # since it was ready: when this thread could have run, and others had the CPUs
    process: int
    thread: int
    process_cpu: float  # user and system seconds of the whole process since it began
    peak: int  # bytes: the largest resident size the process has had


@dataclass(frozen=True, slots=True)
class RoundTimes:
    """The parent's own clock in one round, CLOCK_MONOTONIC in nanoseconds."""

    begin: int
    """Before the pool was created."""
    done: int
    """When the last result had arrived."""
    end: int
    """When the pool had ended."""

    @property
    def wall(self) -> float:
        """Seconds from begin to end."""
        return (self.end - self.begin) / 1e9


@dataclass(frozen=True, slots=True)
class Work:
    """The function's own time in one round, in seconds."""

    busy: float
    """Inside the function, summed over the workers."""
    cpu: float
    """Of that, on a CPU."""
    starved: float
    """Of that, ready to run, but other threads and programs had the CPUs."""
    span: float
    """From the first start to the last end."""
    longest: float
    """The longest group."""


def group_size(items: int, workers: int, item_seconds: float | None) -> int:
    """How many items travel together; ``item_seconds`` is None in the first round, before it is known."""
    if item_seconds is None:
        return max(1, items // (_FIRST_GROUPS_PER_WORKER * workers))
    wanted = _GROUP_SECONDS / max(item_seconds, 1e-9)
    return max(1, min(round(wanted), items // (_LEAST_GROUPS_PER_WORKER * workers)))


def rounds_for(first_seconds: float, budget: float) -> int:
    """How many rounds to run, given the seconds of the first: 3, more if quick, fewer if over the budget."""
    fitting = int(budget / max(first_seconds, 1e-9))
    quick = int(_QUICK_SECONDS / max(first_seconds, 1e-9))
    return max(1, min(fitting, max(_ROUNDS, min(_QUICK_ROUNDS, quick))))


def where(records: Sequence[Record], process: int, thread: int) -> Place:
    """Where the work ran, as seen from the caller's process and thread."""
    if any(record.process != process for record in records):
        return "processes"
    return "here" if all(record.thread == thread for record in records) else "threads"


def work_of(records: Sequence[Record]) -> Work:
    """The function's own time, summed over all workers."""
    durations = [record.end_ns - record.start_ns for record in records]
    lanes = _lanes(records)
    span = max(record.end_ns for record in records) - min(record.start_ns for record in records)
    return Work(
        busy=sum(durations) / 1e9,
        cpu=sum(record.cpu_ns for record in records) / 1e9,
        starved=sum(_inside(lane)[2] for lane in lanes) / 1e9,
        span=span / 1e9,
        longest=max(durations) / 1e9,
    )


def split_time(records: Sequence[Record], times: RoundTimes, workers: int, place: Place) -> Phases:
    """Divide one round's wall time; each phase is the average over the workers.

    Each worker's time runs: begin, ready, first start, ..., last end, the last end of all workers, done,
    end. The gaps between groups are items and results on their way; but in threads of this process nothing
    has to move, and a gap is a wait for the GIL.
    """
    lanes = _lanes(records)
    last_end = max(record.end_ns for record in records)
    closing = times.end - times.done
    startup = moving = blocked = starved = idle = computing = 0
    for lane in lanes:
        first = min(record.start_ns for record in lane)
        last = max(record.end_ns for record in lane)
        # A worker that is older than this round (or never said when it was ready) cost no start-up in it.
        ready = min(max(lane[0].ready_ns, times.begin), first)
        inside, on_cpu, off = _inside(lane)
        between = (first - ready) + (last - first - inside) + (times.done - last_end)
        startup += (ready - times.begin) + closing
        moving += 0 if place == "threads" else between
        blocked += inside - on_cpu - off + (between if place == "threads" else 0)
        starved += off
        idle += last_end - last
        computing += on_cpu
    lanes_seen = len(lanes)
    unseen = max(0, workers - lanes_seen)
    started = startup / lanes_seen
    startup += round(unseen * started)
    idle += round(unseen * (times.end - times.begin - started))
    parts = (startup, moving, blocked, starved, idle, computing)
    return Phases(*(part / max(workers, lanes_seen) / 1e9 for part in parts))


def _lanes(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each worker."""
    lanes: dict[tuple[int, int], list[Record]] = defaultdict(list)
    for record in records:
        lanes[record.process, record.thread].append(record)
    return list(lanes.values())


def _inside(lane: Sequence[Record]) -> tuple[int, int, int]:
    """One worker's time inside the function, and of that: on a CPU, starved of one. Nanoseconds."""
    inside = sum(record.end_ns - record.start_ns for record in lane)
    on_cpu = min(inside, sum(record.cpu_ns for record in lane))
    return inside, on_cpu, min(inside - on_cpu, max(record.starved_ns for record in lane))


def gil_share(threads: Work, cpu_share: float, lanes: int) -> float | None:
    """For what share of its computing the function kept the other threads out.

    ``lanes`` threads that never exclude each other compute ``lanes * cpu_share`` seconds per second, threads
    that always do compute one; what was seen lies between. None where the two cannot be told apart: one
    lane, a function that mostly waits, a run of a few milliseconds, or other programs on the cores, since
    threads that these keep out look as if they kept each other out.
    """
    apart = lanes * cpu_share
    if threads.starved > 0.1 * lanes * threads.span:
        return None
    if apart < 1.2 or cpu_share < 0.5 or threads.cpu < _LEAST_CPU_SECONDS:
        return None
    together = threads.cpu / max(threads.span, 1e-9)
    return min(1.0, max(0.0, (apart / together - 1.0) / (apart - 1.0)))
