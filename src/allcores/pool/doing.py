"""Items that take too long, and who watches over them where the work runs in this very process."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.errors import TaskTimeout

__all__ = ("Here", "Overdue", "TookTooLong")


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


def _check(began: int, limit: int, error: Exception | None = None) -> None:
    spent = time.monotonic_ns() - began
    if spent > limit:
        raise TookTooLong(limit / 1e9, spent / 1e9) from error
