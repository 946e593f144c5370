"""Barriers of a cluster, where they are hosted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from allcores.cluster.calls import Call, Gone
from allcores.cluster.hosted import Hosted, Hosts

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Who

__all__ = ("Barrier",)


class Barrier(Hosted):
    """All or nobody."""

    def __init__(self, hosts: Hosts, oid: int, parties: int) -> None:
        super().__init__(hosts, oid)
        self.parties = parties
        self.waiters = self.line()
        self.acting: Who | None = None
        self.broken: str | None = None

    async def do_wait(self, call: Call, acts: bool) -> tuple[int, bool]:
        """Wait for the others: the number of this one, and whether it is to act first, and to say so then."""
        if self.broken is not None:
            raise threading.BrokenBarrierError(self.broken)
        if self.acting is not None or len(self.waiters) < self.parties - 1:
            if call.is_patient:
                try:
                    given = await self.wait(self.waiters, call, otherwise=None)
                except Gone:
                    if self.broken is None:
                        self._break("a party was broken off")
                    raise
                if given is not None:
                    return int(given), False
            self._break("a party's time was over")
            raise threading.BrokenBarrierError(self.broken)
        if acts:
            self.acting = call.who
        else:
            self._let_go()
        return self.parties - 1, acts

    def _let_go(self) -> None:
        for number in range(self.parties - 1):
            self.waiters.popleft().give(number)

    def do_acted(self, _call: Call, well: bool) -> None:
        """The action has been done."""
        if self.acting is None:
            raise threading.BrokenBarrierError(self.broken or "reset() came meanwhile")
        self.acting = None
        if well:
            self._let_go()
        else:
            self._break("its action raised")

    def _break(self, why: str) -> None:
        self.broken = f"the barrier is broken: {why}; reset() mends it"
        self._send_away(self.broken)

    def _send_away(self, why: str) -> None:
        self.acting = None
        while self.waiters:
            self.waiters.popleft().fail(threading.BrokenBarrierError(why))

    def do_abort(self, _call: Call) -> None:
        """Break it."""
        self._break("abort() was called")

    def do_reset(self, _call: Call) -> None:
        """Begin anew. Not while the action runs: then all are there."""
        if self.acting is not None:
            return
        self.broken = None
        self._send_away("the barrier was broken by reset()")

    def do_state(self, _call: Call) -> tuple[bool, int]:
        """Whether it is broken, and how many wait."""
        return self.broken is not None, len(self.waiters) + (self.acting is not None)

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        if self.broken is None and ((self.acting is not None and dead(self.acting)) or (why and self.shared_by(dead))):
            self._break(f"{why or 'a process'} died")
