"""Pool: how many workers, how they begin, how they end."""

import gc
import itertools
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle


def check_how_many_run_at_once(mp: Context, pool: Handle, expected: int) -> None:
    started, gate = mp.Semaphore(0), mp.Event()
    results = [pool.apply_async(jobs.announce_and_wait, (started, gate)) for _ in range(expected + 1)]
    for _ in range(expected):
        assert started.acquire(timeout=PATIENCE)
    assert started.acquire(timeout=SHORT) is False
    gate.set()
    for result in results:
        result.get(PATIENCE)


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("processes", [1, 3])
def test_as_many_workers_as_asked_for(mp: Context, processes: int) -> None:
    with mp.Pool(processes=processes) as pool:
        check_how_many_run_at_once(mp, pool, processes)


@pytest.mark.needs("parallel")
def test_by_default_as_many_workers_as_usable_cores(mp: Context) -> None:
    with mp.Pool() as pool:
        check_how_many_run_at_once(mp, pool, mp.cpu_count())


def test_more_workers_than_items(mp: Context) -> None:
    with mp.Pool(6) as pool:
        assert pool.map(jobs.square, range(2)) == [0, 1]


@pytest.mark.parametrize("processes", [0, -1, "2", 2.5])
def test_a_number_of_workers_that_cannot_be(mp: Context, processes: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="processes.*" + str(processes)):
        mp.Pool(processes)


def test_initializer_runs_in_every_worker(mp: Context) -> None:
    with mp.Pool(2, initializer=jobs.remember, initargs=("answer", 42)) as pool:
        assert pool.map(jobs.recall, ["answer"] * 50) == [42] * 50
        assert pool.apply(jobs.recall, ("answer",)) == 42


def test_initializer_by_value_sets_a_global_of_its_module(mp: Context) -> None:
    """The usual idiom, in a notebook: the initializer and the job share their globals in the worker."""
    cell: dict[str, Handle] = {"__name__": "a_notebook"}
    exec(
        "connection = None\n"
        "def connect(name):\n"
        "    global connection\n"
        "    connection = name\n"
        "def job(x):\n"
        "    return connection, x\n",
        cell,
    )
    with mp.Pool(2, cell["connect"], ("db",)) as pool:
        assert pool.map(cell["job"], range(5)) == [("db", x) for x in range(5)]


def test_a_failing_initializer_is_an_error_not_a_loop(mp: Context) -> None:
    with pytest.raises(Exception, match="no licence"), mp.Pool(2, jobs.fail, ("licence",)) as pool:
        pool.map(jobs.square, range(10))


def test_initializer_must_be_callable(mp: Context) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="callable"):
        mp.Pool(1, initializer=wrong)


@pytest.mark.needs("owns")
def test_maxtasksperchild(mp: Context) -> None:
    with mp.Pool(1, maxtasksperchild=2) as pool:
        assert pool.map(jobs.square, range(10)) == [x * x for x in range(10)]
        assert [pool.apply(jobs.square, (x,)) for x in range(7)] == [x * x for x in range(7)]


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_maxtasksperchild_changes_the_worker(mp: Context) -> None:
    with mp.Pool(1, maxtasksperchild=2) as pool:
        pids = Counter(pool.apply(jobs.pid_of) for _ in range(6))
    assert list(pids.values()) == [2, 2, 2]
    assert os.getpid() not in pids


def test_maxtasksperchild_that_cannot_be(mp: Context) -> None:
    with pytest.raises(ValueError, match="maxtasksperchild"):
        mp.Pool(1, maxtasksperchild=0)


def test_with_finishes_what_was_submitted(mp: Context) -> None:
    done = mp.Value("i", 0)
    with mp.Pool(2) as pool:
        results = [pool.apply_async(lambda: done.add(1)) for _ in range(50)]
        mapped = pool.map_async(lambda _: done.add(1), range(50))
    assert done.value == 100
    assert all(result.ready() for result in [*results, mapped])
    assert sorted([*(result.get() for result in results), *mapped.get()]) == list(range(1, 101))


@pytest.mark.needs("parallel")
def test_an_error_in_the_block_ends_what_was_submitted(mp: Context) -> None:
    done = mp.Value("i", 0)
    slow = mp.Event()  # never set: each wait takes its full time

    def submit_and_fail() -> None:
        with mp.Pool(2) as pool:
            results.extend(pool.apply_async(lambda: (slow.wait(SHORT), done.add(1))) for _ in range(200))
            jobs.fail("in the block")

    results: list[Handle] = []
    with pytest.raises(ValueError, match="in the block"):
        submit_and_fail()
    assert done.value < 200
    assert results[-1].ready()
    assert not results[-1].successful()


@pytest.mark.needs("parallel")
def test_terminate_drops_what_waits_and_resolves_it(mp: Context) -> None:
    done = mp.Value("i", 0)
    slow = mp.Event()
    pool = mp.Pool(2)
    results = [pool.apply_async(lambda: (slow.wait(SHORT), done.add(1))) for _ in range(200)]
    pool.terminate()
    pool.terminate()
    pool.join()
    assert done.value < 200
    assert all(result.ready() for result in results)
    assert not results[-1].successful()


@pytest.mark.needs("kills")
def test_terminate_ends_what_runs(mp: Context) -> None:
    started, gate = mp.Semaphore(0), mp.Event()
    pool = mp.Pool(2)
    results = [pool.apply_async(jobs.announce_and_wait, (started, gate)) for _ in range(2)]
    for _ in results:
        assert started.acquire(timeout=PATIENCE)
    pool.terminate()
    pool.join()
    for result in results:
        assert result.ready()
        assert not result.successful()


def test_close_and_join_finish_what_was_submitted(mp: Context) -> None:
    done = mp.Value("i", 0)
    pool = mp.Pool(2)
    results = [pool.apply_async(lambda: done.add(1)) for _ in range(50)]
    lazy = pool.imap(jobs.square, range(50))
    pool.close()
    pool.close()
    assert list(lazy) == [x * x for x in range(50)]
    pool.join()
    assert done.value == 50
    assert sorted(result.get() for result in results) == list(range(1, 51))


def test_imap_can_be_read_after_the_join(mp: Context) -> None:
    pool = mp.Pool(2)
    ordered, unordered = pool.imap(jobs.square, range(100)), pool.imap_unordered(jobs.square, range(100))
    pool.close()
    pool.join()
    assert list(ordered) == sorted(unordered) == [x * x for x in range(100)]


def test_join_wants_close_first(mp: Context) -> None:
    with mp.Pool(1) as pool, pytest.raises(ValueError, match=r"running|open"):
        pool.join()


USES: list[Callable[[Handle], object]] = [
    lambda pool: pool.apply(jobs.square, (2,)),
    lambda pool: pool.apply_async(jobs.square, (2,)),
    lambda pool: pool.map(jobs.square, [2]),
    lambda pool: pool.map_async(jobs.square, [2]),
    lambda pool: pool.starmap(jobs.square, [(2,)]),
    lambda pool: pool.imap(jobs.square, [2]),
    lambda pool: pool.imap_unordered(jobs.square, [2]),
    lambda pool: pool.__enter__(),
]


@pytest.mark.parametrize("end", ["close", "terminate", "leave"])
def test_after_its_end_a_pool_takes_nothing(mp: Context, end: str) -> None:
    pool = mp.Pool(1)
    if end == "leave":
        with pool:
            pass
    else:
        getattr(pool, end)()
    for use in USES:
        with pytest.raises(ValueError, match=r"running|closed"):
            use(pool)
    pool.join()


def test_pools_side_by_side(mp: Context) -> None:
    with mp.Pool(2) as first, mp.Pool(1) as second:
        results = [pool.map_async(jobs.square, range(50)) for pool in (first, second, first)]
        assert [r.get(PATIENCE) for r in results] == [[x * x for x in range(50)]] * 3


def test_pools_one_after_another(mp: Context) -> None:
    for n in range(10):
        with mp.Pool(2) as pool:
            assert pool.map(jobs.square, range(n)) == [x * x for x in range(n)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_pool_leaves_nothing(mp: Context) -> None:
    pool = mp.Pool(2)
    assert pool.map(jobs.square, range(5)) == [0, 1, 4, 9, 16]
    del pool
    gc.collect()  # the fixture for all tests looks for its workers


def test_leaving_an_endless_imap(mp: Context) -> None:
    """The block ends though the iterator never would: nobody asks for more."""
    with mp.Pool(2) as pool:
        results = pool.imap(jobs.square, itertools.count(1))
        assert next(results) == 1
