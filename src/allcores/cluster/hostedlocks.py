"""Locks, semaphores, events and conditions of a cluster, where they are hosted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from allcores.cluster.calls import Call, Gone
from allcores.cluster.hosted import Hosted, Hosts, Waiting
from allcores.errors import DeadlockError, OwnerDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Who

__all__ = ("BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore")


class Lock(Hosted):
    """A lock, recursive or not, that knows its owner."""

    def __init__(self, hosts: Hosts, oid: int, recursive: bool, release_on_death: bool, name: str) -> None:
        super().__init__(hosts, oid)
        self.recursive, self.release_on_death = recursive, release_on_death
        self.name = f"{name} {oid}"
        self.owner: Who | None = None
        self.depth = 0
        self.since = 0.0
        self.is_signal = False  # it was released by another than its owner: no deadlock is told of it
        self.dead: tuple[Who, float] | None = None  # who died with it
        self.ended_well = False  # and how
        self.waiters = self.line()
        self.conditions: list[Condition] = []

    def is_mine(self, who: Who) -> bool:
        """Whether this thread holds it."""
        return self.owner is not None and self.owner.same_as(who)

    def take(self, who: Who, depth: int = 1) -> None:
        """It is this thread's."""
        self.owner, self.depth, self.since = who, depth, time.time()

    def _owner_died(self) -> OwnerDied:
        assert self.dead is not None
        who, since = self.dead
        return OwnerDied(who.pid, who.name, since, self.name)

    async def do_acquire(self, call: Call, depth: int = 1) -> bool:
        """Acquire it. False: not in time."""
        if self.dead is not None:
            raise self._owner_died()
        if self.owner is None:
            self.take(call.who, depth)
            return True
        if self.recursive and self.is_mine(call.who):
            self.depth += 1
            return True
        if not call.is_patient:
            return False
        if call.timeout is None:
            self._check_circle(call.who)
        return bool(await self.wait(self.waiters, call, depth))

    def _check_circle(self, who: Who) -> None:
        """Whether this wait would close a circle of threads, each waiting for a lock that the next one holds."""
        members: list[tuple[Who, Lock]] = [(who, self)]
        while True:
            lock = members[-1][1]
            if lock.owner is None or lock.is_signal or len(members) > 1000:
                return
            if lock.owner.same_as(who):
                break
            following = self.hosts.waits_for(lock.owner)
            if not isinstance(following, Lock):
                return
            members.append((lock.owner, following))
        if len(members) > 1:
            raise DeadlockError((m.pid, m.name, m.thread, lock.name, "", "") for m, lock in members)

    def do_release(self, call: Call) -> None:
        """Release it."""
        mine = self.is_mine(call.who)
        if self.recursive and not mine:
            raise AssertionError(f"release() of {self.name} by a thread that does not hold it")
        if self.owner is None:
            if self.dead is not None and not self.ended_well:
                raise self._owner_died()
            if self.dead is None:
                raise ValueError(f"release() of {self.name}, which is not held")
            self.dead, self.depth = None, 1  # as the standard's: one takes it and ends, another gives it back
        self.is_signal = self.is_signal or not mine
        self.depth -= 1
        if not self.depth:
            self.hand_on()

    def hand_on(self) -> None:
        """To who has waited longest."""
        self.owner, self.depth = None, 0
        while self.waiters and self.owner is None:
            waiting = self.waiters.popleft()
            if not waiting.turn.done():
                self.take(waiting.call.who, waiting.what)
                waiting.give()
        self.hosts.changed(self.oid)

    def is_ready(self) -> bool:
        return self.owner is None

    def thread_gone(self, who: Who) -> None:
        """A thread has ended: with a recursive lock, as if its process had died, since nobody else could release it."""
        if self.recursive and self.is_mine(who):
            self.gone(who.same_as, "its thread")

    def do_locked(self, _call: Call) -> bool:
        """Whether it is held."""
        return self.owner is not None or self.dead is not None

    def do_is_mine(self, call: Call) -> bool:
        """Whether the thread that asks holds it."""
        return self.is_mine(call.who)

    def do_recover(self, _call: Call) -> bool:
        """The data is all right again: whether anybody had died."""
        was = self.dead is not None
        self.dead = None
        return was

    def do_undo(self, call: Call, op: str, value: Any) -> None:
        if op == "acquire" and value and self.is_mine(call.who):
            self.do_release(call)

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        if self.owner is None or not dead(self.owner):
            return
        if self.release_on_death:
            self.hand_on()
            return
        self.dead, self.ended_well = (self.owner, self.since), not why
        self.owner, self.depth = None, 0
        for line in (self.waiters, *(each.waiters for each in self.conditions)):
            while line:
                line.popleft().fail(self._owner_died())
        self.hosts.changed(self.oid)


class Semaphore(Hosted):
    """Permits. One whose holder dies is gone."""

    def __init__(self, hosts: Hosts, oid: int, value: int) -> None:
        super().__init__(hosts, oid)
        self.value = value
        self.waiters = self.line()

    async def do_acquire(self, call: Call) -> bool:
        """Take a permit. False: not in time."""
        if self.value > 0:
            self.value -= 1
            self.taken(call.who)
            return True
        return bool(call.is_patient and await self.wait(self.waiters, call))

    def do_release(self, call: Call, n: int) -> None:
        """Give permits back."""
        self.value += n
        self.hand_on()

    def hand_on(self) -> None:
        """Permits to those that wait."""
        while self.waiters and self.value > 0:
            waiting: Waiting = self.waiters.popleft()
            if not waiting.turn.done():
                self.value -= 1
                self.taken(waiting.call.who)
                waiting.give()
        self.hosts.changed(self.oid)

    def is_ready(self) -> bool:
        return self.value > 0

    def do_get_value(self, _call: Call) -> int:
        """Permits that are free."""
        return self.value

    def do_undo(self, call: Call, op: str, value: Any) -> None:
        if op == "acquire" and value:
            self.do_release(call, 1)

    def taken(self, who: Who) -> None:
        """A permit is this thread's."""


class BoundedSemaphore(Semaphore):
    """Permits that come back when their holder dies, and never are more than at first."""

    def __init__(self, hosts: Hosts, oid: int, value: int) -> None:
        super().__init__(hosts, oid, value)
        self.most = value
        self.held: list[Who] = []
        self.left = 0  # permits of who ended well: for another to release, or for who finds no other

    def taken(self, who: Who) -> None:
        self.held.append(who)

    def do_release(self, call: Call, n: int) -> None:
        if self.value + n > self.most:
            raise ValueError("semaphore released more often than it was acquired")
        for _ in range(n):
            mine = next((each for each in self.held if each.node == call.who.node), None)
            if mine is not None:
                self.held.remove(mine)
            elif self.left:
                self.left -= 1
            else:
                self.held.pop(0)
        super().do_release(call, n)

    async def do_acquire(self, call: Call) -> bool:
        if not self.value and self.left:
            self.left -= 1
            self.value += 1
        return await super().do_acquire(call)

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        lost = [each for each in self.held if dead(each)]
        self.held = [each for each in self.held if not dead(each)]
        if why or self.waiters:
            self.value += len(lost)
        else:
            self.left += len(lost)
        self.hand_on()


class Event(Hosted):
    """A flag."""

    def __init__(self, hosts: Hosts, oid: int) -> None:
        super().__init__(hosts, oid)
        self.flag = False
        self.waiters = self.line()

    def do_is_set(self, _call: Call) -> bool:
        """Whether it is set."""
        return self.flag

    def do_set(self, _call: Call) -> None:
        """Set it: all that wait go on."""
        self.flag = True
        while self.waiters:
            self.waiters.popleft().give()
        self.hosts.changed(self.oid)

    def is_ready(self) -> bool:
        return self.flag

    def do_clear(self, _call: Call) -> None:
        """Unset it."""
        self.flag = False

    async def do_wait(self, call: Call) -> bool:
        """Wait until it is set. False: not in time."""
        return self.flag or bool(call.is_patient and await self.wait(self.waiters, call))


class Condition(Hosted):
    """A condition variable of a lock."""

    def __init__(self, hosts: Hosts, oid: int, lock: int) -> None:
        super().__init__(hosts, oid)
        found = hosts.objects.get(lock)
        if not isinstance(found, Lock):
            raise Gone("the lock of the condition is gone")
        self.lock = found
        self.lock.conditions.append(self)
        self.waiters = self.line()
        self.broken_off: dict[tuple[str, int], int] = {}  # node and thread -> how often it is to have the lock again

    async def do_wait(self, call: Call) -> bool:
        """Let go of the lock, wait to be notified, acquire it again. False: not in time."""
        lock, told = self.lock, None
        if not lock.is_mine(call.who):
            raise AssertionError("wait() without the lock: write `with condition:` around it")
        depth = lock.depth
        lock.hand_on()
        try:
            told = bool(await self.wait(self.waiters, call))
            await lock.do_acquire(call._replace(timeout=None), depth)
        except Gone:  # it died, or was broken off
            if not self.hosts.is_dead(call.who.node):
                self.broken_off[call.who.node, call.who.thread] = depth if told is None else 0
            if told:  # another one goes on
                self._notify(1)
            raise
        return told

    async def do_take_back(self, call: Call) -> None:
        """A wait was broken off: who had not been woken yet acquires the lock again."""
        if depth := self.broken_off.pop((call.who.node, call.who.thread), 0):
            await self.lock.do_acquire(call, depth)

    def do_notify(self, call: Call, n: int) -> None:
        """Wake those that have waited longest."""
        if not self.lock.is_mine(call.who):
            raise AssertionError("notify() without the lock: write `with condition:` around it")
        self._notify(n)

    def _notify(self, n: int) -> None:
        while self.waiters and n > 0:
            waiting = self.waiters.popleft()
            if not waiting.turn.done():
                waiting.give()
                n -= 1

    def do_waiting(self, _call: Call) -> int:
        """How many wait."""
        return len(self.waiters)

    def do_undo(self, call: Call, op: str, value: Any) -> None:
        if op == "wait" and self.lock.is_mine(call.who):
            self.lock.hand_on()
            if value:
                self._notify(1)

    def dropped(self) -> None:
        self.lock.conditions.remove(self)
