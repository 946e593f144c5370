"""The processes of a cluster, as the hosts know them: how each has ended, and what it is told."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from allcores.cluster.calls import Call
from allcores.cluster.hosted import Hosted, Hosts

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.link import Who

__all__ = ("Ending",)

# Exit code, what it said (packed), the last of its stderr.
Outcome = tuple[int | None, bytes | None, str]


class Ending(Hosted):
    """One process: who started it waits here for its end, and who runs it waits here for orders.

    who starts it ── make ── signal ──▶ ... ── orders ──▶ who runs it
                  ◀── wait ── ...  ◀── end ──
    """

    def __init__(self, hosts: Hosts, oid: int, owner: str, handles: tuple[tuple[int, str], ...]) -> None:
        super().__init__(hosts, oid)
        self.owner = owner  # the process that starts it: with that it ends
        self.handles = handles  # of objects that it is given
        self.node = ""  # the worker that runs it
        self.outcome: Outcome | None = None
        self.orders: deque[int] = deque()
        self.waiters, self.runners = self.line(), self.line()

    def do_placed(self, call: Call) -> None:
        """It runs in the worker that says so."""
        self.node = call.who.node

    def do_signal(self, _call: Call, signum: int) -> None:
        """Have a signal sent to it. Nothing happens when it has ended."""
        if self.runners:
            self.runners.popleft().give(signum)
        else:
            self.orders.append(signum)

    async def do_orders(self, call: Call) -> int | None:
        """The next signal that is to be sent. None: it has ended, or nobody needs it any more and it is to end."""
        if self.outcome is not None:
            return None
        if self.orders:
            return self.orders.popleft()
        found: int | None = await self.wait(self.runners, call, otherwise=None)
        return found

    def do_end(self, _call: Call, *outcome: object) -> None:
        """It has ended so."""
        self._end(outcome)  # type: ignore[arg-type]

    def _end(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.hosts.lose(self.handles)
            while self.waiters:
                self.waiters.popleft().give(outcome)
            self._send_away()
            self.hosts.changed(self.oid)

    def _send_away(self) -> None:
        while self.runners:
            self.runners.popleft().give(None)

    async def do_wait(self, call: Call) -> Outcome | None:
        """How it has ended. None: not in time."""
        if self.outcome is not None or not call.is_patient:
            return self.outcome
        found: Outcome | None = await self.wait(self.waiters, call, otherwise=None)
        return found

    def is_ready(self) -> bool:
        return self.outcome is not None

    def gone(self, dead: Callable[[Who], bool], why: str) -> None:
        if self.node and dead(self.hosts.anybody(self.node)):
            self._end((None, None, ""))
        if dead(self.hosts.anybody(self.owner)):
            self._send_away()
