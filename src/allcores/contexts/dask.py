"""The dask context: work runs on a cluster of dask.distributed.

program ── DaskFleet ── Client ──▶ scheduler ──▶ workers: remote.work
        ── DaskLink ── rpc ──▶ _Host, a plugin of the scheduler: Hosts ◀── rpc ── _WorkerLink, by _Resident
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import importlib.util
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from allcores.cluster import link as links
from allcores.cluster.context import ClusterContext
from allcores.contexts import thread
from allcores.contexts.daskhead import NAME, Head
from allcores.errors import ClusterDied, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from allcores.cluster.link import Link, Origin
    from allcores.cluster.seams import Reports, Setup, Team

__all__ = ("DaskContext",)

if importlib.util.find_spec("distributed") is None:
    raise UsageError("get_context('dask') needs dask.distributed: pip install 'allcores[dask]'")

import distributed
from distributed import SchedulerPlugin, WorkerPlugin

# By this name the scheduler and the workers know what is ours.
_NAME = "allcores"


class DaskContext(ClusterContext):
    """Work runs on a cluster of dask.distributed.

    Args:
        address: of its scheduler, as ``tcp://host:8786``. Without one a cluster of this machine is started at the first
            use, on the loopback only: as many workers as ``cpu_count()``, a process of one thread each, and more when a
            pool asks for more. It ends with the program. In a worker of a cluster it is that one.
        security: a ``distributed.Security``, for TLS.
    """

    name = "dask"
    OPTIONS = ("address", "security")
    Thread = thread.Thread

    def __init__(self, *, address: str | None = None, security: Any = None) -> None:
        super().__init__(**{k: v for k, v in (("address", address), ("security", security)) if v is not None})
        self._address, self._security = address, security

    def _found(self) -> DaskFleet:
        address, head = self._address, None
        if address is None and (here := links.home(self.name)) is not None:
            address = here[2]["address"]
        if address is None:
            head = Head(self.cpu_count(), self._security)
            address = head.address
        fleet = DaskFleet(address, self._security, head)
        if head is not None:
            fleet.client.wait_for_workers(self.cpu_count())
        return fleet


class DaskFleet:
    """A cluster, as its clients see it."""

    def __init__(self, address: str, security: Any, head: Any) -> None:
        self.head = head
        self.client = distributed.Client(
            address, security=security, set_as_default=False, direct_to_workers=True if head else None, name=_NAME
        )
        identity = self.client.scheduler_info(n_workers=-1)
        self.cluster: str = identity["id"]
        self.options: dict[str, Any] = {"address": address}
        self.client.register_plugin(_Host(), name=_NAME)
        self.client.register_plugin(_Resident(self.cluster, self.options), name=_NAME)
        known = links.known(self.cluster)  # that of a worker, or of a process beside it
        self.link: Link = known or DaskLink(self.cluster, self.client.id, self.client.scheduler, self.client.loop)
        if known is None:
            links.register(self.link)
        self._launched = itertools.count()
        self.teams: dict[str, Any] = {}
        self.client._stream_handlers["allcores-answer"] = self._arrived
        atexit.register(self.close)

    def _arrived(self, team: str, task: int, answer: Any) -> None:
        found = self.teams.get(team)
        if found is not None:
            found.arrived(task, answer)

    def slots(self) -> int:
        self.client.wait_for_workers(1)
        return sum(self.client.nthreads().values())

    def recruit(self, size: int, setup: Setup, reports: Reports) -> Team:
        from allcores.contexts.daskteam import DaskTeam

        slots = self.slots()
        if self.head is not None and size > slots:
            self.head.grow(size)
            self.client.wait_for_workers(size)
            slots = self.slots()
        return DaskTeam(self, min(size, slots), size < slots, setup, reports)

    def launch(self, origin: Origin, ending: int, name: str, path: list[str], made: bytes) -> int:
        self.client.wait_for_workers(1)
        workers = list(self.client.nthreads())
        worker = workers[next(self._launched) % len(workers)]
        pid: int = self.client.run(_launch, origin, ending, name, path, made, workers=[worker])[worker]
        return pid

    def close(self) -> None:
        atexit.unregister(self.close)
        links.unregister(self.cluster)
        self.client.close(timeout=2)
        if self.head is not None:
            self.head.close()


async def _launch(*args: Any) -> int:
    from allcores.cluster import launching

    return await asyncio.get_running_loop().run_in_executor(None, launching.launch, *args)


class DaskLink(links.Link):
    """The hosts are in the scheduler: requests go there as calls of its rpc, from this process's event loop."""

    def __init__(self, cluster: str, node: str, scheduler: Any, loop: Any) -> None:
        super().__init__(cluster, node)
        self._scheduler, self._loop = scheduler, loop.asyncio_loop
        self._posts: list[bytes] = []
        self._posting = False

    def _ask(self, request: bytes) -> Future[bytes]:
        return asyncio.run_coroutine_threadsafe(self._carry(request), self._loop)

    async def _carry(self, request: bytes) -> bytes:
        try:
            reply: bytes = await self._scheduler.allcores(request=request)
            return reply
        except (OSError, RuntimeError) as error:  # the latter when dask's client has given up for good
            raise ClusterDied(f"the scheduler of the dask cluster cannot be reached any more: {error}") from error

    def _tell(self, request: bytes) -> None:
        self._posts.append(request)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._post)

    def _post(self) -> None:
        if not self._posting:
            self._posting = True
            self._task = self._loop.create_task(self._post_all())

    async def _post_all(self) -> None:
        try:
            while self._posts:
                await self._carry(self._posts.pop(0))
        except ClusterDied:
            self._posts.clear()
        finally:
            self._posting = False


class _Host(SchedulerPlugin):  # type: ignore[misc] # it has no types
    """In the scheduler: the hosts."""

    idempotent = True

    async def start(self, scheduler: Any) -> None:
        from allcores.cluster.hosted import Hosts

        self.hosts, self.scheduler = Hosts(), scheduler
        scheduler.handlers[_NAME] = self.answer
        scheduler.stream_handlers["allcores-answer"] = self.pass_on
        scheduler.handlers["allcores_answer"] = self.pass_on
        scheduler.handlers["allcores_take_back"] = self.take_back
        scheduler.handlers["allcores_end"] = self.end_worker

    async def answer(self, request: bytes) -> bytes:
        return await self.hosts.answer(request)

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
        if ws is None or not (ws.nanny or str(ws.name).startswith(NAME)):  # nobody would start it again
            return False
        others = [each for each in ws.processing if each is not ts]
        ours = all(str(each.key).startswith(f"{_NAME}-{team}-") for each in others)
        if others and not (ours and ws.nthreads == 1):
            return False
        with contextlib.suppress(OSError):  # it has no time to say so
            await self.scheduler.rpc(ws.address).allcores_end()
        return True

    def update_graph(self, scheduler: Any, *, keys: Any, **_more: Any) -> None:
        """A task of ours whose worker dies is told to its pool at once, which knows better what to do."""
        for key in keys:
            if type(key) is str and key.startswith(_NAME) and key in scheduler.tasks:
                scheduler.tasks[key].suspicious = scheduler.allowed_failures

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self.hosts.back(worker)

    def remove_worker(self, scheduler: Any, worker: str, **_more: Any) -> None:
        self.hosts.gone(worker, f"the worker {worker}")

    def remove_client(self, scheduler: Any, client: str) -> None:
        self.hosts.gone(client, f"the program {client}")


def _end_now() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Resident(WorkerPlugin):  # type: ignore[misc] # likewise
    """In each worker: its link."""

    idempotent = True

    def __init__(self, cluster: str, options: dict[str, Any]) -> None:
        self.cluster, self.options = cluster, options

    def setup(self, worker: Any) -> None:
        link = DaskLink(self.cluster, worker.address, worker.scheduler, worker.loop)
        links.register(link, DaskContext.name, self.options)
        worker.handlers["allcores_end"] = _end_now
