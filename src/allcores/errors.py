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
        return f"exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"killed by {name}"


def describe_bytes(count: int) -> str:
    """``1.2 GiB``."""
    unit, size = min(count.bit_length() // 10, 4), float(count)
    return f"{size / 1024**unit:.1f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


class WorkerDied(RuntimeError):
    """The process that was running this call died before it could answer.

    Attributes:
        pid: process id of the dead worker.
        exitcode: its exit code, ``-N`` for signal N, None if unknown.
        index: index of the item in the input of ``map`` and its kin; None for a single call.
        item: short repr of the item, empty for a process of its own.
        peak_memory: the most memory it had at any time, in bytes, with the shared memory that it had touched; None if
            unknown.
        oom: whether it was probably the out-of-memory killer: its cgroup's count of victims rose.
        stderr: the last lines that it wrote to ``sys.stderr``, and of a crash (SIGSEGV and its kin) the Python
            traceback. Not what C code wrote to descriptor 2 by itself.
        attempts: how many workers have died in this call: more than 1 with ``retries``.
    """

    def __init__(
        self,
        pid: int,
        exitcode: int | None = None,
        index: int | None = None,
        item: str = "",
        peak_memory: int | None = None,
        oom: bool = False,
        stderr: str = "",
        attempts: int = 1,
    ) -> None:
        self.pid = pid
        self.exitcode = exitcode
        self.index = index
        self.item = item
        self.peak_memory = peak_memory
        self.oom = oom
        self.stderr = stderr
        self.attempts = attempts
        super().__init__(self._describe())

    def _describe(self) -> str:
        at = "" if self.index is None else f" item {self.index}"
        item = f" {self.item}" if self.item else ""
        what = f" while it was running{at}{item}" if at or item else " before it returned"
        text = f"process {self.pid} died{what}: {describe_exit(self.exitcode)}"
        if self.oom:
            text += " (probably the out-of-memory killer)"
        if self.attempts > 1:
            text += f"; it was attempt {self.attempts}"
        if self.peak_memory is not None:
            text += f"; peak memory {describe_bytes(self.peak_memory)}"
        if self.stderr:
            text += "; its last lines on stderr:\n  " + self.stderr.replace("\n", "\n  ")
        return text

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[object, ...]]:
        fields = (self.pid, self.exitcode, self.index, self.item)
        return type(self), (*fields, self.peak_memory, self.oom, self.stderr, self.attempts)


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
