"""Where the objects of a program live on Ray: in one async actor. And the Link to it.

thread ── RayLink._ask ── actor call ──▶ HostsActor.answer ──▶ Hosts
       ── RayLink._tell ──▶ a thread, or the next _ask ── many, in one actor call ──▶ HostsActor.tell

Calls of one process may overtake each other on Ray. So what is posted goes in numbered parts, and the hosts take the
parts of a process in turn; a call that is made while a part is on its way waits there for its turn, too.

Whoever works with the hosts has them keep a value for ever that *it* owns: Ray tells of an owner's death.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from allcores.cluster import link as links
from allcores.cluster.hosted import Hosts
from allcores.contexts.raywatch import Calls
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ("HOSTS", "MOST_WAITING", "HostsActor", "RayLink", "attend")

# The actor's name, in the program's namespace.
HOSTS = "allcores.hosts"
# Calls that may wait at a time in all the cluster; each costs the actor a kilobyte or so.
MOST_WAITING = 1_000_000


class HostsActor:
    """The hosts. It is the program's that was there first, and ends with that."""

    def __init__(self) -> None:
        self._hosts = Hosts()
        self._watching: set[asyncio.Task[None]] = set()
        self._taken: dict[str, int] = {}  # of each process that has posted: how many parts of it are here
        self._changed = asyncio.Condition()

    async def answer(self, request: bytes) -> bytes:
        return await self._hosts.answer(request)

    async def answer_after(self, request: bytes, node: str, part: int, posts: list[bytes]) -> bytes:
        await self.tell(node, part, posts)
        return await self._hosts.answer(request)

    async def tell(self, node: str, part: int, posts: list[bytes]) -> None:
        """Take a part, in its turn. Without posts: wait until it is here."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken.get(node, 0) >= (part - 1 if posts else part))
            for post in posts:
                await self._hosts.answer(post)
            self._taken[node] = max(self._taken.get(node, 0), part)
            self._changed.notify_all()

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
            self._hosts.gone(node, f"the process {node}", program="-" in node)
            self._taken.pop(node, None)


class RayLink(links.Link):
    """Calls of the hosts' actor."""

    def __init__(self, cluster: str, node: str, hosts: Any) -> None:
        super().__init__(cluster, node)
        self.hosts = hosts
        self.calls = Calls()
        self._posts: deque[bytes] = deque()
        self._posted: queue.SimpleQueue[bool] = queue.SimpleQueue()  # what is in it: go on; False: end
        self._lock = threading.RLock()
        self._sent = self._there = 0  # parts that are on their way, and that are known to be there
        threading.Thread(target=self._post_all, name="allcores-posts", daemon=True).start()

    def _ask(self, request: bytes) -> Future[bytes]:
        with self._lock:
            posts = self._take()
            part = self._sent
            if part == self._there:
                return self.calls.carry(partial(self.hosts.answer.remote, request))
            reply = self.calls.carry(partial(self.hosts.answer_after.remote, request, self.node, part, posts))
        if posts:
            reply.add_done_callback(partial(self._is_there, part))
        return reply

    def _tell(self, request: bytes) -> None:
        self._posts.append(request)  # all that a finalizer may do
        self._posted.put(True)

    def close(self) -> None:
        """Nothing more goes out."""
        self._posted.put(False)
        self.calls.lose(ClusterDied("this process has left the Ray cluster of this object: close() was called"))

    def _take(self) -> list[bytes]:
        """The next part of what was posted."""
        posts = []
        while self._posts:
            posts.append(self._posts.popleft())
        self._sent += bool(posts)
        return posts

    def _is_there(self, part: int, _reply: Future[Any]) -> None:
        self._there = max(self._there, part)

    def _post_all(self) -> None:
        while self._posted.get():
            with self._lock:
                posts = self._take()
                if not posts:
                    continue  # they went with a call
                part = self._sent
                reply = self.calls.carry(partial(self.hosts.tell.remote, self.node, part, posts))
            try:
                reply.result()
            except ClusterDied:  # as all who ask are told
                return
            self._is_there(part, reply)


def attend(hosts: Any, node: str) -> Any:
    """Have the hosts know when this process ends; to be held by it till then."""
    never = hosts.never.remote()
    ray.get(hosts.attend.remote(node, [never]))
    return never
