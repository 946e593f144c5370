"""What runs in the workers: the caller's function with a clock on each side of it.

    parent                                   worker
    groups of items ── pool.imap_unordered ──▶ Probe: clock, fn(item) for each item of the group, clock
          ▲                                      │
          └── results in order, accounts ◀────── record: results, times, CPU seconds, peak memory

The items travel in groups, so that the clocks (about 3 µs a group) do not swamp items of a microsecond.
Every worker loads this module, and what it takes counts as start-up: so plain tuples travel, which the parent
makes a ``account.Record``, and nothing is imported that a worker does not have anyway.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from itertools import repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ("Probe", "mark_ready")

_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB here

# Reading it takes about 8 µs: at this interval that is 0.1 %, and no wait longer than it is missed.
_READ_EVERY_NS = 10_000_000

_worker = threading.local()


def mark_ready() -> None:
    """Note when this worker became able to work; the pool's initializer."""
    _worker.starved_before = _starved_so_far()
    _worker.starved_ns = 0
    _worker.ready_ns = _worker.read_ns = time.monotonic_ns()


class Probe:
    """The caller's function, to be called with a group of items; what it raises comes back in the record.

    Args:
        fn: called as ``fn(item, *args)``, once for each item.
        args: the further arguments.
    """

    __slots__ = ("_args", "_fn", "_home")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._args = args
        self._home = os.getpid()

    def __call__(self, group: tuple[int, Sequence[Any]]) -> tuple[Any, ...]:
        """Do one group: the index of its first item, and the items. Returns the fields of a ``Record``."""
        first, items = group
        results: list[Any] = []
        failure: tuple[int, str, BaseException] | None = None
        cpu = time.thread_time_ns()
        start = time.monotonic_ns()
        try:
            # extend keeps what came before an exception, so the length names the item that raised.
            results.extend(map(self._fn, items, *map(repeat, self._args)))
            if len(results) < len(items):  # map takes a StopIteration out of fn for its own end
                raise RuntimeError("the function raised StopIteration")
        except Exception as error:  # noqa: BLE001 - it is raised in the parent, with the item's index
            failure = self._failure(first + len(results), error)
        end = time.monotonic_ns()
        cpu = time.thread_time_ns() - cpu
        usage = resource.getrusage(resource.RUSAGE_SELF)
        process_cpu = usage.ru_utime + usage.ru_stime
        times = (getattr(_worker, "ready_ns", 0), start, end, cpu, _starved(end))
        worker = (os.getpid(), threading.get_ident(), process_cpu, usage.ru_maxrss * _PEAK_UNIT)
        return (first, results, failure, *times, *worker)

    def _failure(self, index: int, error: Exception) -> tuple[int, str, BaseException]:
        text = f"{type(error).__name__}: {error}"
        if os.getpid() == self._home:
            return index, text, error
        import pickle
        import traceback

        error.add_note("".join(traceback.format_exception(error)).rstrip())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - whatever an exception's own __reduce__ may raise
            return index, text, RuntimeError(text)
        return index, text, error


def _starved(now: int) -> int:
    """Nanoseconds for which this thread was ready to run and had no CPU, from mark_ready to lately."""
    if now - getattr(_worker, "read_ns", now) >= _READ_EVERY_NS:
        _worker.read_ns = now
        _worker.starved_ns = _starved_so_far() - _worker.starved_before
    return getattr(_worker, "starved_ns", 0)


def _starved_so_far() -> int:
    try:
        file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:  # another system, or a kernel without it: then it counts as waiting inside the function
        return 0
    try:
        return int(os.read(file, 64).split()[1])
    finally:
        os.close(file)
