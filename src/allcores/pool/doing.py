"""Items that take too long, and who watches over them where the work runs in this very process."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.errors import TaskTimeout

__all__ = ("Doing", "Here", "Overdue", "TookTooLong")


class Overdue(NamedTuple):
    """An item that was ended since it took too long. As a Death, for whoever has to say what became of the item."""

    pid: int
    timeout: float
    seconds: float

    def error(self, index: int | None = None, item: str = "", attempts: int = 1) -> TaskTimeout:
        """It as the error of what was running."""
        from allcores.errors import TaskTimeout  # made when it is asked for

        return TaskTimeout(self.timeout, self.seconds, index, item, self.pid, attempts)


class TookTooLong(Exception):
    """In the place of the outcome of an item that has ended all the same; never seen by the user."""

    def __init__(self, timeout: float, seconds: float) -> None:
        self.overdue = Overdue(os.getpid(), timeout, seconds)
        super().__init__()


class Here:
    """A task that runs in this process: what it is told from outside."""

    patience: int | None = None  # nanoseconds after which a chunk that may be cut ends early, where it is not as usual

    def __init__(self) -> None:
        self.told: list[bool] = []  # anything in it: begin no other item

    def watched(self, func: Callable[..., Any], limit: int) -> Callable[..., Any]:
        """The function, with its time looked at when it has ended: nobody else is there who could do it before."""

        def call(*args: Any, **kwds: Any) -> Any:
            began = time.monotonic_ns()
            try:
                result = func(*args, **kwds)
            except Exception as error:
                _check(began, limit, error)
                raise
            _check(began, limit)
            return result

        return call


class Doing(Here):
    """Likewise, beside somebody who watches: which item of it is running, if that has a time limit."""

    def __init__(self) -> None:
        super().__init__()
        self.condemned = False
        self._count = itertools.count()
        # At most one entry: when the item began, and its limit. Whoever takes it out, runner or watcher, has it.
        self._running: dict[int, tuple[int, int]] = {}

    def watched(self, func: Callable[..., Any], limit: int) -> Callable[..., Any]:
        """The function, whose time is to be looked at while it runs."""

        def call(*args: Any, **kwds: Any) -> Any:
            item = next(self._count)
            self._running[item] = time.monotonic_ns(), limit
            try:
                return func(*args, **kwds)
            finally:
                if self._running.pop(item, None) is None:
                    self.condemned = True
                    self.told.append(True)

        return call

    def condemn_if_overdue(self, now: int) -> tuple[int, Overdue] | float | None:
        """The item, and that it is overdue; or the seconds until it would be. None: none is running."""
        for item, (began, limit) in list(self._running.items()):
            if began + limit > now:
                return (began + limit - now) / 1e9
            if self._running.pop(item, None) is not None:  # else it has ended just now
                return item, Overdue(os.getpid(), limit / 1e9, (now - began) / 1e9)
        return None


def _check(began: int, limit: int, error: Exception | None = None) -> None:
    spent = time.monotonic_ns() - began
    if spent > limit:
        raise TookTooLong(limit / 1e9, spent / 1e9) from error
