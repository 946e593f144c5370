"""Faults that a review found, each by what went wrong."""

import os
import subprocess
import sys
from typing import Any

import pytest

import allcores
from allcores import _native, sync

from . import jobs
from .kit import PATIENCE, Context


def test_a_lock_that_travelled_with_a_function_may_yet_be_released(mp: Context) -> None:
    if mp.name == "serial":
        pytest.skip("nobody else is there")
    for _ in range(5):
        lock = mp.Lock()
        lock.acquire()
        with mp.Pool(1) as pool:
            pool.apply_async(lock.release)
            assert lock.acquire() is True


@pytest.mark.parametrize("kind", [_native.Lock, _native.Semaphore, _native.Event, _native.Channel])
def test_an_offset_of_nothing(kind: Any) -> None:
    for offset in (64, 1 << 20, 12345):
        with pytest.raises(ValueError, match="handle names nothing"):
            kind(offset=offset)


def test_a_subclass_that_leaves_out_init() -> None:
    class Odd(sync.Lock):
        def __init__(self) -> None:
            pass

    for use in (lambda: Odd().acquire(), lambda: Odd().release()):
        with pytest.raises(TypeError):
            use()


def test_a_timeout_that_is_no_number_keeps_no_memory() -> None:
    queue = allcores.Queue()
    before = _native.usage()[0]
    for _ in range(5):
        with pytest.raises(TypeError):
            queue.put(bytearray(100_000), True, "soon")
    assert _native.usage()[0] == before


def test_what_only_a_dropped_queue_had_ends_with_it() -> None:
    before = _native.usage()[0]
    for _ in range(20):
        queue, inner = allcores.Queue(), allcores.Queue()
        inner.put(allcores.Lock())
        queue.put(inner)
        del queue, inner
    assert _native.usage()[0] == before


FORKS = """
import gc, os
os.register_at_fork(before=gc.collect)
import allcores
queue = allcores.Queue()
cycle = [queue]
cycle.append(cycle)
del queue, cycle
pid = os.fork()
if pid == 0:
    allcores.Queue().put(1)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_handle_that_goes_in_somebody_elses_fork_hook() -> None:
    run = [sys.executable, "-W", "ignore", "-c", FORKS]
    assert subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE).stdout == "0\n"


class LeavesWhenLoaded:
    def __reduce__(self) -> Any:
        return os._exit, (0,)

    def __call__(self) -> None:
        """Never comes to it."""


@pytest.mark.needs("kills")
@pytest.mark.lacks("inherits")
def test_a_worker_that_leaves_well_before_it_is_ready(mp: Context) -> None:
    with pytest.raises(allcores.InitializerFailed), mp.Pool(1, LeavesWhenLoaded()) as pool:
        pool.map(jobs.square, [1])
