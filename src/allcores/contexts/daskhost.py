"""What allcores has in a scheduler of dask: the hosts, who died, and which workers a pool has.

DaskLink ── rpc ──▶ answer ── Hosts            DaskTeam ── recruit ──▶ workers ── update_graph ──▶ its tasks
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from allcores.contexts import daskhead

if TYPE_CHECKING:
    from allcores.cluster.hosted import Hosts

__all__ = ("Host",)

# By this name the scheduler and the workers know what is ours.
_NAME = "allcores"


class _Crew:
    """The workers of a pool that has not all."""

    def __init__(self, client: str, size: int) -> None:
        self.client, self.size = client, size
        self.workers: set[str] = set()


class Host(SchedulerPlugin):  # type: ignore[misc] # it has no types
    """The plugin."""

    idempotent = True

    hosts: Hosts
    scheduler: Any

    async def start(self, scheduler: Any) -> None:
        from allcores.cluster.hosted import Hosts

        self.hosts, self.scheduler = Hosts(), scheduler
        self.crews: dict[str, _Crew] = {}  # by pool
        self.unbegun: set[str] = set()  # tasks whose worker was ended before it could have begun them
        scheduler.handlers[_NAME] = self.answer
        scheduler.handlers["allcores_posts"] = self.answer_all
        scheduler.stream_handlers["allcores-answer"] = self.pass_on
        scheduler.handlers["allcores_answer"] = self.pass_on
        scheduler.handlers["allcores_take_back"] = self.take_back
        scheduler.handlers["allcores_end"] = self.end_worker
        scheduler.handlers["allcores_death"] = self.tell_of_death
        scheduler.handlers["allcores_recruit"] = self.recruit
        scheduler.handlers["allcores_dismiss"] = self.dismiss
        scheduler.handlers["allcores_workers"] = self.workers_of

    async def answer(self, request: bytes) -> bytes:
        return await self.hosts.answer(request)

    async def answer_all(self, requests: list[bytes]) -> None:
        """Those that nobody waits for, and that do not wait."""
        for request in requests:
            await self.hosts.answer(request)

    def pass_on(self, client: str, worker: str, **answer: Any) -> None:
        """What a worker has to say to a program."""
        comm = self.scheduler.client_comms.get(client)
        if comm is not None:
            comm.send({"op": "allcores-answer", **answer})

    def take_back(self, keys: list[str], client: str) -> list[str]:
        """Forget those tasks that were sent to no worker yet: they will not run."""
        there = [self.scheduler.tasks.get(key) for key in keys]
        taken = [ts.key for ts in there if ts is not None and ts.state in ("queued", "no-worker", "waiting")]
        self.scheduler.client_releases_keys(taken, client, f"allcores-take-back-{time.time()}")
        return taken

    async def end_worker(self, worker: str, team: str, key: str) -> bool:
        """End a worker, or the one that has a task, if it has tasks of that pool only: they are sent again."""
        ts = self.scheduler.tasks.get(key)
        ws = self.scheduler.workers.get(worker) if ts is None else ts.processing_on
        if ws is None or not (ws.nanny or str(ws.name).startswith(daskhead.NAME)):  # nobody would start it again
            return False
        others = [each for each in ws.processing if each is not ts]
        ours = all(str(each.key).startswith(f"{_NAME}-{team}-") for each in others)
        if others and not (ours and ws.nthreads == 1):
            return False
        if ws.nthreads == 1:
            self.unbegun.update(str(each.key) for each in others)
        with contextlib.suppress(OSError):  # it has no time to say so
            await self.scheduler.rpc(ws.address).allcores_end()
        return True

    async def tell_of_death(self, key: str, pid: int) -> tuple[bool, int | None]:
        """Of a task whose worker has died: whether it had certainly not begun; and the exit code of that."""
        unbegun = key in self.unbegun
        self.unbegun.discard(key)
        return unbegun, await daskhead.exitcode(pid)

    # The workers of pools.

    def recruit(self, team: str, size: int, client: str) -> list[str]:
        """A pool of fewer tasks at a time than there is room for: its workers, those that others need least."""
        crew = self.crews[team] = _Crew(client, size)
        self._fill(crew)
        return list(crew.workers)

    def _fill(self, crew: _Crew) -> None:
        busy = {address: (len(ws.processing), address) for address, ws in self.scheduler.workers.items()}
        for other in self.crews.values():
            for address in other.workers & busy.keys():
                busy[address] = (busy[address][0] + 1, address)
        room = crew.size - sum(self.scheduler.workers[address].nthreads for address in crew.workers)
        for address in sorted(busy.keys() - crew.workers, key=busy.__getitem__):
            if room <= 0:
                return
            crew.workers.add(address)
            room -= self.scheduler.workers[address].nthreads

    def workers_of(self, team: str) -> list[str]:
        """A pool's workers, as they are now."""
        crew = self.crews.get(team)
        return list(self.scheduler.workers if crew is None else crew.workers)

    def dismiss(self, team: str) -> None:
        """That pool has ended."""
        self.crews.pop(team, None)

    def update_graph(self, scheduler: Any, *, keys: Any, **_more: Any) -> None:
        """Tasks of ours have come, and go to their pool's workers, if there are any of those.

        One whose worker dies is told to its pool at once, which knows better what to do.
        """
        for key in keys:
            ts = scheduler.tasks.get(key) if type(key) is str and key.startswith(_NAME) else None
            if ts is not None:
                ts.suspicious = scheduler.allowed_failures
                crew = self.crews.get(key.split("-")[1])
                if crew is not None:
                    ts.worker_restrictions, ts.loose_restrictions = set(crew.workers), True

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self.hosts.back(worker)
        self._fill_all()

    def _fill_all(self) -> None:
        for crew in self.crews.values():
            self._fill(crew)

    def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:
        self.hosts.gone(worker, f"the worker {worker}")
        for crew in self.crews.values():
            crew.workers.discard(worker)
        self._fill_all()

    def remove_client(self, scheduler: Any, client: str) -> None:
        self.hosts.gone(client, f"the program {client}", program=True)
        for team in [team for team, crew in self.crews.items() if crew.client == client]:
            self.dismiss(team)
