"""When somebody has to look whether an item takes too long: once a timeout at most, and never while none is out."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.pool.engine import Engine

__all__ = ("Expected",)


class Expected:
    """The tasks of a pool that have a timeout, and the next moment at which an item of them could be over its time.

    Args:
        wake: makes who looks look now, and ask anew when to look next.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._timeouts: dict[int, float] = {}
        self._next = math.inf
        self._lock = threading.RLock()  # a signal handler may come to add() in the middle of it

    def add(self, task: int, timeout: float) -> None:
        """This task is about to be sent."""
        soonest = time.monotonic() + timeout
        with self._lock:
            self._timeouts[task] = timeout
            if soonest < self._next:
                self._wake()  # first: Ctrl-C may come after it
                self._next = soonest

    def seconds(self, engine: Engine, running: float | None) -> float | None:
        """How long who looks may sleep; None as long as no task is sent.

        Args:
            engine: knows which tasks are still out.
            running: seconds until the first of the items that run now is over its time.
        """
        with self._lock:
            self._timeouts = {task: timeout for task, timeout in self._timeouts.items() if engine.is_out(task)}
            if not self._timeouts:
                self._next = math.inf
                return None
            # An item that begins at any moment from now on.
            seconds = min(self._timeouts.values())
            if running is not None:
                seconds = min(seconds, max(running, 0))
            self._next = time.monotonic() + seconds
            return min(seconds, threading.TIMEOUT_MAX)
