"""What a comparison knows: numbers only, so that advice, table and plot can be tested without measuring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ("ContextRow", "Facts", "JobFacts", "Phases", "Place")

# A gain below this is not worth more machinery, and rounds on a machine in use differ by as much.
_CLOSE = 1.10

# Where the work was seen to run. Found by looking, so that this package need not know the contexts by name.
Place = Literal["here", "threads", "processes"]


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the wall seconds of one round went, averaged over the workers; the six add up to them."""

    startup: float
    """Starting the workers, and ending them."""
    moving: float
    """Items and results on their way: pickling, copying, waking up. None for threads of this process."""
    blocked: float
    """Inside the function, but not able to run: the GIL, input and output, locks."""
    starved: float
    """Inside the function and able to run, but other threads and programs had the CPUs."""
    idle: float
    """Workers without a task while others still had one."""
    computing: float
    """Inside the function, on a CPU."""

    @property
    def waiting(self) -> float:
        """All seconds in which a worker could have worked and did not."""
        return self.blocked + self.starved + self.idle


@dataclass(frozen=True, slots=True)
class ContextRow:
    """What one context needed for the job. Times are seconds of the median round, unless said otherwise."""

    context: str
    place: Place
    """In the calling thread ("here"), in other threads of this process, or in other processes."""
    workers: int
    seconds: float
    """Wall time from before the pool is created until it has ended."""
    rounds: tuple[float, ...]
    """The wall times of all rounds, in their order."""
    speedup: float
    """Against the first context that worked in the calling thread, else against the first one."""
    of_ideal: float
    """The speed-up as a share of what the usable cores allow."""
    phases: Phases
    cpu_use: float
    """User and system seconds of the program and its workers, per wall second: 2.0 is two cores busy."""
    peak_memory: int
    """Bytes: the largest resident size of the program plus each worker's; shared pages count in each."""
    unequal_at: int | None
    """The index of the first item whose result differs from the first context's; None: all are equal."""

    @property
    def equal(self) -> bool:
        """Whether every round gave the results of the first context's first round."""
        return self.unequal_at is None


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What was found out about the job itself."""

    name: str
    items: int
    usable_cores: int
    item_seconds: float
    """Wall seconds of one item, on average, in the context all others are compared with."""
    longest_share: float
    """The longest group of items (one item, unless they are tiny) as a share of all work."""
    cpu_share: float
    """The share of its own time that the function was on a CPU or ready for one; the rest it waited."""
    gil_share: float | None
    """The share of its computing for which the function kept other threads out; None: not to be told."""
    item_bytes: int | None
    """Bytes of one pickled item, on average; None: nothing moved, or it cannot be pickled."""
    result_bytes: int | None
    """Bytes of one pickled result, likewise."""
    function_bytes: int | None
    """Bytes of the pickled function with its further arguments and all it carries, likewise."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The job and the rows together, with the views on them that the advice asks for."""

    job: JobFacts
    rows: tuple[ContextRow, ...]

    @property
    def base(self) -> ContextRow:
        """The row that the others are compared with."""
        return base_row(self.rows)

    @property
    def fastest(self) -> ContextRow:
        """The row with the least wall time."""
        return min(self.rows, key=lambda row: row.seconds)

    @property
    def best(self) -> ContextRow:
        """The row to recommend: of those within 10 % of the fastest, the one with the least machinery."""
        weight = ("here", "threads", "processes")
        close = [row for row in self.rows if row.seconds <= _CLOSE * self.fastest.seconds]
        return min(close, key=lambda row: (weight.index(row.place), row.seconds))

    @property
    def parallel(self) -> ContextRow | None:
        """The fastest row that had more than the calling thread."""
        others = [row for row in self.rows if row.place != "here"]
        return min(others, key=lambda row: row.seconds, default=None)

    def at(self, place: Place) -> ContextRow | None:
        """The fastest row of a place."""
        rows = [row for row in self.rows if row.place == place]
        return min(rows, key=lambda row: row.seconds, default=None)


def base_row(rows: tuple[ContextRow, ...]) -> ContextRow:
    """The first row that worked in the calling thread, else the first."""
    return next((row for row in rows if row.place == "here"), rows[0])
