"""Deadlines, Ctrl-C, and what a thread may wait for that is no result of a call."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allcores.pool.engine import Engine

__all__ = ("Idle", "Later", "Posted", "deadline_after", "is_ctrl_c", "left_until", "log")


def deadline_after(timeout: float | None) -> float | None:
    """The moment a timeout ends; None for never, and for one that is as good as never."""
    return None if timeout is None or timeout > 1e9 else time.monotonic() + max(timeout, 0)


def left_until(deadline: float | None) -> float | None:
    """Seconds to go, 0 if it is over; None for ever."""
    return None if deadline is None else max(deadline - time.monotonic(), 0)


def is_ctrl_c(error: BaseException) -> bool:
    """Whether an error in something of the user's that we run is no error of that, but Ctrl-C at this moment."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


def log(what: str) -> None:
    """Log the exception that is being handled, which has no caller to be raised to."""
    import logging

    logging.getLogger("allcores").exception(what)


class Idle:
    """Ready when no task is out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def ready_(self) -> bool:
        return self._engine.idle()


class Later:
    """Ready when all that is to be run outside the seat has been taken up, and what workers printed is shown."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def ready_(self) -> bool:
        return not self._engine._later and self._engine._told == self._engine._shown


class Posted:
    """Ready when the inbox is empty."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def ready_(self) -> bool:
        return not self._engine._inbox
