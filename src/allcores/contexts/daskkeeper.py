"""Who keeps the workers of a local dask cluster there: in its head, a plugin of the scheduler.

Keeper ── Nursery.run ──▶ worker ── add_worker ──▶ Keeper: it is in the cluster
       ◀── exit code ────
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

if TYPE_CHECKING:
    from allcores.contexts.dasknursery import Nursery

__all__ = ("NAME", "Keeper")

# How the names of workers begin that are started again when they end.
NAME = "allcores-local-"
# What it counts that a worker ends before it is in the cluster, and how much of that in succession is enough. Errors
# are likely to come again, and each is told on stderr; who is killed may be by somebody who does it now and then.
_ERROR, _KILLED, _ENOUGH = 20, 1, 100


class Keeper(SchedulerPlugin):  # type: ignore[misc] # it has no types
    """Starts workers, and again when they have ended. Those that never come into the cluster it gives up."""

    def __init__(self, address: str, nursery: Nursery) -> None:
        self._address, self._nursery = address, nursery
        self._places: list[asyncio.Task[None]] = []
        self._there: set[str] = set()
        self._failed = 0
        self._changed = asyncio.Event()
        self.given_up = asyncio.get_running_loop().create_future()
        """Done when no worker is there any more, and none comes."""

    def grow(self, size: int) -> None:
        """Have so many, or more; also those that were given up."""
        self._failed = 0
        for n in range(max(size, len(self._places))):
            if n == len(self._places) or self._places[n].done():
                place = asyncio.create_task(self._keep(f"{NAME}{n}"))
                place.add_done_callback(self._look)
                self._places[n : n + 1] = [place]

    async def settled(self, size: int) -> int:
        """Wait until so many are there, or one is given up; how many are there."""
        while len(self._there) < size and not any(place.done() for place in self._places):
            self._changed.clear()
            await self._changed.wait()
        return len(self._there)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self._failed = 0
        self._there.add(scheduler.workers[worker].name)
        self._changed.set()

    async def _keep(self, name: str) -> None:
        while self._failed < _ENOUGH:
            code = await self._nursery.run(name, self._address)
            if name in self._there:
                self._there.remove(name)
                self._failed = 0
            else:
                self._failed += _KILLED if code < 0 else _ERROR

    def _look(self, _place: object) -> None:
        self._changed.set()
        if all(place.done() for place in self._places) and not self.given_up.done():
            print("allcores: the workers of the local dask cluster end as they start: it ends", file=sys.stderr)
            self.given_up.set_result(None)

    async def end(self) -> None:
        """Start none again."""
        self.given_up.cancel()
        for place in self._places:
            place.cancel()
        await asyncio.gather(*self._places, return_exceptions=True)
