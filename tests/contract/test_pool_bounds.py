"""Pool: the input is read as it is used, no further ahead than asked for, by items and by bytes."""

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle

MB = 1 << 20


class Counted:
    """Items made one by one, and how many were."""

    def __init__(self, make: Callable[[int], Any] = lambda i: i, count: int | None = None) -> None:
        self._items = (make(i) for i in (itertools.count() if count is None else range(count)))
        self.drawn = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = next(self._items)
        self.drawn += 1
        return item


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    with mp.Pool(2) as pool:
        yield pool


@pytest.mark.parametrize("chunksize", [None, 7])
@pytest.mark.parametrize("buffersize", [1, 4, 64])
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_buffersize(pool: Handle, method: str, buffersize: int, chunksize: int | None) -> None:
    items = Counted(count=1_500)
    results, taken = getattr(pool, method)(jobs.square, items, chunksize, buffersize=buffersize), []
    assert items.drawn <= buffersize
    for result in results:
        taken.append(result)
        assert items.drawn <= len(taken) + buffersize
    assert sorted(taken) == [x * x for x in range(1_500)]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_buffersize_with_errors(pool: Handle, method: str) -> None:
    items = Counted(count=50)
    results = getattr(pool, method)(lambda x: 1 // (x % 5), items, buffersize=3)
    for taken in range(1, 51):
        with contextlib.suppress(ZeroDivisionError):
            results.next(PATIENCE)
        assert items.drawn <= taken + 3
    assert list(results) == []


@pytest.mark.needs("kills")
def test_buffersize_with_deaths(pool: Handle) -> None:
    items, died = Counted(count=30), 0
    results = pool.imap(lambda x: jobs.die_by_signal() if x % 10 == 5 else x, items, buffersize=4)
    for taken in range(1, 31):
        try:
            results.next(PATIENCE)
        except allcores.WorkerDied:
            died += 1
        assert items.drawn <= taken + 4
    assert (died, list(results)) == (3, [])


def test_buffersize_when_the_pool_ends(mp: Context) -> None:
    """What was submitted is finished: of an input of known length all of it."""
    with mp.Pool(2) as pool:
        results = pool.imap(jobs.square, range(100), buffersize=2)
        assert next(results) == 0
    assert list(results) == [x * x for x in range(1, 100)]


@pytest.mark.needs("parallel")
def test_buffersize_keeps_all_workers_at_work(mp: Context) -> None:
    both = mp.Barrier(2)
    with mp.Pool(2) as pool:
        results = pool.imap(lambda _: both.wait(PATIENCE), iter(range(6)), buffersize=2)
        assert sorted(results) == [0, 0, 0, 1, 1, 1]


def own_memory() -> int:
    """Bytes that this process has of its own, and what is in shared memory that it has mapped."""
    lines = dict(line.split(":") for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) << 10


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_endless_input_in_flat_memory(pool: Handle, method: str) -> None:
    """200 MB of items and as much of results pass through, a fraction of it at a time."""
    items = Counted(lambda i: np.full(MB // 8, i, dtype=np.float64))
    results = getattr(pool, method)(lambda array: array + 1, items)
    for _ in range(50):
        next(results)
    before, most = own_memory(), 0
    for n in range(200):
        assert len(next(results)) == MB // 8
        assert items.drawn <= n + 51 + 50
        most = max(most, own_memory())
    assert most - before < 100 * MB
    pool.terminate()


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_what_a_late_item_holds_up_is_done_after_it(pool: Handle, method: str) -> None:
    """It took longer than its chunk may, so the rest of that is given back; the others are as far ahead as results of
    a megabyte may be. Once, nobody sent the rest: the window was full of what waited for it."""

    def job(i: int) -> Any:
        if i == 60:
            time.sleep(0.3)
        return np.full(MB // 8, i, dtype=np.float64)

    results = getattr(pool, method)(job, itertools.count())
    first = [int(next(results)[0]) for _ in range(100)]
    assert sorted(first) == list(range(100)) if method == "imap" else len(set(first)) == 100
    pool.terminate()


@pytest.mark.parametrize("method", ["imap", "imap_unordered", "map"])
def test_an_item_that_takes_long_does_not_let_the_others_run_without_end(pool: Handle, method: str) -> None:
    """Others go on ahead of the first result, and not for ever."""
    items = Counted(count=None if method != "map" else 3_000)
    results: Any = getattr(pool, method)(jobs.square, items)
    if method == "map":
        assert len(results) == 3_000
        return
    for n in range(1, 3_000):
        next(results)
        assert items.drawn <= n + 25_000
    pool.terminate()


@pytest.mark.needs("parallel")
def test_imap_goes_on_beside_a_slow_item(mp: Context, pool: Handle) -> None:
    """The first result is late: the others do not wait for it, and do not run ahead without end."""
    gate, items, done = mp.Event(), Counted(), mp.Value("i", 0)

    def job(x: int) -> int:
        if x == 0:
            jobs.wait_for(gate)
        else:
            done.add(1)
        return x

    results: Any = pool.imap(job, items, chunksize=1)
    waiting = threading.Thread(target=lambda: taken.append(results.next(PATIENCE)))
    taken: list[int] = []
    waiting.start()
    while done.value < 200:
        if not waiting.is_alive():
            pytest.fail("the first result came before its time")
    assert items.drawn <= 3_000
    gate.set()
    waiting.join()
    assert taken == [0]
    assert [next(results) for _ in range(300)] == list(range(1, 301))
    pool.terminate()


@pytest.mark.parametrize("chunksize", [None, 1])
@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
def test_max_bytes(mp: Context, pool: Handle, method: str, chunksize: int | None) -> None:
    """Never more than about so many bytes of items that were drawn and are not done."""
    done, most = mp.Value("q", 0), [0]

    def item(i: int) -> Any:
        array = np.full(MB // 4 // 8, i, dtype=np.float64)
        most[0] = max(most[0], items.drawn * array.nbytes - done.value)
        return array

    def job(array: Any) -> int:
        done.add(array.nbytes)
        return int(array[0])

    items = Counted(item, 100)
    assert sorted(getattr(pool, method)(job, items, chunksize, max_bytes=MB * 3 // 4)) == list(range(100))
    assert most[0] <= MB


def test_an_item_larger_than_max_bytes_goes_alone(mp: Context, pool: Handle) -> None:
    running, most = mp.Value("i", 0), mp.Value("i", 0)

    def job(blob: bytes) -> int:
        running.add(1)
        most.value = max(most.value, running.value)
        running.add(-1)
        return len(blob)

    sizes = [10, MB, 3 * MB, 10, 10, 2 * MB, MB]
    assert pool.map(job, (bytes(n) for n in sizes), max_bytes=MB // 2) == sizes
    assert list(pool.imap(job, (bytes(n) for n in sizes), max_bytes=MB // 2)) == sizes
    assert most.value <= 2


@pytest.mark.parametrize("ordered", [True, False])
def test_results_that_wait_count_as_well(pool: Handle, ordered: bool) -> None:
    """Small items and large results: nobody takes them, so no more are made."""
    items = Counted()
    method = pool.imap if ordered else pool.imap_unordered
    results: Any = method(lambda i: bytes(MB), items, max_bytes=4 * MB)
    for n in range(1, 40):
        assert len(results.next(PATIENCE)) == MB
        assert items.drawn <= n + 5
    pool.terminate()


@pytest.mark.needs("kills")
def test_the_dead_give_their_bytes_back(pool: Handle) -> None:
    """Every third item kills its worker: were its bytes counted for ever, nothing would go on."""
    arrays = (np.full(MB // 8, i, dtype=np.float64) for i in range(30))
    results: Any = pool.imap(lambda a: jobs.die_by_signal() if a[0] % 3 == 0 else int(a[0]), arrays, max_bytes=3 * MB)
    got: list[int] = []
    for i in range(30):
        if i % 3 == 0:
            with pytest.raises(allcores.WorkerDied):
                results.next(PATIENCE)
        else:
            got.append(results.next(PATIENCE))
    assert got == [i for i in range(30) if i % 3]
    assert list(results) == []


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("value", [0, "2"])
def test_what_makes_no_sense(pool: Handle, method: str, value: Any) -> None:
    for name in ("buffersize", "max_bytes"):
        with pytest.raises((TypeError, ValueError), match=name):
            getattr(pool, method)(jobs.square, range(3), **{name: value})


def test_map_knows_no_buffersize(pool: Handle) -> None:
    with pytest.raises(TypeError, match="buffersize"):
        pool.map(jobs.square, range(3), buffersize=2)


@pytest.mark.needs("parallel")
def test_another_thread_finds_the_end_of_the_input(pool: Handle) -> None:
    """Who waits for the next result is told that there is none, whoever reads the input."""
    gate = threading.Event()

    def items() -> Iterator[int]:
        yield from range(5)
        gate.wait(PATIENCE)

    results: Any = pool.imap(jobs.identity, items(), chunksize=1)
    results.window += 1
    reading = threading.Thread(target=results.proceed)
    reading.start()
    opening = threading.Timer(SHORT, gate.set)
    assert [results.next(PATIENCE) for _ in range(5)] == list(range(5))
    opening.start()
    with pytest.raises(StopIteration):
        results.next(PATIENCE)
    reading.join()
    opening.join()


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_buffersize_counts_items_that_are_left_out(pool: Handle, method: str) -> None:
    items, taken = Counted(count=60), 0
    for result in getattr(pool, method)(lambda x: 1 // (x % 2) and x, items, errors="skip", buffersize=4):
        taken += 1
        assert result % 2 == 1
        assert items.drawn <= 2 * taken + 4 + 2
    assert taken == 30
