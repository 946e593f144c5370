"""How a process of the program talks to the hosted objects of a cluster, and who it is to them.

    thread ── call ──▶ Link ── engine ──▶ Hosts.answer(request) ── reply ──▶ thread
           ── post ──▶ (in order, nobody waits)

A process has one Link for each cluster that it has to do with: in a worker the engine's set-up registers it, elsewhere
the context makes it. ``Who`` is told with each call: what a lock needs to know of its owner.
"""

from __future__ import annotations

import itertools
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores.base import current_process, here

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ("Link", "Origin", "Who", "find", "home", "known", "register", "secrets", "unregister", "who")

# (name of the cluster, name of the context, its options): where an object lives, and how to come there.
Origin = tuple[str, str, dict[str, Any]]


class Who(NamedTuple):
    """A thread of a process, to the hosts."""

    node: str  # of the process. What begins with it and a "/" has been started by it, and ends with it
    pid: int
    name: str
    thread: int

    def same_as(self, other: Who) -> bool:
        """Whether it is that very thread; it may have another name by now."""
        return self.node == other.node and self.thread == other.thread and self.pid == other.pid


class Link:
    """The base of an engine's Link: what goes over the wire is made here, an engine carries bytes.

    An engine implements ``_ask`` and ``_tell``. Both may be called from any thread, the latter by a finalizer too.
    """

    def __init__(self, cluster: str, node: str) -> None:
        self.cluster = cluster
        self.node = node
        self.pid = os.getpid()
        self._tickets = itertools.count(1)
        self._threads = threading.local()

    async def ask_later(self, oid: int, op: str, args: tuple[Any, ...] = ()) -> Any:
        """``call`` for an event loop."""
        import asyncio

        reply: bytes = await asyncio.wrap_future(self._ask(self.request(oid, op, args)))
        ok, value = pickle.loads(reply)
        if ok:
            return value
        raise value

    def holds(self, more: int) -> None:
        """This thread has so many more recursive locks: of its end the hosts are told if it has some."""
        held = getattr(self._threads, "held", None)
        if held is None:
            held = self._threads.held = _Held(self)
        held.locks += more

    def call(self, oid: int, op: str, args: tuple[Any, ...] = (), timeout: float | None = None, ticket: int = 0) -> Any:
        """Have an object do something, and wait for what it gives. Broken off by Ctrl-C it has not happened.

        Args:
            oid: number of the object; 0 is the table of all.
            op: what to do.
            args: plain built-ins.
            timeout: for operations that wait: seconds, None for ever. What comes of it the operation says.
            ticket: one of ``ticket()``, where another thread is to be able to cancel it.

        Raises:
            ClusterDied: the process that has the objects is gone.
            BaseException: what the operation raises.
        """
        ticket = ticket or self.ticket()
        reply: Future[bytes] | None = None
        try:
            reply = self._ask(self.request(oid, op, args, timeout, ticket))
            ok, value = pickle.loads(reply.result())
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C
                self.post(0, "cancel", (ticket,))
                if reply is not None:
                    reply.add_done_callback(lambda late: self._undo(oid, op, late))
            raise
        if ok:
            return value
        raise value

    def ticket(self) -> int:
        """A number for a call, by which ``cancel`` names it."""
        return next(self._tickets)

    def request(
        self, oid: int, op: str, args: tuple[Any, ...] = (), timeout: float | None = None, ticket: int = 0
    ) -> bytes:
        """A call, as it goes over the wire: for who does not wait, but has ``_ask`` tell."""
        return pickle.dumps((oid, op, tuple(who(self.node)), args, timeout, ticket or next(self._tickets)), 5)

    def _undo(self, oid: int, op: str, late: Future[bytes]) -> None:
        """A call that was broken off has been answered: what it was given goes back."""
        if not late.cancelled() and late.exception() is None:
            ok, value = pickle.loads(late.result())
            if ok:
                self.post(oid, "undo", (op, value))

    def post(self, oid: int, op: str, args: tuple[Any, ...] = ()) -> None:
        """Likewise, and nobody waits: before what this process posts and calls later. Never blocks."""
        if self.pid == os.getpid():  # else a fork, in which it is nobody's
            self._tell(self.request(oid, op, args))

    def _ask(self, request: bytes) -> Future[bytes]:
        """Carry a request to ``Hosts.answer``: its reply. ClusterDied in bounded time if nobody is there."""
        raise NotImplementedError

    def _tell(self, request: bytes) -> None:
        """Carry a request to ``Hosts.answer``, before those that come later. Errors are dropped: nobody asks."""
        raise NotImplementedError


class _Held:
    """What a thread has; it goes with the thread."""

    def __init__(self, link: Link) -> None:
        self._link, self._thread = link, threading.get_native_id()
        self.locks = 0

    def __del__(self) -> None:
        if self.locks > 0:
            self._link.post(0, "thread_gone", (self._thread,))


def who(node: str) -> Who:
    """The thread that runs here."""
    of = here() or current_process()
    return Who(node, os.getpid(), of.name, threading.get_native_id())


# The links of this process, by cluster; the home of a worker: context's name -> origin; and what else its context needs
# to come there, which does not travel with each handle: keys.
_links: dict[str, Link] = {}
_homes: dict[str, Origin] = {}
_secrets: dict[str, dict[str, Any]] = {}
_lock = threading.RLock()


def register(
    link: Link, home_of: str | None = None, options: dict[str, Any] | None = None, secrets: dict[str, Any] | None = None
) -> None:
    """This process has this link; with ``home_of``, it is a worker of that cluster of the context of that name."""
    with _lock:
        _links[link.cluster] = link
        if home_of is not None:
            _homes[home_of] = (link.cluster, home_of, options or {})
            _secrets[home_of] = secrets or {}


def unregister(cluster: str) -> None:
    """It has left that cluster."""
    with _lock:
        _links.pop(cluster, None)
        for name in [name for name, origin in _homes.items() if origin[0] == cluster]:
            del _homes[name]


def home(name: str) -> Origin | None:
    """The cluster of that context that this process is a worker of."""
    return _homes.get(name)


def secrets(name: str) -> dict[str, Any]:
    """What a context of that name needs here, besides the options of ``home``."""
    return _secrets.get(name, {})


def known(cluster: str) -> Link | None:
    """The link that this process has to a cluster, if it has one."""
    return _links.get(cluster)


def find(origin: Origin) -> Link:
    """The link to where an object lives that arrived here."""
    found = _links.get(origin[0])
    if found is None:
        from allcores.context import get_context

        context: Any = get_context(origin[1], **origin[2])
        found = context._fleet().link
    return found


# A fork has its parent's threads no more, nor its connections.
os.register_at_fork(after_in_child=_links.clear)
os.register_at_fork(after_in_child=_homes.clear)
