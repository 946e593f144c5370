"""Every error of allcores, sorted by whose fault it is.

Their parents are the classes that existing code already catches, so that moving here changes no ``except``. Each
builds its message once, in ``__init__``, and pickles with its fields.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import builtins
    import multiprocessing
    from collections.abc import Iterable

    class TimeoutError(multiprocessing.TimeoutError, builtins.TimeoutError):
        """A result was not there in time. Nothing is cancelled: the work goes on."""

    class TaskTimeout(TimeoutError):
        """See ``failure.py``."""

        timeout: float
        index: int | None
        item: str
        pid: int | None
        seconds: float
        attempts: int

        def __init__(
            self,
            timeout: float,
            seconds: float,
            index: int | None = None,
            item: str = "",
            pid: int | None = None,
            attempts: int = 1,
        ) -> None: ...

    class BufferTooShort(multiprocessing.BufferTooShort):
        """What was received does not fit into the buffer; the bytes are ``args[0]``."""


__all__ = (
    "BlockedThread",
    "BufferTooShort",
    "CheckpointError",
    "CheckpointMismatch",
    "ClusterDied",
    "ConsumerDied",
    "DeadlockError",
    "ExecutorBroken",
    "ExecutorWorkerDied",
    "InitializerFailed",
    "LostItems",
    "NotSupported",
    "OwnerDied",
    "PoolTerminated",
    "RemoteTraceback",
    "TaskTimeout",
    "TimeoutError",
    "UnpicklableError",
    "UsageError",
    "WorkerDied",
    "WouldBlockForever",
)


# Parents that cost the import of multiprocessing, which nothing else here needs: module and name of each, and what the
# class is for.
_LAZY = {
    "TimeoutError": (
        ("multiprocessing TimeoutError", "builtins TimeoutError"),
        "A result was not there in time. Nothing is cancelled: the work goes on.",
    ),
    "TaskTimeout": (("allcores.failure _TaskTimeout", "allcores.errors TimeoutError"), ""),
    "BufferTooShort": (
        ("multiprocessing BufferTooShort",),
        "What was received does not fit into the buffer; the bytes are ``args[0]``.",
    ),
    "ExecutorWorkerDied": (
        ("allcores.errors WorkerDied", "concurrent.futures.process BrokenProcessPool"),
        "``WorkerDied`` as a future raises it. The executor goes on with a fresh worker.",
    ),
    "ExecutorBroken": (
        ("allcores.errors InitializerFailed", "concurrent.futures.process BrokenProcessPool"),
        "``InitializerFailed`` as an executor and its futures raise it.",
    ),
}


def __getattr__(name: str) -> type[Exception]:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    named, doc = _LAZY[name]
    parents = tuple(getattr(importlib.import_module(m), n) for m, n in (each.split() for each in named))
    doc = doc or parents[0].__doc__
    # Of two threads that ask first, one makes the class.
    found: type[Exception] = globals().setdefault(name, type(name, parents, {"__doc__": doc, "__module__": __name__}))
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
    if exitcode is None or exitcode >= 0:
        return "for an unknown reason" if exitcode is None else f"exit code {exitcode}"
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
        attempts: how often it was tried: more than 1 with ``retries``.
        seconds: how long the item had run, about; None where that is not known: for a process of its own, and in the
            middle of a chunk without ``timeout``.
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
        seconds: float | None = None,
    ) -> None:
        self.pid, self.exitcode = pid, exitcode
        self.index, self.item = index, item
        self.peak_memory, self.oom, self.stderr = peak_memory, oom, stderr
        self.attempts, self.seconds = attempts, seconds
        super().__init__(self._describe())

    def _describe(self) -> str:
        at = "" if self.index is None else f" item {self.index}"
        item = f" ({self.item})" if at and self.item else f" {self.item}" if self.item else ""
        what = f" while it was running{at}{item}" if at or item else " before it returned"
        text = f"process {self.pid} died{what}: {describe_exit(self.exitcode)}"
        text += " (probably the out-of-memory killer)" if self.oom else ""
        text += f"; it was attempt {self.attempts}" if self.attempts > 1 else ""
        text += "" if self.seconds is None else f"; it had run for {self.seconds:.3g} s"
        if self.peak_memory is not None:
            text += f"; peak memory {describe_bytes(self.peak_memory)}"
        if self.stderr:
            text += "; its last lines on stderr:\n  " + self.stderr.replace("\n", "\n  ")
        return text

    def __reduce__(self) -> tuple[type[WorkerDied], tuple[object, ...]]:
        fields = (self.pid, self.exitcode, self.index, self.item)
        return type(self), (*fields, self.peak_memory, self.oom, self.stderr, self.attempts, self.seconds)


class OwnerDied(RuntimeError):
    """The process that held this lock died holding it: what it guards may be half changed.

    Every ``acquire`` says so until ``lock.recover()`` is called, by whoever has made sure of the data.

    Attributes:
        pid: process id of the dead holder.
        name: its name, as ``Process.name``.
        held_since: when it acquired the lock, in seconds as of ``time.time()``; None if that is not known.
        lock: the lock's name, as its ``repr`` has it; empty if not known.
    """

    def __init__(self, pid: int, name: str = "", held_since: float | None = None, lock: str = "") -> None:
        self.pid = pid
        self.name = name
        self.held_since = held_since
        self.lock = lock
        since = "" if held_since is None else f", since {time.strftime('%H:%M:%S', time.localtime(held_since))}"
        super().__init__(
            f"process {pid}{f' ({name})' if name else ''} died while it held {lock or 'this lock'}{since}; what the "
            "lock guards may be half changed: make sure of it, then call lock.recover()"
        )

    @classmethod
    def _of(cls, pid: int, name: str, held_for: float | None, lock: str) -> OwnerDied:
        return cls(pid, name, None if held_for is None else time.time() - held_for, lock)

    def __reduce__(self) -> tuple[type[OwnerDied], tuple[int, str, float | None, str]]:
        return type(self), (self.pid, self.name, self.held_since, self.lock)


class LostItems(NamedTuple):
    """What one process had in its hands when it ended."""

    pid: int
    process: str  # its name
    items: int  # taken from the queue and not marked done


class ConsumerDied(RuntimeError):
    """``join()`` would wait for ever: a process ended with items that it had taken and not marked done.

    They are no longer in the queue, and may be done or half done. ``queue.recover()`` counts them as done.

    Attributes:
        pid: process id of the dead consumer, the first if there are several.
        name: its name.
        items: how many items it had taken and not marked done.
        consumers: all of them, a ``LostItems`` each.
    """

    def __init__(self, consumers: Iterable[tuple[int, str, int]]) -> None:
        self.consumers = [LostItems(*each) for each in consumers]
        self.pid, self.name, self.items = self.consumers[0]
        who = ", and ".join(
            f"process {c.pid}{f' ({c.process})' if c.process else ''} died with {c.items} item{'s' * (c.items != 1)}"
            for c in self.consumers
        )
        super().__init__(
            f"{who} that it had taken and not marked done, so this join would wait for ever: put again what has still "
            "to be done, then call queue.recover(), which counts theirs as done"
        )

    def __reduce__(self) -> tuple[type[ConsumerDied], tuple[list[tuple[int, str, int]]]]:
        return type(self), ([each[:] for each in self.consumers],)


class BlockedThread(NamedTuple):
    """One member of a deadlock: a thread that waits for a lock which the next member holds."""

    pid: int
    process: str  # its name
    thread: int  # the kernel's number of the thread; of a main thread it is the pid
    waits_for: str  # name of the lock
    waits_at: str  # file and line; empty without ALLCORES_TRACE_LOCKS=1
    held_at: str  # likewise: where the next member acquired that lock


class DeadlockError(RuntimeError):
    """This ``acquire`` would wait for ever: its lock is held by a thread that waits, in a circle, for one held here.

    Raised in exactly one thread of the circle, and only by an acquire without a timeout. What that thread holds it
    still holds: leaving its ``with`` blocks lets the others go on. Also raised where a plain Lock is acquired a second
    time and nobody else is there who could release it. A lock that was ever released by another than its owner is
    taken for a signal, and never for part of a circle.

    With the environment variable ``ALLCORES_TRACE_LOCKS=1`` the message has files and lines; that makes each acquire
    some microseconds slower.

    Attributes:
        members: the threads of the circle, this one first; each waits for a lock that the next one holds.
    """

    def __init__(self, members: Iterable[tuple[int, str, int, str, str, str]]) -> None:
        self.members = [BlockedThread(*member) for member in members]
        n = len(self.members)
        lines = []
        for i, m in enumerate(self.members):
            holder = self.members[(i + 1) % n]
            at, held = (f" ({place})" if place else "" for place in (m.waits_at, m.held_at))
            by = "itself" if holder == m else f"thread {holder.thread} of process {holder.pid}"
            who = f"thread {m.thread} of process {m.pid}{f' ({m.process})' if m.process else ''}"
            lines.append(f"\n  {who} waits{at} for {m.waits_for}, held by {by}{held}")
        cure = "acquire locks in the same order everywhere" if n > 1 else "use an RLock, or release it first"
        hint = "" if any(m.waits_at for m in self.members) else "; ALLCORES_TRACE_LOCKS=1 adds files and lines"
        super().__init__(f"this acquire would wait for ever: {cure}{hint}{''.join(lines)}")

    def __reduce__(self) -> tuple[type[DeadlockError], tuple[list[tuple[int, str, int, str, str, str]]]]:
        return type(self), ([m[:6] for m in self.members],)


class InitializerFailed(RuntimeError):
    """The pool's initializer raised, or its workers keep dying in it: the pool cannot work. The error is the cause."""


class CheckpointError(RuntimeError):
    """The file of a call with ``checkpoint=`` cannot be used: in use, damaged, no checkpoint, or not to be written.

    Attributes:
        path: the file.
        why: what is wrong with it.
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(self._describe())

    def _describe(self) -> str:
        return f"the checkpoint {self.path!r} {self.why}"

    def __reduce__(self) -> tuple[type[CheckpointError], tuple[str, str]]:
        return type(self), (self.path, self.why)


class CheckpointMismatch(CheckpointError):
    """The file of a call with ``checkpoint=`` has the results of another call: function or items have changed."""

    def _describe(self) -> str:
        return (
            f"the checkpoint {self.path!r} has the results of another call: {self.why}; go back to what it was, give "
            "another name, or remove the file to begin anew"
        )


class ClusterDied(ConnectionError):
    """The cluster cannot be reached any more. What was out is lost, and so are its locks, queues and values."""


class PoolTerminated(RuntimeError):
    """The pool was terminated before this result was there."""


def as_broken(error: BaseException) -> BaseException:
    """The error as ``concurrent.futures`` knows it: caught by ``except BrokenProcessPool`` where it means that."""
    made: BaseException
    if type(error) is WorkerDied:
        from allcores.errors import ExecutorWorkerDied

        fields: Any = error.__reduce__()[1]
        made = ExecutorWorkerDied(*fields)
    elif type(error) is InitializerFailed:
        from allcores.errors import ExecutorBroken

        made = ExecutorBroken(*error.args)
    else:
        return error
    made.__dict__.update(error.__dict__)  # its notes too
    made.__cause__ = error.__cause__
    return made


class RemoteTraceback(Exception):
    """The traceback of an error where it happened, as text; the ``__cause__`` of the error here."""

    def __init__(self, text: str) -> None:
        self.text = self.tb = text  # the latter is the standard's name
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


if TYPE_CHECKING:
    from concurrent.futures import process

    class ExecutorWorkerDied(WorkerDied, process.BrokenProcessPool):
        """``WorkerDied`` as a future raises it. The executor goes on with a fresh worker."""

    class ExecutorBroken(InitializerFailed, process.BrokenProcessPool):
        """``InitializerFailed`` as an executor and its futures raise it."""
