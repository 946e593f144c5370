"""Event loops: how answers of a pool come to who awaits them, with no thread in between.

    worker ──▶ answer channel ──▶ descriptor is readable ──▶ the loop: engine.look ──▶ dispatch ──▶ tell ─┐
               another thread that has the engine's seat ─────────────────────────▶ dispatch ──▶ tell ────┤
                                                              who awaits is woken ◀── in the loop: wake ◀─┘

Many answers cost one wake-up: all that are there when the loop looks are dispatched, and all that were told when it
comes to it are woken. While nobody awaits anything of the pool, the loop knows nothing of it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.pool.engine import Engine

__all__ = ("Bridge", "bridge_here")


# Seconds: of a call of nothing with hot workers twice what it takes, of two wake-ups about half.
_MOMENT = 50e-6
_MOST_BLINKS = 255


class Woken(Protocol):
    """Something that a coroutine awaits."""

    def wake(self) -> None:
        """In the loop's thread: it has changed."""
        ...

    def lose(self) -> None:
        """The loop is closed: nobody will ask for it any more."""
        ...


class Bridge:
    """Between the engine of one pool and one loop, as long as something of the pool is awaited there."""

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self._engine = engine
        self._crew = engine.crew
        self._awaited = 0
        self._told: deque[Woken] = deque()
        self._cancelled: list[Any] = []
        self._due = self._looking = False
        self._vain = self._blinks = 0
        self._fd = -1
        fd = self._crew.fileno()
        self.at_once = fd is None  # a call is done when it has been submitted
        if fd is not None and fd >= 0:
            self._fd = os.dup(fd)  # the loop must be done with it before it is closed, and the pool may end before that
            loop.add_reader(self._fd, self._look)

    def join(self) -> None:
        """Something more is awaited. In the loop's thread."""
        self._awaited += 1

    def leave(self) -> None:
        """Something is awaited no more. From any thread: where a coroutine is dropped."""
        if threading.get_ident() == self.thread:
            self._part()
        elif not self.in_loop(self._part):
            self._forget()

    def _part(self) -> None:
        self._awaited -= 1
        # Who was just woken is likely to await the next: to add and remove a descriptor costs as much as a call.
        if not self._awaited and not self.in_loop(self._rest):
            self._forget()

    def _rest(self) -> None:
        if not self._awaited and self._forget() and self._fd >= 0:
            self._let_go()

    def _let_go(self) -> None:
        self.loop.remove_reader(self._fd)
        self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = _close  # the loop is gone

    def _forget(self) -> bool:
        key = self._engine, self.loop
        return _bridges.get(key) is self and _bridges.pop(key, None) is self

    def in_loop(self, action: Callable[[], object]) -> bool:
        """Have something done in the loop's thread, soon. False: the loop is closed, and it is not done."""
        try:
            if threading.get_ident() == self.thread:
                self.loop.call_soon(action)
            else:
                self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            return False
        return True

    def look(self) -> None:
        """Take in what has come, where no descriptor tells that it has."""
        if self.at_once:
            self._look()

    def glance(self, call: Any) -> bool:
        """Whether the call is done in a moment, and it paid to wait for it: two wake-ups cost more than such a call.

        Only where nothing else of the pool is awaited, and less and less often where it did not pay.
        """
        if self._awaited > 1 or self.at_once:
            return False
        if self._blinks:
            self._blinks -= 1
            return False
        self._look(_MOMENT)
        self._vain = 0 if call.ready_ else min(2 * self._vain + 1, _MOST_BLINKS)
        self._blinks = self._vain
        return bool(call.ready_)

    def _look(self, patience: float = 0) -> None:
        self._looking = True
        try:
            self._engine.look(patience)
        finally:
            self._looking = False
            if self._crew.fileno() == -1 and self._fd >= 0:  # the pool has ended
                self._let_go()
            # Else it is readable no more, if that was all.
            self._wake_all()

    def tell(self, woken: Woken) -> None:
        """It has changed: the loop wakes it. From any thread, also under the engine's seat."""
        self._told.append(woken)
        if self._due or (self._looking and threading.get_ident() == self.thread):
            return
        self._due = True
        if not self.in_loop(self._wake_all):
            self._forget()
            while self._told:
                self._told.popleft().lose()

    def cancel(self, call: Any) -> None:
        """End a call that nobody awaits any more; those of one turn of the loop together."""
        self._cancelled.append(call)
        if len(self._cancelled) == 1 and not self.in_loop(self._cancel_all):
            self._cancel_all()

    def _cancel_all(self) -> None:
        calls, self._cancelled = self._cancelled, []
        self._engine.cancel(*calls)

    def _wake_all(self) -> None:
        self._due = False  # before the look: what is told after it is not missed
        for _ in range(len(self._told)):
            if self._told:  # waking may look again, where a call is done at once
                self._told.popleft().wake()


# Those with something awaited.
_bridges: dict[tuple[Engine, asyncio.AbstractEventLoop], Bridge] = {}


def bridge_here(engine: Engine) -> Bridge:
    """The bridge to the loop that runs here; joined, so to be left again."""
    loop = asyncio.get_running_loop()
    bridge = _bridges.get((engine, loop))
    if bridge is None:
        bridge = _bridges[engine, loop] = Bridge(engine, loop)
    bridge.join()
    return bridge
