"""Pool: chunks whose items turn out to be slower than those before are given back, and every item is run once."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle

QUICK, SLOW = 4_000, 40


def rising(runs: Any, by: Any) -> Callable[[int], int]:
    """A job whose items beyond QUICK are slow: they say who runs them, and each counts how often."""

    def job(x: int) -> int:
        runs.add(x, 1)
        if x >= QUICK:
            by[x - QUICK] = hash((os.getpid(), threading.get_ident())) % 1_000_003
            time.sleep(0.005)
        return x

    return job


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
def test_items_that_are_suddenly_slow(mp: Context, method: str, known_length: bool) -> None:
    runs, by, n = mp.Array("i", QUICK + SLOW), mp.Array("i", SLOW), QUICK + SLOW
    with mp.Pool(2) as pool:
        results = getattr(pool, method)(rising(runs, by), range(n) if known_length else iter(range(n)))
        assert sorted(results) == list(range(n))
    assert runs[:] == [1] * n


@pytest.mark.lacks("cluster")  # what takes less than a message is one chunk there
@pytest.mark.needs("parallel")
def test_they_are_shared_out(mp: Context) -> None:
    runs, by = mp.Array("i", QUICK + SLOW), mp.Array("i", SLOW)
    with mp.Pool(2) as pool:
        pool.map(rising(runs, by), iter(range(QUICK + SLOW)))
    ran = [by[:].count(worker) for worker in set(by[:])]
    assert len(ran) == 2
    assert min(ran) >= SLOW // 5


@pytest.mark.parametrize("chunksize", [7, QUICK + SLOW])
def test_with_chunksize_a_chunk_stays_whole(mp: Context, chunksize: int) -> None:
    runs, by, n = mp.Array("i", QUICK + SLOW), mp.Array("i", SLOW), QUICK + SLOW
    with mp.Pool(2) as pool:
        assert pool.map(rising(runs, by), range(n), chunksize) == list(range(n))
    first, last = QUICK - QUICK % chunksize, n - 1
    wholes = [by[max(i, QUICK) - QUICK : min(i + chunksize, n) - QUICK] for i in range(first, last, chunksize)]
    assert all(len(set(whole)) == 1 for whole in wholes)
    assert runs[:] == [1] * n


@pytest.mark.needs("kills")
@pytest.mark.parametrize("victim", [QUICK, QUICK + 1, QUICK + SLOW - 1])
def test_a_death_among_them(mp: Context, victim: int) -> None:
    """Whatever had been given back: only the item is lost."""

    def job(x: int) -> int:
        if x == victim:
            jobs.die_by_signal()
        if x >= QUICK:
            time.sleep(0.005)
        return x

    with mp.Pool(2) as pool:
        results: Handle = pool.imap(job, iter(range(QUICK + SLOW)))
        got: list[int] = []
        for x in range(QUICK + SLOW):
            if x == victim:
                with pytest.raises(allcores.WorkerDied) as caught:
                    results.next(PATIENCE)
                assert caught.value.index == victim
            else:
                got.append(results.next(PATIENCE))
        assert got == [x for x in range(QUICK + SLOW) if x != victim]
        assert list(results) == []
