"""What allcores has in a scheduler of dask: the hosts, who died, and which workers a pool has.

DaskLink ── rpc ──▶ answer ── Hosts            DaskTeam ── recruit ──▶ workers ── update_graph ──▶ its tasks
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from allcores.contexts import daskhead, daskkeeper

if TYPE_CHECKING:
    from allcores.cluster.hosted import Hosts

__all__ = ("Host",)

# By this name the scheduler and the workers know what is ours.
_NAME = "allcores"
# So many are remembered of workers that were ended, until what they had has been asked for; and of tasks that are late.
_REMEMBERED = 10_000


def _shorten(memory: dict[Any, Any]) -> None:
    while len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]


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
        self.ended: dict[tuple[str, int], set[str]] = {}  # workers that were ended, and which of their tasks had begun
        self.refused: dict[str, str] = {}  # tasks that were taken back before they came, and whose: they will not run
        self.answered: dict[str, None] = {}  # tasks of crews: done, whether the scheduler knows that yet or not
        scheduler.handlers[_NAME] = self.answer
        scheduler.handlers["allcores_posts"] = self.answer_all
        scheduler.stream_handlers["allcores-answer"] = self.pass_on
        scheduler.handlers["allcores_answer"] = self.pass_on
        scheduler.handlers["allcores_take_back"] = self.take_back
        scheduler.handlers["allcores_end"] = self.end_worker
        scheduler.handlers["allcores_end_tasks"] = self.end_tasks
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

    def pass_on(self, client: str, worker: str, key: str, **answer: Any) -> None:
        """What a worker has to say to a program."""
        if answer["team"] in self.crews:
            self.answered[key] = None
            _shorten(self.answered)
        comm = self.scheduler.client_comms.get(client)
        if comm is not None:
            comm.send({"op": "allcores-answer", **answer})

    def take_back(self, keys: list[str], team: str, client: str) -> list[str]:
        """Forget those tasks that were sent to no worker yet: they will not run."""
        taken = [key for key in keys if self._state_of(key) in ("queued", "no-worker", "waiting", "not there")]
        self._forget(taken, client)
        return taken

    def _state_of(self, key: str) -> str:
        ts = self.scheduler.tasks.get(key)
        return "not there" if ts is None else str(ts.state)

    def _forget(self, keys: list[str], client: str) -> None:
        """They do not run, if they have not begun; those on their way neither, which others may overtake."""
        self.refused.update((key, client) for key in keys if key not in self.scheduler.tasks)
        _shorten(self.refused)
        if client in self.scheduler.clients:
            self.scheduler.client_releases_keys(keys, client, f"allcores-{time.time()}")

    async def end_tasks(self, keys: list[str], team: str, client: str) -> list[str]:
        """Likewise all, and end the workers that have them; not where a worker has other tasks than that pool's."""
        asked = set(keys)
        workers = {self.scheduler.tasks[key].processing_on for key in keys if self._state_of(key) == "processing"}
        ending = [ws for ws in workers if self._may_end(ws, f"{_NAME}-{team}-", asked)]
        ended = {str(ts.key) for ws in ending for ts in ws.processing} & asked
        ended.update(key for key in keys if self._state_of(key) not in ("processing", "memory"))
        self._forget(list(ended), client)
        await asyncio.gather(*map(self._end, ending))
        return list(ended)

    async def end_worker(self, worker: str, key: str) -> None:
        """End a worker whose thread is kept at this task: others that it has are sent again."""
        ws = self.scheduler.workers.get(worker)
        if ws is not None and self._may_end(ws, f"{_NAME}-", {key}):
            await self._end(ws)

    def _may_end(self, ws: Any, ours: str, begun: set[str]) -> bool:
        """Whether a worker may be ended that is at some of these tasks: not if it is at others, too."""
        if not (ws.nanny or str(ws.name).startswith(daskkeeper.NAME)):  # nobody would start it again
            return False
        others = [str(ts.key) for ts in ws.processing if ts.key not in begun]
        if others and not (ws.nthreads == 1 and all(key.startswith(ours) for key in others)):
            return False
        self.scheduler.handle_worker_status_change("paused", ws, f"allcores-{time.time()}")  # it gets no other
        self.ended[ws.address, ws.pid] = begun  # it has one thread, and that is at one of them
        _shorten(self.ended)
        return True

    async def _end(self, ws: Any) -> None:
        """With all that it has started."""
        with contextlib.suppress(OSError):  # it has no time to say so
            if not await daskhead.end(ws.pid):
                await self.scheduler.rpc(ws.address).allcores_end()

    async def tell_of_death(self, key: str, address: str, pid: int) -> tuple[bool, int | None]:
        """Of a task whose worker has died: whether it may have begun, and the exit code of that."""
        begun = self.ended.get((address, pid))
        return begun is None or key in begun, await daskhead.exitcode(pid)

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
        placed: Counter[str] = Counter()
        for key in keys:
            ts = scheduler.tasks.get(key) if type(key) is str and key.startswith(_NAME) else None
            if ts is not None:
                ts.suspicious = scheduler.allowed_failures
                if (client := self.refused.pop(key, None)) is not None:
                    ts.worker_restrictions, ts.loose_restrictions = {"nowhere"}, False
                    asyncio.get_running_loop().call_soon(self._forget, [key], client)
                    continue
                crew = self.crews.get(key.split("-")[1])
                if crew is not None and crew.workers:
                    address = min(crew.workers, key=lambda each: self._load(each, placed[each]))
                    placed[address] += 1
                    ts.worker_restrictions, ts.loose_restrictions = {address}, True

    def _load(self, address: str, more: int) -> tuple[bool, float]:
        """How much a worker has to do, to be compared; most if it is being ended.

        The next task is on its way when the scheduler does not know yet that the one before is done: to that, a worker
        with such a one has as much to do as one that is kept by an item for long, and the next may be put behind this.
        """
        ws = self.scheduler.workers[address]
        more += sum(ts.key not in self.answered for ts in ws.processing)
        return ws.status.name == "paused", more / ws.nthreads

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
