"""Queues and pipes of a cluster, where they are hosted. Items are bytes: only who gets them puts them together."""

from __future__ import annotations

import errno
import queue
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores.cluster.calls import Call, Gone
from allcores.cluster.hosted import Hosted, Hosts, Waiting
from allcores.errors import ConsumerDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Who

__all__ = ("Queue", "ReceivingEnd", "SendingEnd")


# Objects that are on their way in a message, and by what name each.
Handles = tuple[tuple[int, str], ...]


class Item(NamedTuple):
    """What waits in a queue."""

    data: bytes
    nbytes: int  # what it counts as
    handles: Handles = ()


class Queue(Hosted):
    """First in, first out; joinable, bounded by items and by bytes, as it is asked for."""

    def __init__(self, hosts: Hosts, oid: int, bound: int, max_bytes: int, joinable: bool) -> None:
        super().__init__(hosts, oid)
        self.bound, self.max_bytes, self.joinable = bound, max_bytes, joinable
        self.items: deque[Item] = deque()
        self.nbytes = 0
        self.getters, self.putters, self.joiners = self.line(), self.line(), self.line()
        self.unfinished = self.early = 0
        self.hands: Counter[tuple[str, int, str]] = Counter()  # node, pid, name -> taken and not done
        self.lost: Counter[tuple[str, int, str]] = Counter()  # likewise, of those that have ended

    def _fits(self, nbytes: int) -> bool:
        if self.bound and len(self.items) >= self.bound:
            return False
        return not self.max_bytes or not self.items or self.nbytes + nbytes <= self.max_bytes

    async def do_put(self, call: Call, *item: Any) -> None:
        """Put an ``Item``. queue.Full if there is no room in time."""
        made = Item(*item)
        if not self._fits(made.nbytes):
            if not call.is_patient or not await self.wait(self.putters, call, made):
                raise queue.Full
            return
        self._add(made)

    def _add(self, item: Item) -> None:
        self.unfinished += 1
        while self.getters:
            waiting = self.getters.popleft()
            if not waiting.turn.done():
                self._take(waiting.call.who)
                waiting.give(item.data)
                return
        self.items.append(item)
        self.nbytes += item.nbytes
        self.hosts.changed(self.oid)

    def _take(self, who: Who) -> None:
        if self.early:
            self.early -= 1
        elif self.joinable:
            self.hands[who.node, who.pid, who.name] += 1

    async def do_get(self, call: Call) -> bytes:
        """Take the oldest item. queue.Empty if there is none in time."""
        if self.items:
            data = self._pop()
            self._take(call.who)
            self._let_in()
            return data
        found = await self.wait(self.getters, call, otherwise=None) if call.is_patient else None
        if found is None:
            raise queue.Empty
        return bytes(found)

    def _pop(self) -> bytes:
        item = self.items.popleft()
        self.nbytes -= item.nbytes
        return item.data

    def dropped(self) -> None:
        for item in self.items:
            self.hosts.lose(item.handles)

    def _let_in(self) -> None:
        for waiting in list(self.putters):
            if self._fits(waiting.what.nbytes):
                self.putters.remove(waiting)
                if not waiting.turn.done():
                    self._add(waiting.what)
                    waiting.give()

    def do_undo(self, call: Call, op: str, value: Any) -> None:
        if op == "get":
            self.unfinished -= 1
            if self.joinable:
                self._done(call.who.node)
            self.items.appendleft(Item(value, len(value)))
            self.nbytes += len(value)
            self.unfinished += 1
            while self.getters and self.items:
                waiting: Waiting = self.getters.popleft()
                if not waiting.turn.done():
                    self._take(waiting.call.who)
                    waiting.give(self._pop())

    def do_counts(self, _call: Call) -> tuple[int, int, int, int, int]:
        """Items, bytes, unfinished, in hands, lost."""
        hands, lost = sum(self.hands.values()), sum(self.lost.values())
        return len(self.items), self.nbytes, self.unfinished, hands + lost, lost

    def is_ready(self) -> bool:
        """Whether there is something."""
        return bool(self.items)

    # Joining.

    def _done(self, node: str) -> None:
        for hands in (self.hands, self.lost):
            mine = next((each for each in hands if each[0] == node), None) or next(iter(hands), None)
            if mine is not None:
                hands[mine] -= 1
                if not hands[mine]:
                    del hands[mine]
                return
        self.early += 1

    def do_task_done(self, call: Call) -> None:
        """An item is done."""
        if not self.unfinished:
            raise ValueError("task_done() called too many times")
        self._done(call.who.node)
        self._count_down(1)

    def _count_down(self, n: int) -> None:
        self.unfinished -= n
        if not self.unfinished:
            while self.joiners:
                self.joiners.popleft().give()

    def _died(self) -> ConsumerDied:
        return ConsumerDied((pid, name, n) for (_, pid, name), n in self.lost.items())

    async def do_join(self, call: Call) -> None:
        """Wait until all is done."""
        if self.lost:
            raise self._died()
        if self.unfinished:
            await self.wait(self.joiners, call)

    def do_recover(self, _call: Call) -> int:
        """What the dead had in their hands counts as done."""
        n = sum(self.lost.values())
        self.lost.clear()
        self._count_down(n)
        return n

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        for key in [key for key in self.hands if dead(self.hosts.anybody(key[0]))]:
            self.lost[key] += self.hands.pop(key)
        if self.lost:
            while self.joiners:
                self.joiners.popleft().fail(self._died())


class Message(NamedTuple):
    """What is on its way in a pipe."""

    is_bytes: bool  # not a pickle
    data: bytes
    handles: Handles = ()


class ReceivingEnd(Hosted):
    """The side of a direction that receives: it has what is on its way. There are others with it in several processes,
    and all are this one object; it is dropped when nobody has it any more."""

    def __init__(self, hosts: Hosts, oid: int) -> None:
        super().__init__(hosts, oid)
        self.items: deque[Message] = deque()
        self.receivers = self.line()
        self.has_senders = True
        self.closed = False

    async def do_recv(self, call: Call) -> tuple[bool, bytes]:
        """The oldest message: whether it is mere bytes, and it. EOFError: nobody is left who could send."""
        if self.items:
            return self.items.popleft()[:2]
        if not self.has_senders:
            raise EOFError("the other end of this connection is closed, and nothing is left to receive")
        found: Message = await self.wait(self.receivers, call)
        return found[:2]

    async def do_poll(self, call: Call) -> bool:
        """Wait until something is there, or the end."""
        return self.is_ready() or (call.is_patient and bool(await self.hosts.wait_for_any(call, [self])))

    def is_ready(self) -> bool:
        """Whether something is there, or the end."""
        return bool(self.items) or not self.has_senders

    def add(self, message: Message) -> None:
        """A message has come."""
        while self.receivers:
            waiting = self.receivers.popleft()
            if not waiting.turn.done():
                waiting.give(message)
                return
        self.items.append(message)
        self.hosts.changed(self.oid)

    def end(self) -> None:
        """Nobody can send any more."""
        self.has_senders = False
        while self.receivers:
            self.receivers.popleft().fail(
                EOFError("the other end of this connection is closed, and nothing is left to receive")
            )
        self.hosts.changed(self.oid)

    def do_undo(self, _call: Call, op: str, value: Any) -> None:
        if op == "recv":
            self.items.appendleft(Message(*value))
            self.hosts.changed(self.oid)

    def dropped(self) -> None:
        self.closed = True
        while self.items:
            self.hosts.lose(self.items.popleft().handles)


class SendingEnd(Hosted):
    """The side that sends."""

    def __init__(self, hosts: Hosts, oid: int, other: int) -> None:
        super().__init__(hosts, oid)
        found = hosts.objects.get(other)
        if not isinstance(found, ReceivingEnd):
            raise Gone("the other end is gone")
        self.other = found

    def do_send(self, _call: Call, *message: Any) -> None:
        """Send a ``Message``; never waits. BrokenPipeError: nobody is left who could receive."""
        made = Message(*message)
        if self.other.closed:
            self.hosts.lose(made.handles)
            raise BrokenPipeError(errno.EPIPE, "the other end of this connection is closed")
        self.other.add(made)

    def dropped(self) -> None:
        self.other.end()
