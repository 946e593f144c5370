"""Where the objects of a program live on Ray: in one async actor. And the Link to it.

thread ── RayLink._ask ── actor call ──▶ HostsActor.answer ──▶ Hosts
       ── RayLink._tell ──▶ a thread ── many in one actor call, one call at a time ──▶ HostsActor.tell

Whoever works with the hosts has them keep a value for ever that *it* owns: Ray tells of an owner's death.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from allcores.cluster import link as links
from allcores.cluster.hosted import Hosts
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("HOSTS", "HostsActor", "RayLink", "attend", "when_done")

# The actor's name, in the program's namespace.
HOSTS = "allcores.hosts"
# Calls that may wait at a time in all the cluster; each costs the actor a kilobyte or so.
MOST_WAITING = 1_000_000


class HostsActor:
    """The hosts. It is the program's that was there first, and ends with that."""

    def __init__(self) -> None:
        self._hosts = Hosts()
        self._watching: set[asyncio.Task[None]] = set()

    async def answer(self, request: bytes) -> bytes:
        return await self._hosts.answer(request)

    async def tell(self, requests: list[bytes]) -> None:
        for request in requests:
            await self._hosts.answer(request)

    async def never(self) -> None:
        """Does not return: its value is its caller's, who is alive as long as it is to come."""
        await asyncio.get_running_loop().create_future()

    async def attend(self, node: str, nevers: list[Any]) -> None:
        """A process that works with the hosts, and a value of its own that never comes."""
        task = asyncio.create_task(self._watch(node, nevers[0]))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch(self, node: str, never: Any) -> None:
        try:
            await never
        except RayError:
            self._hosts.gone(node, f"the process {node}")


class RayLink(links.Link):
    """Calls of the hosts' actor."""

    def __init__(self, cluster: str, node: str, hosts: Any) -> None:
        super().__init__(cluster, node)
        self.hosts = hosts
        self._posts: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._post_all, name="allcores-posts", daemon=True).start()

    def _ask(self, request: bytes) -> Future[bytes]:
        reply: Future[bytes] = Future()
        when_done(self.hosts.answer.remote(request), lambda value: _settle(reply, value))
        return reply

    def _tell(self, request: bytes) -> None:
        self._posts.put(request)  # all that a finalizer may do

    def close(self) -> None:
        """What was posted so far goes out; nothing more."""
        self._posts.put(None)

    def _post_all(self) -> None:
        while (request := self._posts.get()) is not None:
            batch = [request]
            while not self._posts.empty() and (more := self._posts.get()) is not None:
                batch.append(more)
            try:
                ray.get(self.hosts.tell.remote(batch))
            except Exception:  # noqa: BLE001 - the cluster is gone, as all who ask are told
                return


def _settle(reply: Future[bytes], value: Any) -> None:
    if isinstance(value, RayTaskError):
        reply.set_exception(value.as_instanceof_cause())
    elif isinstance(value, BaseException):
        error = ClusterDied(f"the process that has this program's objects on Ray is gone: {first_line(value)}")
        error.__cause__ = value
        reply.set_exception(error)
    else:
        reply.set_result(value)


def first_line(error: BaseException) -> str:
    """What Ray says first; the rest is a page."""
    return str(error).partition("\n")[0]


def when_done(ref: Any, tell: Callable[[Any], object]) -> None:
    """Have it told what came of a call: its value, or the error itself. From a thread of Ray, that must not block."""
    future = ref.future()
    future.add_done_callback(lambda done: tell(done.exception() or done.result()))


def attend(hosts: Any, node: str) -> Any:
    """Have the hosts know when this process ends; to be held by it till then."""
    never = hosts.never.remote()
    ray.get(hosts.attend.remote(node, [never]))
    return never
