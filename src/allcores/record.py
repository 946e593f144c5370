"""What a program uses of the vocabulary, how often, and how long that takes: for ``allcores run --report``.

    method of a context, start of a process, put, get, end of a pool ──▶ counted, timed ──▶ one array in shared memory
                                                                                  at the end of the program  │
                                                                                  the report, on stderr  ◀───┘

Methods are replaced by others that count, in this process and in all that it starts. One addition to shared memory is
one instruction: what a process counted before it was killed, is counted. Without ``--report`` nothing of this is there.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from allcores import chosen, connection, installed, localqueues, process, queues
from allcores.onimport import WhenImported
from allcores.pool.pool import Pool
from allcores.pool.watched import Watched
from allcores.shared import RawArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("begin", "join", "report")

_NAMES = (
    *("Array", "Barrier", "BoundedSemaphore", "Condition", "Event", "Executor", "JoinableQueue", "Lock", "Manager"),
    *("Pipe", "Pool", "Process", "Queue", "RLock", "RawArray", "RawValue", "Semaphore", "SimpleQueue", "Thread"),
    *("Value", "share", "wait"),
)
# What is counted beside the calls of those. Times in nanoseconds.
_NUMBERS = (
    *("processes", "starting", "workers", "waking", "pools", "tasks", "items", "busy", "sent", "received"),
    *("puts", "putting", "gets", "getting", "deaths"),
)
_PLACE = {name: place for place, name in enumerate((*_NAMES, *_NUMBERS))}

# Whose methods are those of the names, of modules that not every program imports.
_CONTEXTS = {
    "allcores.contexts.process": "ProcessContext",
    "allcores.contexts.thread": "ThreadContext",
    "allcores.contexts.serial": "SerialContext",
}
_EXECUTOR = "allcores.pool.executor"

_counts: Any = None
_inside = threading.local()


def begin() -> None:
    """Count from now on, here and in what this process starts; and report when it ends."""
    began = time.monotonic()
    join(RawArray("q", len(_PLACE)))
    program = os.getpid()

    def at_exit() -> None:
        if os.getpid() == program:  # a fork of it ends by itself
            sys.stderr.write(report(time.monotonic() - began))

    atexit.register(at_exit)


def join(counts: Any) -> None:
    """Count into this array from now on."""
    global _counts
    if _counts is not None:  # a worker that is kept for a pool: the program is the same
        return
    _counts = installed.counts = counts
    process.Process.start = _started(process.Process.start)  # type: ignore[method-assign]
    Pool.__init__ = _counted("Pool", Pool.__init__)  # type: ignore[method-assign]
    Watched._remember = _remembered(Watched._remember)  # type: ignore[method-assign]
    for kind in (queues.Queue, localqueues.LocalQueue):
        _time(kind, "put", "puts", "putting")
        _time(kind, "get", "gets", "getting")
    _count_connections()
    later = {*_CONTEXTS, _EXECUTOR}
    WhenImported(later.__contains__, _count_methods).watch()
    for module in later & sys.modules.keys():
        _count_methods(module)


def _add(name: str, number: int = 1) -> None:
    _counts.add(_PLACE[name], number)


def _count_methods(module: str) -> None:
    where: Any = sys.modules[module]
    if module == _EXECUTOR:
        where.Executor.__init__ = _counted("Executor", where.Executor.__init__)
        return
    context = getattr(where, _CONTEXTS[module])
    for name, method in {name: getattr(context, name) for name in _NAMES if name != "Pool"}.items():
        if callable(method) and not isinstance(method, type):
            setattr(context, name, _counted(name, method))
    for kind in (vars(where).get("Process"), where.Thread):
        if kind is not None and kind.__module__ == module and "start" in vars(kind):
            kind.start = _counted_by_class(kind.start)


def _counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_inside, "call", False):  # what one of ours makes for itself, nobody has asked for
            return method(self, *args, **kwargs)
        _add(name)
        _inside.call = True
        try:
            return method(self, *args, **kwargs)
        finally:
            _inside.call = False

    return count


def _counted_by_class(start: Callable[..., None]) -> Callable[..., None]:
    @wraps(start)
    def count(self: Any) -> None:
        start(self)
        _add(next(kind.__name__ for kind in type(self).__mro__ if kind.__name__ in ("Process", "Thread")))

    return count


def _started(start: Callable[..., None]) -> Callable[..., None]:
    @wraps(start)
    def timed(self: process.Process) -> None:
        began = time.monotonic_ns()
        start(self)
        of_pool = bool(self._crew)
        _add("workers" if of_pool else "processes")
        _add("waking" if of_pool else "starting", time.monotonic_ns() - began)
        if not of_pool:
            _add("Process")

    return timed


def _remembered(remember: Callable[..., None]) -> Callable[..., None]:
    @wraps(remember)
    def add_up(self: Pool) -> None:
        first = self._last is None
        busy = sum(record.busy for record in self._engine.crew.records()) if first else 0.0
        remember(self)
        if first and self._last is not None:
            now = self._last
            _add("pools")
            _add("busy", int(busy * 1e9))
            for name, number in (("tasks", now.tasks), ("items", now.items), ("deaths", now.deaths)):
                _add(name, number)
            _add("sent", now.bytes_sent)
            _add("received", now.bytes_received)

    return add_up


def _time(kind: Any, method: str, number: str, duration: str) -> None:
    setattr(kind, method, _timed(getattr(kind, method), number, duration))


def _timed(function: Callable[..., Any], number: str, duration: str) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic_ns()
        result = function(*args, **kwargs)  # one that raises has moved nothing
        _add(duration, time.monotonic_ns() - began)
        _add(number)
        return result

    return timed


def _count_connections() -> None:
    begin = connection.Connection.__init__

    @wraps(begin)
    def count(self: connection.Connection, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        for name, number, duration in (("send", "puts", "putting"), ("recv", "gets", "getting")):
            if name in vars(self):  # that of its native end
                vars(self)[name] = _timed(vars(self)[name], number, duration)

    connection.Connection.__init__ = count  # type: ignore[method-assign]


def report(seconds: float) -> str:
    """What was counted so far, as text of a few lines.

    Args:
        seconds: how long the program has taken.
    """
    count = dict(zip(_PLACE, _counts[:], strict=True))
    used = ", ".join(f"{name} {count[name]:,}" for name in _NAMES if count[name])
    lines = [f"allcores run: {seconds:.2f} s in the {chosen.name()} context"]
    lines.append(f"  asked for   {used or 'nothing of multiprocessing'}")
    if count["processes"] or count["workers"]:
        started = f"{count['processes']:,} started{_each(count, 'starting', 'processes')}"
        woken = f"{count['workers']:,} workers of pools{_each(count, 'waking', 'workers')}"
        lines.append(f"  processes   {started}; {woken}{_deaths(count)}")
    if count["pools"]:
        lines.append(
            f"  tasks       {count['items']:,} calls in {count['tasks']:,} tasks of {count['pools']:,} pools"
            f"{_each(count, 'busy', 'tasks')}; {_bytes(count['sent'])} sent, {_bytes(count['received'])} received"
        )
    if count["puts"] or count["gets"]:
        put = f"{count['puts']:,} put{_each(count, 'putting', 'puts')}"
        got = f"{count['gets']:,} got{_each(count, 'getting', 'gets')}"
        lines.append(f"  messages    {put}; {got}, with the wait for them")
    return "\n".join(lines) + "\n"


def _deaths(count: dict[str, int]) -> str:
    return f"; {count['deaths']:,} workers died" if count["deaths"] else ""


def _each(count: dict[str, int], duration: str, number: str) -> str:
    """The mean, in the unit that it takes. The clock of tasks sees none of a few milliseconds: then nothing."""
    if not count[duration] or not count[number]:
        return ""
    seconds = count[duration] / count[number] / 1e9
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f", {seconds / size:.1f} {unit} each"
    return f", {seconds * 1e6:.1f} us each"


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
