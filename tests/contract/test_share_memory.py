"""share, in bytes: workers that read a shared object do not multiply it."""

from collections.abc import Callable, Mapping
from typing import Any

import psutil
import pytest

from .kit import PATIENCE, Context, Handle

Start = Callable[..., Handle]

# Of each item: the size that counts for the ratio.
TEXT = "x" * 300


def scan(warm: Any, shared: Any, ready: Any, go: Any, done: Any, over: Any, patience: float) -> None:
    """Read everything, when told to; and stay, to be measured."""
    read(warm)
    ready.release()
    go.wait(patience)
    read(shared)
    done.release()
    over.wait(patience)


def read(shared: Any) -> None:
    if isinstance(shared, Mapping):
        assert all(i % 10 or shared[key] == (i, text) for key, (i, text) in shared.items())
    else:
        assert all(text[-1] == "x" for _, text in shared)


def pss(processes: list[psutil.Process]) -> int:
    return sum(process.memory_full_info().pss for process in processes)


def list_of(n: int) -> Any:
    return [(i, TEXT) for i in range(n)]


def dict_of(n: int) -> Any:
    return {f"key {i}": (i, TEXT) for i in range(n)}


@pytest.mark.needs("shares")
@pytest.mark.needs("kills")
@pytest.mark.parametrize("made", [list_of, dict_of])
@pytest.mark.parametrize(
    ("items", "workers", "patience"),
    [(100_000, 4, PATIENCE), pytest.param(1_000_000, 8, 90.0, marks=[pytest.mark.slow, pytest.mark.timeout(95)])],
)
def test_workers_do_not_multiply_it(
    mp: Context, start: Start, made: Callable[[int], Any], items: int, workers: int, patience: float
) -> None:
    ready, done, go, over = mp.Semaphore(0), mp.Semaphore(0), mp.Event(), mp.Event()
    shared, warm = mp.share(made(items)), mp.share(made(10))
    size = shared._records.memory.nbytes
    assert size > items * len(TEXT)
    started = [start(scan, warm, shared, ready, go, done, over, patience) for _ in range(workers)]
    family = [psutil.Process(), *(psutil.Process(each.pid) for each in started)]
    for _ in started:
        assert ready.acquire(timeout=patience)
    before = pss(family)
    go.set()
    for _ in started:
        assert done.acquire(timeout=patience)
    growth = pss(family) - before
    over.set()
    for each in started:
        each.result(patience)
    assert growth < 0.1 * size, f"{workers} workers that read {size >> 20} MiB took {growth >> 20} MiB more"
