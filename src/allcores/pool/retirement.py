"""How much one worker process does before a fresh one takes its place: so many tasks, or so much memory."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from allcores import warm

if TYPE_CHECKING:
    from allcores.pool.plan import Plan

__all__ = ("Retirement", "retirement_of")

# Seconds between two looks at the memory. A look costs 2 us: less than a thousandth of that time, and in so little time
# no more comes than the memory bus brings.
_BETWEEN_LOOKS = 0.005


class Retirement:
    """When one worker retires. Asked between tasks, when nothing is in its hands."""

    def __init__(self, most_tasks: int | None, most_bytes: int | None) -> None:
        self._tasks_left = most_tasks or -1
        self._most_bytes = most_bytes
        self._next_look = 0.0
        # Kept open: opening costs ten times what reading does.
        self._statm = -1 if most_bytes is None else os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def is_due(self) -> bool:
        """A task is done: whether it was the last one."""
        self._tasks_left -= 1
        return not self._tasks_left or self.too_large()

    def too_large(self) -> bool:
        """Whether this process has more memory of its own than it may, as it was a few milliseconds ago."""
        if self._most_bytes is None or time.monotonic() < self._next_look:
            return False
        if warm.private_bytes(self._statm) > self._most_bytes:
            return True
        self._next_look = time.monotonic() + _BETWEEN_LOOKS
        return False

    def close(self) -> None:
        """The worker is told to stop: it may serve another pool."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1


def retirement_of(plan: Plan) -> Retirement | None:
    """When a worker of this pool retires; None for never."""
    if plan.maxtasksperchild is None and plan.max_memory is None:
        return None
    return Retirement(plan.maxtasksperchild, plan.max_memory)
