"""A crew whose workers only say that they worked: a pool in virtual time, the same in every run and on every machine.

pool, engine, chunks as ever ──▶ VirtualCrew ──▶ a heap of answers by the moment at which they would be there
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from allcores.pool.crew import PATIENCE_NS, LocalCrew, Mode, Outcome
from allcores.pool.plan import Plan
from allcores.pool.pool import Pool

__all__ = ("VirtualCrew", "list_schedule", "makespan", "virtual_pool")

# What a message costs who sends it and who takes it, and the tick of the clock by which a worker sees that it is late.
SEND_NS = 4_000
TAKE_NS = 6_000
TICK_NS = 4_000_000


class VirtualCrew(LocalCrew):
    """Workers to whom an item is the nanoseconds that it takes. Tasks are taken in order by who is free first."""

    def __init__(self, size: int) -> None:
        super().__init__(Plan(processes=size))
        self.size = size
        self.now = 0
        self.tasks = 0
        self._free_at = [0] * size
        self._answers: list[tuple[int, int, int, Any]] = []

    def send(self, task: int, call: int, payload: Any, /) -> None:
        """The worker that is free first is to run it, from then on."""
        self.tasks += 1
        self.now += SEND_NS
        begun = max(heapq.heappop(self._free_at), self.now) + TAKE_NS
        spent, done = 0, 0
        for ns in payload:
            spent += ns
            done += 1
            if call & Mode.PART and spent > PATIENCE_NS + TICK_NS:
                break
        heapq.heappush(self._free_at, begun + spent)
        body: tuple[list[Any], list[Any]] = list(payload[:done]), []
        heapq.heappush(self._answers, (begun + spent + SEND_NS, task, Outcome.CHUNK | spent << 8, body))

    def receive_into(self, inbox: list[tuple[int, int, Any]], timeout: float | None = None, /) -> bool:
        """The next answer; the time until then is over."""
        if not self._answers or (timeout == 0 and self._answers[0][0] > self.now):
            if timeout is None:
                raise AssertionError("the pool waits, and nothing will come")
            return False
        at, *message = heapq.heappop(self._answers)
        self.now = max(self.now, at) + TAKE_NS
        inbox.append((message[0], message[1], message[2]))
        return True

    def wake(self) -> None:
        """Nobody waits in virtual time."""

    def finish(self) -> None:
        """Nothing to end."""

    abort = finish


@contextmanager
def virtual_pool(workers: int) -> Iterator[tuple[Pool, VirtualCrew]]:
    """A pool of virtual workers, and their crew, whose ``now`` is the time."""
    crew = VirtualCrew(workers)
    with Pool(workers, context=SimpleNamespace(_crew=lambda _plan: crew)) as pool:
        yield pool, crew


def list_schedule(durations: Iterable[int], workers: int) -> int:
    """When all are done if each is begun, in order, by who is free first, at no cost."""
    free_at = [0] * workers
    for ns in durations:
        heapq.heappush(free_at, heapq.heappop(free_at) + ns)
    return max(free_at)


def makespan(run: Callable[[Pool], object], workers: int) -> int:
    """The nanoseconds that something takes on a virtual pool."""
    with virtual_pool(workers) as (pool, crew):
        run(pool)
        return crew.now
