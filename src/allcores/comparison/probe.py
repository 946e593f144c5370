"""What runs in the workers: the caller's function with a clock on each side of it.

    parent                                   worker
    groups of items ── pool.imap_unordered ──▶ Probe: clock, fn(item) for each item of the group, clock
          ▲                                      │
          └── results in order, accounts ◀────── Record: results, times, CPU seconds, peak memory

The items travel in groups, so that the clocks (about 3 µs a group) do not swamp items of a microsecond.
This module imports nothing but the standard library: every worker loads it.
"""

from __future__ import annotations

import os
import pickle
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

__all__ = ("Failure", "Group", "Probe", "Record", "mark_ready")

_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB here

_worker = threading.local()


class Group(NamedTuple):
    """Neighbouring items that travel together."""

    first: int
    items: Sequence[Any]


class Failure(NamedTuple):
    """The item at which the caller's function raised, and what it raised."""

    item: int
    text: str
    error: BaseException


class Record(NamedTuple):
    """What one worker says about one group. Times are CLOCK_MONOTONIC: one clock for all processes here."""

    first: int
    results: list[Any]
    failure: Failure | None
    ready_ns: int  # when this worker was able to work; 0: it did not say
    start_ns: int
    end_ns: int
    cpu_ns: int  # CPU time of this thread between start and end
    process: int
    thread: int
    process_cpu: float  # user and system seconds of the whole process since it began
    peak: int  # bytes: the largest resident size the process has had


def mark_ready() -> None:
    """Note when this worker became able to work; the pool's initializer."""
    _worker.ready_ns = time.monotonic_ns()


class Probe:
    """The caller's function, to be called with a ``Group``; what it raises comes back in the ``Record``.

    Args:
        fn: called as ``fn(item, *args)``, once for each item.
        args: the further arguments.
    """

    __slots__ = ("_args", "_fn", "_home")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._args = args
        self._home = os.getpid()

    def __call__(self, group: Group) -> Record:
        results: list[Any] = []
        failure: Failure | None = None
        cpu = time.thread_time_ns()
        start = time.monotonic_ns()
        try:
            # extend keeps what came before an exception, so the length names the item that raised.
            results.extend(map(self._fn, group.items, *map(repeat, self._args)))
            if len(results) < len(group.items):  # map takes a StopIteration out of fn for its own end
                raise RuntimeError("the function raised StopIteration")
        except Exception as error:  # noqa: BLE001 - it is raised in the parent, with the item's index
            failure = self._failure(group.first + len(results), error)
        end = time.monotonic_ns()
        cpu = time.thread_time_ns() - cpu
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Record(
            first=group.first,
            results=results,
            failure=failure,
            ready_ns=getattr(_worker, "ready_ns", 0),
            start_ns=start,
            end_ns=end,
            cpu_ns=cpu,
            process=os.getpid(),
            thread=threading.get_ident(),
            process_cpu=usage.ru_utime + usage.ru_stime,
            peak=usage.ru_maxrss * _PEAK_UNIT,
        )

    def _failure(self, index: int, error: Exception) -> Failure:
        text = f"{type(error).__name__}: {error}"
        if os.getpid() == self._home:
            return Failure(index, text, error)
        error.add_note("".join(traceback.format_exception(error)).rstrip())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever an exception's own __reduce__ may raise
            return Failure(index, text, RuntimeError(text))
        return Failure(index, text, error)
