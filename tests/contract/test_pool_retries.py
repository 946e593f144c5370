"""Pool: an item whose worker died runs again, as often as was asked for."""

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Call = Callable[..., Any]

# Every method that runs items, as map: (pool, job, items, retries) -> results.
METHODS: dict[str, Call] = {
    "map": lambda pool, job, items, n: pool.map(job, items, retries=n),
    "map in chunks": lambda pool, job, items, n: pool.map(job, items, 4, retries=n),
    "map_async": lambda pool, job, items, n: pool.map_async(job, items, retries=n).get(PATIENCE),
    "starmap": lambda pool, job, items, n: pool.starmap(job, [(x,) for x in items], retries=n),
    "starmap_async": lambda pool, job, items, n: pool.starmap_async(job, [(x,) for x in items], retries=n).get(),
    "imap": lambda pool, job, items, n: list(pool.imap(job, items, retries=n)),
    "imap in chunks": lambda pool, job, items, n: list(pool.imap(job, items, 4, retries=n)),
    "imap_unordered": lambda pool, job, items, n: sorted(pool.imap_unordered(job, items, retries=n)),
    "apply": lambda pool, job, items, n: [pool.apply(job, (x,), retries=n) for x in items],
    "apply by name": lambda pool, job, items, n: [pool.apply(job, kwds={"x": x}, retries=n) for x in items],
    "apply_async": lambda pool, job, items, n: [
        r.get(PATIENCE) for r in [pool.apply_async(job, (x,), retries=n) for x in items]
    ],
}


def test_where_nobody_dies_nothing_changes(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for method in METHODS.values():
            assert method(pool, lambda x: x * x, range(10), 3) == [x * x for x in range(10)]


def mortal(mp: Context, deaths: int) -> tuple[Handle, Call]:
    """How often item 5 was begun, and a job whose item 5 dies the first so many times."""
    begun = mp.Value("i", 0)

    def job(x: int) -> int:
        if x == 5 and begun.add(1) <= deaths:
            jobs.die_by_signal()
        return x

    return begun, job


@pytest.mark.needs("kills")
@pytest.mark.parametrize("method", METHODS)
def test_an_item_runs_again(mp: Context, method: str) -> None:
    begun, job = mortal(mp, deaths=2)
    with mp.Pool(2) as pool:
        assert METHODS[method](pool, job, range(10), 2) == list(range(10))
    assert begun.value == 3


@pytest.mark.needs("kills")
@pytest.mark.parametrize("method", METHODS)
def test_but_no_more_often_than_asked_for(mp: Context, place: Place, method: str) -> None:
    begun, job = mortal(mp, deaths=100)
    with mp.Pool(2) as pool:
        with pytest.raises(allcores.WorkerDied, match="attempt 3") as caught:
            METHODS[method](pool, job, range(10), 2)
        assert caught.value.attempts == 3
        # Of a chunk a cluster does not know which item it was, and finds that out.
        assert begun.value in ((3, 4) if place.cluster else (3,))
        assert pool.map(jobs.square, range(10)) == [x * x for x in range(10)]


@pytest.mark.needs("kills")
@pytest.mark.lacks("cluster")  # there it runs again where nothing is said
def test_not_at_all_unless_asked_for(mp: Context) -> None:
    begun, job = mortal(mp, deaths=1)
    with mp.Pool(2) as pool, pytest.raises(allcores.WorkerDied) as caught:
        pool.map(job, range(10))
    assert (begun.value, caught.value.attempts) == (1, 1)


@pytest.mark.needs("kills")
def test_an_item_beside_one_that_dies_is_not_counted_against(mp: Context) -> None:
    """Items of the same chunk run again after each death; those deaths are not theirs."""

    def job(x: int) -> int:
        if x != 3:
            jobs.die_by_signal()
        return x

    with mp.Pool(2) as pool:
        results: Any = pool.imap(job, range(8), 8, retries=1)
        for x in range(8):
            if x == 3:
                assert results.next(PATIENCE) == 3
            else:
                with pytest.raises(allcores.WorkerDied) as caught:
                    results.next(PATIENCE)
                assert (caught.value.index, caught.value.attempts) == (x, 2)


def test_an_error_is_not_tried_again(mp: Context) -> None:
    begun = mp.Value("i", 0)

    def job(x: int) -> None:
        begun.add(1)
        jobs.fail(x)

    with mp.Pool(2) as pool, pytest.raises(ValueError, match="no 1"):
        pool.map(job, [1], retries=5)
    assert begun.value == 1


@pytest.mark.needs("kills")
def test_callbacks_hear_of_the_end_only(mp: Context) -> None:
    told: list[Any] = []

    def tell(error: Any) -> None:
        told.append(error.attempts)

    _, saved = mortal(mp, deaths=1)
    _, lost = mortal(mp, deaths=9)
    with mp.Pool(1) as pool:
        pool.apply_async(saved, (5,), callback=told.append, retries=1)
        pool.apply_async(lost, (5,), error_callback=tell, retries=1)
    assert sorted(told) == [2, 5]


@pytest.mark.needs("kills")
def test_a_call_that_nobody_waits_for_runs_again_too(mp: Context) -> None:
    begun, job = mortal(mp, deaths=2)
    done = mp.Event()

    def announce(x: int) -> None:
        job(x)
        done.set()

    with mp.Pool(1) as pool:
        pool.apply_async(announce, (5,), retries=2)
        assert done.wait(PATIENCE)
    assert begun.value == 3


@pytest.mark.needs("kills")
def test_terminate_ends_the_attempts(mp: Context) -> None:
    come = mp.Semaphore(0)

    def job(_: int) -> None:
        come.release()
        jobs.die_by_signal()

    pool = mp.Pool(2)
    results = [pool.apply_async(job, (1,), retries=sys.maxsize), pool.map_async(job, [1], retries=sys.maxsize)]
    for _ in range(10):
        assert come.acquire(timeout=PATIENCE)
    pool.terminate()
    pool.join()
    for result in results:
        with pytest.raises(allcores.PoolTerminated):
            result.get(PATIENCE)


@pytest.mark.parametrize(("bad", "kind"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError), (None, TypeError)])
def test_a_number_that_cannot_be(mp: Context, bad: Any, kind: type[Exception]) -> None:
    with mp.Pool(1) as pool:
        for method in METHODS.values():
            with pytest.raises(kind, match="retries"):
                method(pool, jobs.identity, range(3), bad)


@pytest.mark.needs("kills", "owns")
@pytest.mark.parametrize("chunksize", [None, 1, 5])
def test_kills_at_any_moment_lose_nothing(mp: Context, chunksize: int | None) -> None:
    """While a worker takes a task, runs it, writes its result, or starts."""
    pool: Any
    rest = random.Random(chunksize)
    with mp.Pool(3) as pool:
        results = []
        for i, x in enumerate(pool.imap(jobs.square, range(600), chunksize, retries=1000)):
            results.append(x)
            if i % 40 == 0:
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(rest.choice(list(pool._crew._workers)), signal.SIGKILL)
        assert results == [x * x for x in range(600)]
        assert pool.map(jobs.square, range(50)) == [x * x for x in range(50)]


@pytest.mark.needs("kills", "owns")
def test_workers_killed_as_they_start_are_replaced(mp: Context) -> None:
    """Only those that die in an initializer tell that starting more is of no use."""
    pool: Any
    killed: set[int] = set()
    with mp.Pool(2) as pool:
        result = pool.map_async(jobs.square, range(100), chunksize=1, retries=1000)
        while len(killed) < 30:
            for pid in list(pool._crew._workers):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            result.wait(0.001)  # each new worker gets as far as it comes
        assert result.get(PATIENCE) == [x * x for x in range(100)]
        assert pool.map(jobs.square, range(50)) == [x * x for x in range(50)]


@pytest.mark.needs("kills")
def test_many_threads_whose_items_die(mp: Context) -> None:
    """Each of them may be the one that brings the other's death."""
    counts = mp.Array("i", 4)
    lists: dict[int, list[int]] = {}

    def job(thread: int, x: int) -> int:
        if x == 2 and counts.add(thread, 1) <= 2:
            jobs.die_by_signal()
        return x

    with mp.Pool(2) as pool:

        def use(k: int) -> None:
            lists[k] = pool.starmap(job, [(k, x) for x in range(5)], retries=2)

        threads = [threading.Thread(target=use, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(PATIENCE)
    assert lists == {k: list(range(5)) for k in range(4)}
