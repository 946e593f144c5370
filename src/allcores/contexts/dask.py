"""The dask context: work runs on a cluster of dask.distributed.

program ── DaskFleet ── Client ──▶ scheduler ──▶ workers: remote.work
        ── DaskLink ── rpc ──▶ Host, a plugin of the scheduler: Hosts ◀── rpc ── DaskLink of a worker, by _Resident
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import random
import signal
import sys
import weakref
from typing import TYPE_CHECKING, Any

from allcores.cluster import link as links
from allcores.cluster.context import ClusterContext
from allcores.contexts import thread
from allcores.contexts.daskhead import Head
from allcores.errors import ClusterDied, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from allcores.cluster.link import Link, Origin
    from allcores.cluster.seams import Reports, Setup, Team

__all__ = ("DaskContext",)

if importlib.util.find_spec("distributed") is None:
    raise UsageError("get_context('dask') needs dask.distributed: pip install 'allcores[dask]'")

import distributed
from distributed import WorkerPlugin

from allcores.contexts.daskhost import Host

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
        if self._of_parent is not None:
            return DaskFleet(**self._of_parent.options, security=self._security)
        if self._address is not None:
            return DaskFleet(self._address, self._security)
        if (here := links.home(self.name)) is not None:
            return DaskFleet(**here[2], **links.secrets(self.name))
        head = Head(self.cpu_count(), self._security)
        try:
            fleet = DaskFleet(head.address, self._security, head)
            head.wait(head.kept)
        except BaseException:
            head.close()
            raise
        return fleet


class DaskFleet:
    """A cluster, as its clients see it."""

    def __init__(self, address: str, security: Any = None, head: Head | None = None) -> None:
        if address.startswith("tls://"):
            told = (security or distributed.Security()).get_connection_args("client")
            if told.get("ssl_context") is None:
                raise UsageError(
                    f"{address} wants TLS: say get_context('dask', ..., security=distributed.Security(...))"
                )
        self.head, self.near = head, head is not None
        self.options: dict[str, Any] = {"address": address}
        with _cluster_died():
            self.client = distributed.Client(
                address, security=security, set_as_default=False, direct_to_workers=True if head else None, name=_NAME
            )
            identity = self.client.scheduler_info(n_workers=-1)
            self.cluster: str = identity["id"]
            self.client.register_plugin(Host(), name=_NAME)
            self.client.register_plugin(_Resident(self.cluster, self.options), name=_NAME)
        known = links.known(self.cluster)  # that of a worker, or of a process beside it
        self._own: DaskLink | None = None
        self.link: Link
        if known is not None:
            self.link = known
        else:
            self.link = self._own = DaskLink(self.cluster, self.client)
            links.register(self.link)
        self._launched = itertools.count()
        self.teams: dict[str, Any] = {}
        self.client._stream_handlers["allcores-answer"] = self._arrived
        _fleets.add(self)

    def _arrived(self, team: str, task: int, answer: Any) -> None:
        found = self.teams.get(team)
        if found is not None:
            found.arrived(task, answer)

    def threads(self) -> dict[str, int]:
        """The workers there are, and how many tasks each runs at a time."""
        with _cluster_died():
            self.client.wait_for_workers(1)
            found: dict[str, int] = self.client.nthreads()
        return found

    def slots(self) -> int:
        there = sum(self.threads().values())
        return there if self.head is None else min(there, self.head.workers)  # it has more if a pool asked for them

    def recruit(self, size: int, setup: Setup, reports: Reports) -> Team:
        from allcores.contexts.daskteam import DaskTeam

        if self.head is not None:
            self.head.grow(size)
        threads = self.threads()
        slots = sum(threads.values())  # of a cluster of our own one may be about to be there again
        return DaskTeam(self, size, max(slots, self.head.kept) if self.head else slots, threads, setup, reports)

    def launch(self, origin: Origin, ending: int, name: str, path: list[str], made: bytes) -> int:
        while True:
            workers = list(self.threads())
            worker = workers[next(self._launched) % len(workers)]
            try:
                pid: int = self.client.run(_launch, origin, ending, name, path, made, workers=[worker])[worker]
                return pid
            except OSError:
                if worker in self.threads():
                    raise  # else it has just died, and what it had started with it

    def close(self) -> None:
        if self._own is not None:
            links.unregister(self.cluster)
            self._own.has_left = True
        self.client.close(timeout=2)
        if self.head is not None:
            self.head.close()


_fleets: weakref.WeakSet[DaskFleet] = weakref.WeakSet()


def _mark_forked() -> None:
    """A fork has no event loop: dask's clients are not to try to say good-bye there."""
    for each in _fleets:
        each.client.status = "closed"


os.register_at_fork(after_in_child=_mark_forked)


async def _launch(*args: Any) -> int:
    from allcores.cluster import launching

    return await asyncio.get_running_loop().run_in_executor(None, launching.launch, *args)


class DaskLink(links.Link):
    """The hosts are in the scheduler: requests go there as calls of its rpc, from this process's event loop."""

    def __init__(self, cluster: str, server: Any) -> None:
        """The server is a client of dask's, or a worker."""
        super().__init__(cluster, getattr(server, "address", None) or server.id)
        self._scheduler, self._loop = server.scheduler, server.loop.asyncio_loop
        self._posts: list[bytes] = []
        self._posting = False
        self.has_left = False

    def _ask(self, request: bytes) -> Future[bytes]:
        if self.has_left:
            raise ClusterDied("this process has left the dask cluster of this object: close() was called")
        return asyncio.run_coroutine_threadsafe(self._carry(request), self._loop)

    async def _carry(self, request: bytes) -> bytes:
        if self._posting:
            await asyncio.wait([self._task])  # what was posted before comes before it
        with _cluster_died():
            reply: bytes = await self._scheduler.allcores(request=request)
        return reply

    def _tell(self, request: bytes) -> None:
        self._posts.append(request)
        if not self.has_left:
            self._loop.call_soon_threadsafe(self._post)

    def _post(self) -> None:
        if not self._posting:
            self._posting = True
            self._task = self._loop.create_task(self._post_all())

    async def _post_all(self) -> None:
        try:
            while self._posts:
                posts = self._posts[:]
                del self._posts[: len(posts)]
                with _cluster_died():
                    await self._scheduler.allcores_posts(requests=posts)
        except ClusterDied:
            self._posts.clear()
        finally:
            self._posting = False


@contextlib.contextmanager
def _cluster_died() -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter when dask's client has given up for good
        raise ClusterDied(f"the scheduler of the dask cluster cannot be reached any more: {error}") from error


def _as_clients(security: Any) -> Any:
    """A worker's security, for a client in it: that shows the worker's certificate if it has no other."""
    if security.tls_client_key is not None or security.tls_worker_key is None:
        return security
    return distributed.Security(
        require_encryption=security.require_encryption,
        tls_ca_file=security.tls_ca_file,
        tls_client_cert=security.tls_worker_cert,
        tls_client_key=security.tls_worker_key,
    )


def _draw_apart() -> None:
    """Have dask draw from a generator of its own: that of the process may be an item's, with its ``seed=``."""
    own = random.Random()
    for name, module in list(sys.modules.items()):
        if name.startswith("distributed.") and getattr(module, "random", None) is random:
            module.random = own  # type: ignore[attr-defined] # it has what the module has


def _end_now() -> None:
    from allcores.family import end_started

    end_started()
    os.kill(os.getpid(), signal.SIGKILL)


class _Resident(WorkerPlugin):  # type: ignore[misc] # likewise
    """In each worker: its link."""

    idempotent = True

    def __init__(self, cluster: str, options: dict[str, Any]) -> None:
        self.cluster, self.options = cluster, options

    def setup(self, worker: Any) -> None:
        _draw_apart()
        link = DaskLink(self.cluster, worker)
        links.register(link, DaskContext.name, self.options, {"security": _as_clients(worker.security)})
        worker.handlers["allcores_end"] = _end_now
