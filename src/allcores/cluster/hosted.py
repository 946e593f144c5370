"""The server side of a cluster's objects: one table of small state machines, in one process, in one event loop.

    Link ── request ──▶ Hosts.answer ── op ──▶ Lock, Queue, ...  ── now, or when it is this call's turn ──▶ reply
    engine ── gone(node) ──▶ what that process held is settled, what it waited for ends

Everything happens in the loop's thread, and a state changes between two awaits only: so nothing is ever half changed.
A lock is given to whoever waits by whoever releases it, in that very step: a call that was given something and whose
process dies before it knows is, to all others, a process that had it.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import pickle
from collections import deque
from typing import TYPE_CHECKING, Any

from allcores.cluster.calls import Call, Gone, is_of
from allcores.cluster.hostedpools import HostedPools
from allcores.cluster.link import Who
from allcores.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("Hosted", "Hosts", "Waiting")

# kind -> module, class: an object of each kind is made by its class from what the client says.
_KINDS = {
    **dict.fromkeys(("BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore"), "hostedlocks"),
    **dict.fromkeys(("Queue", "ReceivingEnd", "SendingEnd"), "hostedqueues"),
    "Barrier": "hostedbarriers",
    "Data": "hosteddata",
    "Ending": "hostedprocesses",
}


class Waiting:
    """A call that waits for its turn."""

    __slots__ = ("call", "over", "turn", "what", "where")

    def __init__(self, where: Hosted, call: Call, what: Any = None) -> None:
        self.where, self.call = where, call
        self.what = what  # the object's own note
        self.turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # the call goes on

    def give(self, value: Any = True) -> None:
        """It is this call's turn."""
        if not self.turn.done():
            self.turn.set_result(value)

    def fail(self, error: BaseException) -> None:
        """It waits in vain."""
        if not self.turn.done():
            self.turn.set_exception(error)


class Hosted:
    """One object of the table. Its operations are its methods ``do_…``, each with the Call first."""

    def __init__(self, hosts: Hosts, oid: int) -> None:
        self.hosts, self.oid = hosts, oid
        self.lines: list[deque[Waiting]] = []  # all who wait here, for whatever

    def line(self) -> deque[Waiting]:
        """Another line to wait in."""
        made: deque[Waiting] = deque()
        self.lines.append(made)
        return made

    async def wait(self, line: deque[Waiting], call: Call, what: Any = None, otherwise: Any = False) -> Any:
        """Wait in a line for one's turn: what is given then; ``otherwise`` when the time is over before."""
        waiting = Waiting(self, call, what)
        line.append(waiting)
        self.hosts.waiting[call.who.node, call.ticket] = waiting
        try:
            await asyncio.wait([waiting.turn], timeout=call.timeout)
        finally:
            self.hosts.waiting.pop((call.who.node, call.ticket), None)
            waiting.over.set_result(None)
            if waiting in line:
                line.remove(waiting)
        return waiting.turn.result() if waiting.turn.done() else otherwise

    def thread_gone(self, who: Who) -> None:
        """A thread has ended that had something here."""

    def is_ready(self) -> bool:
        """Whether ``wait()`` for it is over."""
        raise TypeError("this is nothing to wait() for: a queue, a connection or a process is")

    def shared_by(self, dead: Callable[[Who], bool]) -> bool:
        """Whether one of these has it."""
        return any(dead(self.hosts.anybody(node)) for node in self.hosts.holders_of(self.oid))

    def dropped(self) -> None:
        """Nobody has it any more."""

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        """Processes have ended; those of them that waited here are out of their lines already.

        Args:
            dead: whether somebody is of them.
            why: who they are, and how they ended; empty if they ended well.
        """

    def do_undo(self, call: Call, op: str, value: Any) -> None:
        """What this operation gave came to nobody: the thread was broken off."""


class Hosts(HostedPools):
    """The table of a cluster's objects; itself object 0."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[int, Hosted] = {}
        self.waiting: dict[tuple[str, int], Waiting] = {}
        self._numbers = itertools.count(1)
        self._holders: dict[int, dict[str, int]] = {}  # object -> process -> handles there
        self._travels: dict[int, set[str]] = {}  # object -> handles that are on their way
        self._early: set[str] = set()  # arrived before it was said that they left
        self._dead: set[str] = set()
        self._watchers: dict[int, list[asyncio.Future[None]]] = {}

    async def answer(self, request: bytes) -> bytes:
        """Do what a Link asks."""
        oid, op, who, args, timeout, ticket = pickle.loads(request)
        try:
            call = Call(Who(*who), timeout, ticket)
            if self.is_dead(call.who.node):
                raise Gone("this process was taken for dead by its cluster, since the connection was lost")
            value = await self._do(oid, op, call, args)
            return pickle.dumps((True, value), 5)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return pickle.dumps((False, error.with_traceback(None)), 5)

    async def _do(self, oid: int, op: str, call: Call, args: tuple[Any, ...]) -> Any:
        where: Any = self.objects.get(oid) if oid else self
        if where is None:
            raise Gone("the object is gone: all that held it have ended")
        value = getattr(where, f"do_{op}")(call, *args)
        return await value if asyncio.iscoroutine(value) else value

    def do_make(self, call: Call, kind: str, args: tuple[Any, ...]) -> int:
        """Make an object: its number. Whoever asks holds it."""
        if kind not in _KINDS:
            raise UsageError(f"a cluster has no object of kind {kind!r}")
        oid = next(self._numbers)
        cls = getattr(importlib.import_module(f"allcores.cluster.{_KINDS[kind]}"), kind)
        self.objects[oid] = cls(self, oid, *args)  # after all that could go wrong with it
        self._holders[oid] = {call.who.node: 1}
        self._travels[oid] = set()
        return oid

    def do_leave(self, call: Call, oid: int, token: str) -> None:
        """A handle of an object is on its way, by this name."""
        if token in self._early:
            self._early.discard(token)
        elif oid in self._travels:
            self._travels[oid].add(token)

    def do_arrive(self, call: Call, oid: int, token: str) -> None:
        """It is there: this process holds the object."""
        if oid not in self.objects:
            return  # whatever is done with it says so
        holders = self._holders[oid]
        holders[call.who.node] = holders.get(call.who.node, 0) + 1
        if token in self._travels[oid]:
            self._travels[oid].discard(token)
        else:
            self._early.add(token)

    def do_drop(self, call: Call, oid: int) -> None:
        """A handle is gone."""
        holders = self._holders.get(oid)
        if holders is None or call.who.node not in holders:
            return
        holders[call.who.node] -= 1
        if not holders[call.who.node]:
            del holders[call.who.node]
        self._drop_unheld(oid)

    def lose(self, handles: Iterable[tuple[int, str]]) -> None:
        """These were on their way, and will not arrive."""
        for oid, token in handles:
            if oid in self._travels:
                self._travels[oid].discard(token)
                self._drop_unheld(oid)

    def _drop_unheld(self, oid: int) -> None:
        if not self._holders[oid] and not self._travels[oid]:
            del self._holders[oid], self._travels[oid]
            obj = self.objects.pop(oid, None)
            if obj is not None:
                obj.dropped()
                self.changed(oid)

    async def do_cancel(self, call: Call, ticket: int) -> None:
        """A thread was broken off while it waited. When this is done, that has had its effect."""
        waiting = self.waiting.get((call.who.node, ticket))
        if waiting is not None:
            waiting.fail(Gone("broken off"))
            await waiting.over

    def anybody(self, node: str) -> Who:
        """Some thread of a process."""
        return Who(node, 0, "", 0)

    def holders_of(self, oid: int) -> list[str]:
        """The processes that have an object."""
        return list(self._holders.get(oid, ()))

    def waits_for(self, who: Who) -> Hosted | None:
        """What a thread waits for, for ever."""
        for waiting in self.waiting.values():
            if waiting.call.who.same_as(who) and waiting.call.timeout is None and not waiting.turn.done():
                return waiting.where
        return None

    def changed(self, oid: int) -> None:
        """An object may be ready: who waits for several looks."""
        for watcher in self._watchers.pop(oid, ()):
            if not watcher.done():
                watcher.set_result(None)

    async def wait_for_any(self, call: Call, objects: list[Hosted]) -> list[int]:
        """Wait until some of these are ready: their numbers. None: not in time."""
        deadline = None if call.timeout is None else asyncio.get_running_loop().time() + call.timeout
        waiting = Waiting(objects[0], call)
        self.waiting[call.who.node, call.ticket] = waiting
        try:
            while not (ready := [obj.oid for obj in objects if obj.is_ready()]):
                changed = asyncio.get_running_loop().create_future()
                for obj in objects:
                    self._watchers.setdefault(obj.oid, []).append(changed)
                left = None if deadline is None else max(deadline - asyncio.get_running_loop().time(), 0)
                done, _ = await asyncio.wait([changed, waiting.turn], timeout=left, return_when="FIRST_COMPLETED")
                if not done:
                    return []
                if waiting.turn.done():
                    waiting.turn.result()
                if any(obj.oid not in self.objects for obj in objects):
                    raise Gone("the object is gone: all that held it have ended")
        finally:
            self.waiting.pop((call.who.node, call.ticket), None)
            waiting.over.set_result(None)
        return ready

    async def do_wait_any(self, call: Call, oids: list[int]) -> list[int]:
        """See ``wait_for_any``."""
        found = [self.objects.get(oid) for oid in oids]
        there = [obj for obj in found if obj is not None]
        if len(there) < len(oids):
            raise Gone("the object is gone: all that held it have ended")
        return await self.wait_for_any(call, there)

    def do_undo(self, _call: Call, op: str, value: Any) -> None:
        """Nothing here has to be undone."""

    def do_thread_gone(self, call: Call, thread: int) -> None:
        """A thread of the process that says so has ended, with locks in its hands."""
        for obj in list(self.objects.values()):
            obj.thread_gone(call.who._replace(thread=thread))

    def do_gone(self, _call: Call, node: str, why: str) -> None:
        """A process that was started by one of the cluster has ended; see ``gone``."""
        self.gone(node, why)

    def do_counts(self, call: Call) -> tuple[int, int]:
        """How many objects there are, and calls that wait."""
        return len(self.objects), len(self.waiting)

    # Deaths.

    def back(self, node: str) -> None:
        """A process of that name is there again: another one."""
        self._dead.discard(node)

    def gone(self, node: str, why: str, program: bool = False) -> None:
        """A process has ended, with all that it had started: whatever it held is settled now.

        Args:
            node: it.
            why: who it was, if it did not end well.
            program: it was one. What it and the dead before it sent is on its way no more.
        """
        self._dead.add(node)
        if program:
            self._lose_handles()

        def dead(who: Who) -> bool:
            return is_of(who.node, node)

        for waiting in [each for each in self.waiting.values() if dead(each.call.who)]:
            for line in waiting.where.lines:
                if waiting in line:
                    line.remove(waiting)
            waiting.fail(Gone("its process has ended"))
        for obj in list(self.objects.values()):
            obj.gone(dead, why)
        self.leave_pools(node)
        for oid, holders in list(self._holders.items()):
            for each in [each for each in holders if is_of(each, node)]:
                del holders[each]
            self._drop_unheld(oid)

    def is_dead(self, node: str) -> bool:
        """Whether a process has ended."""
        return node in self._dead or any(node[:i] in self._dead for i, c in enumerate(node) if c == "/")

    def _lose_handles(self) -> None:
        def is_lost(token: str) -> bool:
            return self.is_dead(token.rsplit(":", 2)[0])

        self._early = {token for token in self._early if not is_lost(token)}
        for tokens in self._travels.values():
            tokens.difference_update([token for token in tokens if is_lost(token)])
