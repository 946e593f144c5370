"""Locks and semaphores of a cluster, where they are hosted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from allcores.cluster.hosted import Call, Hosted, Hosts, Waiting
from allcores.errors import OwnerDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Who

__all__ = ("BoundedSemaphore", "Lock", "Semaphore")


class Lock(Hosted):
    """A lock, recursive or not, that knows its owner."""

    def __init__(self, hosts: Hosts, oid: int, recursive: bool, release_on_death: bool, name: str) -> None:
        super().__init__(hosts, oid)
        self.recursive, self.release_on_death = recursive, release_on_death
        self.name = f"{name} {oid}"
        self.owner: Who | None = None
        self.depth = 0
        self.since = 0.0
        self.dead: tuple[Who, float] | None = None  # who died with it
        self.waiters = self.line()

    def is_mine(self, who: Who) -> bool:
        """Whether this thread holds it."""
        return self.owner is not None and self.owner[0::3] == who[0::3]

    def take(self, who: Who, depth: int = 1) -> None:
        """It is this thread's."""
        self.owner, self.depth, self.since = who, depth, time.time()

    def check_alive(self) -> None:
        """Raises OwnerDied if that is so."""
        if self.dead is not None:
            who, since = self.dead
            raise OwnerDied(who.pid, who.name, since, self.name)

    async def do_acquire(self, call: Call) -> bool:
        """Acquire it. False: not in time."""
        self.check_alive()
        if self.owner is None:
            self.take(call.who)
            return True
        if self.recursive and self.is_mine(call.who):
            self.depth += 1
            return True
        if not call.is_patient:
            return False
        return bool(await self.wait(self.waiters, call))

    def do_release(self, call: Call) -> None:
        """Release it."""
        if self.recursive and not self.is_mine(call.who):
            raise AssertionError(f"release() of {self.name} by a thread that does not hold it")
        if self.owner is None:
            raise ValueError(f"release() of {self.name}, which is not held")
        self.depth -= 1
        if not self.depth:
            self.hand_on()

    def hand_on(self) -> None:
        """To who has waited longest."""
        self.owner, self.depth = None, 0
        while self.waiters and self.owner is None:
            waiting = self.waiters.popleft()
            if not waiting.turn.done():
                self.take(waiting.call.who, 1 if waiting.what is None else waiting.what)
                waiting.give()

    def do_locked(self, _call: Call) -> bool:
        """Whether it is held."""
        return self.owner is not None

    def do_is_mine(self, call: Call) -> bool:
        """Whether the thread that asks holds it."""
        return self.is_mine(call.who)

    def do_recover(self, _call: Call) -> bool:
        """The data is all right again: whether anybody had died."""
        was = self.dead is not None
        self.dead = None
        if was:
            self.hand_on()
        return was

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        if self.owner is None or not dead(self.owner):
            return
        if self.release_on_death:
            self.hand_on()
            return
        self.dead = self.owner, self.since
        self.owner, self.depth = None, 0
        while self.waiters:
            try:
                self.check_alive()
            except OwnerDied as error:
                self.waiters.popleft().fail(error)


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

    def do_get_value(self, _call: Call) -> int:
        """Permits that are free."""
        return self.value

    def taken(self, who: Who) -> None:
        """A permit is this thread's."""


class BoundedSemaphore(Semaphore):
    """Permits that come back when their holder dies, and never are more than at first."""

    def __init__(self, hosts: Hosts, oid: int, value: int) -> None:
        super().__init__(hosts, oid, value)
        self.most = value
        self.held: list[Who] = []

    def taken(self, who: Who) -> None:
        self.held.append(who)

    def do_release(self, call: Call, n: int) -> None:
        if self.value + n > self.most:
            raise ValueError("semaphore released too many times")
        for _ in range(n):
            mine = next((each for each in self.held if each.node == call.who.node), None)
            self.held.remove(self.held[0] if mine is None else mine)
        super().do_release(call, n)

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        lost = [each for each in self.held if dead(each)]
        self.held = [each for each in self.held if not dead(each)]
        self.value += len(lost)
        self.hand_on()
