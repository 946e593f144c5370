"""Every error of allcores, sorted by whose fault it is.

Their parents are the classes that existing code already catches, so that moving here changes no ``except``. Each
builds its message once, in ``__init__``, and pickles with its fields.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import builtins
    import multiprocessing

    class TimeoutError(multiprocessing.TimeoutError, builtins.TimeoutError):
        """A result was not there in time. Nothing is cancelled: the work goes on."""


__all__ = (
    "InitializerFailed",
    "NotSupported",
    "OwnerDied",
    "PoolTerminated",
    "RemoteTraceback",
    "TimeoutError",
    "UnpicklableError",
    "UsageError",
    "WorkerDied",
    "WouldBlockForever",
)


def __getattr__(name: str) -> type[Exception]:
    # The parent class costs the import of multiprocessing, which nothing else here needs.
    if name != "TimeoutError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import builtins
    import multiprocessing

    doc = "A result was not there in time. Nothing is cancelled: the work goes on."
    made = type(
        "TimeoutError", (multiprocessing.TimeoutError, builtins.TimeoutError), {"__doc__": doc, "__module__": __name__}
    )
    # Of two threads that ask first, one makes the class.
    found: type[Exception] = globals().setdefault("TimeoutError", made)
    return found


# The caller's: something was asked that cannot be.


class UsageError(ValueError):
    """What was asked for makes no sense as it stands; the message is one line and names the cure."""


class NotSupported(NotImplementedError):
    """This context cannot do it; the message says which can."""


class WouldBlockForever(RuntimeError):
    """In the serial context: only another process could end this wait, and there is none."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} would wait for ever: in the serial context nobody else runs who could end the wait; "
            "do the other half first, or use the thread or process context"
        )

    def __reduce__(self) -> tuple[type[WouldBlockForever], tuple[str]]:
        return type(self), (self.what,)


class UnpicklableError(TypeError):
    """An object cannot travel to another process, or what arrived cannot be put together again."""


# Somebody died.


def describe_exit(exitcode: int | None) -> str:
    """Say in words how a process ended: ``killed by SIGKILL``, ``exit code 3``."""
    if exitcode is None:
        return "for an unknown reason"
    if exitcode >= 0:
        return f"with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = " (often the out-of-memory killer)" if -exitcode == signal.SIGKILL else ""
    return f"killed by {name}{hint}"


class WorkerDied(RuntimeError):
    """The process that was running this call died before it could answer.

    Attributes:
        pid: process id of the dead worker.
        exitcode: its exit code, ``-N`` for signal N, None if unknown.
        index: index of the item in the input of ``map`` and its kin; None for a single call.
        item: short repr of the item, empty for a process of its own.
    """

    def __init__(self, pid: int, exitcode: int | None = None, index: int | None = None, item: str = "") -> None:
        self.pid = pid
        self.exitcode = exitcode
        self.index = index
        self.item = item
        at = "" if index is None else f" item {index}"
        what = f" while it was running{at}{' ' if item else ''}{item}" if at or item else " before it returned"
        super().__init__(f"process {pid} died{what}: {describe_exit(exitcode)}")

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[int, int | None, int | None, str]]:
        return type(self), (self.pid, self.exitcode, self.index, self.item)


class OwnerDied(RuntimeError):
    """The process that held this lock died holding it: what it guards may be half changed.

    Every ``acquire`` says so until ``lock.recover()`` is called, by whoever has made sure of the data.

    Attributes:
        pid: process id of the dead holder.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        super().__init__(
            f"process {pid} died while it held this lock; what the lock guards may be half changed: "
            "make sure of it, then call lock.recover()"
        )

    def __reduce__(self) -> tuple[type[OwnerDied], tuple[int]]:
        return type(self), (self.pid,)


class InitializerFailed(RuntimeError):
    """The pool's initializer raised, or its workers keep dying in it: the pool cannot work. The error is the cause."""


class PoolTerminated(RuntimeError):
    """The pool was terminated before this result was there."""


class RemoteTraceback(Exception):
    """The traceback of an error where it happened, as text; the ``__cause__`` of the error here."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'
