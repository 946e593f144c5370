"""Pool: what becomes of failures: errors=, retry_on=, and a map that ends at its first."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Call = Callable[..., Any]

# Every method that runs many items, as map: (pool, job, items, options) -> all results.
METHODS: dict[str, Call] = {
    "map": lambda pool, job, items, **o: pool.map(job, items, **o),
    "map in chunks": lambda pool, job, items, **o: pool.map(job, items, 4, **o),
    "map_async": lambda pool, job, items, **o: pool.map_async(job, items, **o).get(PATIENCE),
    "starmap": lambda pool, job, items, **o: pool.starmap(job, [(x,) for x in items], **o),
    "starmap_async": lambda pool, job, items, **o: pool.starmap_async(job, [(x,) for x in items], 3, **o).get(PATIENCE),
    "imap": lambda pool, job, items, **o: list(pool.imap(job, items, **o)),
    "imap in chunks": lambda pool, job, items, **o: list(pool.imap(job, items, 4, **o)),
    "imap_unordered": lambda pool, job, items, **o: sorted(pool.imap_unordered(job, items, **o), key=place_of),
}


def place_of(result: Any) -> Any:
    return result.index if isinstance(result, allcores.Failure) else result


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    with mp.Pool(2) as pool:
        yield pool
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


def odd_fail(x: int) -> int:
    if x % 2:
        raise ValueError(f"no {x}")
    return x


@pytest.mark.parametrize("method", METHODS)
def test_failures_come_back_in_their_places(pool: Handle, method: str) -> None:
    results = METHODS[method](pool, odd_fail, range(20), errors="return")
    assert [x for x in results if isinstance(x, int)] == list(range(0, 20, 2))
    failures = [x for x in results if isinstance(x, allcores.Failure)]
    assert [f.index for f in failures] == list(range(1, 20, 2))
    assert [type(x) for x in results] == [int, allcores.Failure] * 10
    for f in failures:
        assert type(f.error) is ValueError
        assert f.error.args == (f"no {f.index}",)
        assert str(f.index) in f.item
        assert f.attempts == 1
        assert f.seconds is not None
        assert 0 <= f.seconds < PATIENCE
        assert "in odd_fail" in f.traceback
        assert isinstance(f.pid, int)


@pytest.mark.parametrize("method", METHODS)
def test_failures_can_be_left_out(pool: Handle, method: str) -> None:
    assert METHODS[method](pool, odd_fail, range(20), errors="skip") == list(range(0, 20, 2))
    assert METHODS[method](pool, jobs.fail, range(20), errors="skip") == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("errors", ["return", "skip"])
def test_where_nothing_fails_nothing_changes(pool: Handle, method: str, errors: str) -> None:
    assert METHODS[method](pool, jobs.identity, range(50), errors=errors) == list(range(50))
    assert METHODS[method](pool, jobs.identity, [], errors=errors) == []


def test_a_failure_says_what_it_is_of_and_travels(pool: Handle) -> None:
    (failure,) = pool.map(jobs.fail, [37], errors="return")
    assert repr(failure) == "<Failure item 0 of the input: ValueError('no 37')>"
    copy = pickle.loads(pickle.dumps(failure))
    assert repr(copy) == repr(failure)
    for name in ("index", "item", "pid", "seconds", "attempts", "traceback"):
        assert getattr(copy, name) == getattr(failure, name)


@pytest.mark.needs("kills")
def test_a_failure_names_its_worker(pool: Handle) -> None:
    (failure,) = pool.map(lambda _: jobs.fail(os.getpid()), [0], errors="return")
    assert str(failure.error) == f"no {failure.pid}"
    assert failure.pid != os.getpid()
    (failure,) = pool.map(lambda _: jobs.die_by_signal(), [0], errors="return")
    assert isinstance(failure.error, allcores.WorkerDied)
    assert failure.pid == failure.error.pid


@pytest.mark.parametrize("call", ["map", "starmap", "imap", "apply"])
def test_a_raised_error_carries_its_failure(pool: Handle, call: str) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "map": lambda: pool.map(lambda x: jobs.fail_at(7, x), range(8), 1),
        "starmap": lambda: pool.starmap(jobs.fail_at, [(7, x) for x in range(8)], 8),
        "imap": lambda: list(pool.imap(lambda x: jobs.fail_at(7, x), range(8), 3)),
        "apply": lambda: pool.apply(jobs.fail, (7,)),
    }
    with pytest.raises(ValueError, match="no 7") as caught:
        calls[call]()
    failure: allcores.Failure = caught.value.failure  # type: ignore[attr-defined]
    assert failure.error is None  # it would keep itself alive
    assert failure.index == (None if call == "apply" else 7)
    assert "7" in failure.item
    assert "no 7" in repr(failure)
    assert "in fail" in failure.traceback
    assert failure.pid is not None


@pytest.mark.parametrize("chunksize", [1, 5, 100])
def test_what_was_finished_is_kept(pool: Handle, chunksize: int) -> None:
    with pytest.raises(ValueError, match="no 60") as caught:
        pool.map(lambda x: jobs.fail_at(60, x), range(100), chunksize)
    finished = caught.value.failure.results  # type: ignore[attr-defined]
    assert finished
    assert all(x == i for i, x in finished.items())
    assert 60 not in finished
    if chunksize == 100:
        assert sorted(finished) == list(range(60))


@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_a_map_stops_promptly(mp: Context, place: Place, chunksize: int | None) -> None:
    """Nothing more is begun: at most what was running and a chunk or so beyond. Serially, nothing at all."""
    begun = mp.Value("i", 0)

    def job(x: int) -> None:
        begun.add(1)
        jobs.fail_at(3, x)

    with mp.Pool(2) as pool, pytest.raises(ValueError, match="no 3"):
        pool.map(job, range(100_000), chunksize)
    assert begun.value < 50_000
    if place.name == "serial":
        assert begun.value == 4


@pytest.mark.needs("parallel")
def test_a_map_does_not_wait_for_what_runs(mp: Context) -> None:
    come, gate = mp.Semaphore(0), mp.Event()

    def job(x: int) -> int:
        if x == 0:
            jobs.announce_and_wait(come, gate)
        elif x == 1:
            assert come.acquire(timeout=PATIENCE)
            jobs.fail(x)
        return x

    with mp.Pool(2) as pool:
        with pytest.raises(ValueError, match="no 1"):
            pool.map(job, range(10), 1)
        assert not gate.is_set()
        assert pool.map(jobs.square, range(10)) == [x * x for x in range(10)]  # at once, by the other worker
        gate.set()


@pytest.mark.needs("parallel")
def test_a_running_chunk_ends_after_its_item(mp: Context) -> None:
    come, gate, begun = mp.Semaphore(0), mp.Event(), mp.Value("i", 0)

    def job(x: int) -> None:
        if x == 0:
            jobs.announce_and_wait(come, gate)
        elif x < 10:
            begun.add(1)
        else:
            assert come.acquire(timeout=PATIENCE)
            jobs.fail(x)

    with mp.Pool(2) as pool:
        with pytest.raises(ValueError, match="no 10"):
            pool.map(job, range(20), 10)
        gate.set()
    assert begun.value == 0


def test_the_pools_end_waits_for_what_runs_of_a_failed_map(mp: Context) -> None:
    pool: Any = mp.Pool(2)
    for _ in range(20):
        with pytest.raises(ValueError, match="no "):
            pool.map(jobs.fail, range(100), 1)
    pool.close()
    pool.join()


# Retries.


def failing(mp: Context, times: int) -> tuple[Handle, Call]:
    begun = mp.Value("i", 0)

    def job(x: int) -> int:
        if x == 5 and begun.add(1) <= times:
            raise OSError(f"not at attempt {begun.value}")
        return x

    return begun, job


@pytest.mark.parametrize("errors", ["raise", "return", "skip"])
@pytest.mark.parametrize("method", METHODS)
def test_only_the_failed_item_runs_again(mp: Context, method: str, errors: str) -> None:
    begun, job = failing(mp, 2)
    all_begun = mp.Value("i", 0)

    def counted(x: int) -> int:
        all_begun.add(1)
        return int(job(x))

    with mp.Pool(2) as pool:
        results = METHODS[method](pool, counted, range(10), retries=2, retry_on=OSError, errors=errors)
        assert results == list(range(10))
    assert begun.value == 3
    assert all_begun.value == 12


@pytest.mark.parametrize("method", METHODS)
def test_but_no_more_often_than_asked_for(mp: Context, method: str) -> None:
    begun, job = failing(mp, 100)
    with mp.Pool(2) as pool:
        with pytest.raises(OSError, match="not at attempt 3") as caught:
            METHODS[method](pool, job, range(10), retries=2, retry_on=(KeyError, OSError))
        assert caught.value.failure.attempts == 3  # type: ignore[attr-defined]
        assert begun.value == 3
        begun.value = 0
        results = METHODS[method](pool, job, range(10), retries=1, retry_on=OSError, errors="return")
        assert results[5].attempts == begun.value == 2
        assert [x for x in results if isinstance(x, int)] == [x for x in range(10) if x != 5]


@pytest.mark.parametrize("method", METHODS)
def test_other_errors_are_not_tried_again(mp: Context, method: str) -> None:
    begun, job = failing(mp, 100)
    with mp.Pool(2) as pool, pytest.raises(OSError, match="attempt 1"):
        METHODS[method](pool, job, range(10), retries=2, retry_on=(KeyError, ValueError))
    assert begun.value == 1


def test_single_calls_run_again_too(mp: Context) -> None:
    begun, job = failing(mp, 2)
    with mp.Pool(2) as pool:
        assert pool.apply(job, (5,), retries=2, retry_on=OSError) == 5
        begun.value = 0
        with pytest.raises(OSError, match="attempt 2") as caught:
            pool.apply_async(job, kwds={"x": 5}, retries=1, retry_on=OSError).get(PATIENCE)
        assert caught.value.failure.attempts == 2  # type: ignore[attr-defined]
        assert begun.value == 2


@pytest.mark.needs("kills")
def test_a_worker_killed_in_a_retry(mp: Context) -> None:
    """A raised error, then a death, then a result: each counts."""
    begun = mp.Value("i", 0)

    def job(x: int) -> int:
        if x == 5:
            attempt = begun.add(1)
            if attempt == 1:
                raise OSError("first")
            if attempt == 2:
                jobs.die_by_signal(signal.SIGKILL)
        return x

    with mp.Pool(2) as pool:
        for chunksize in (1, 4):
            begun.value = 0
            assert pool.map(job, range(10), chunksize, retries=2, retry_on=OSError) == list(range(10))
            begun.value = 0
            assert list(pool.imap(job, range(10), chunksize, retries=2, retry_on=OSError)) == list(range(10))
        begun.value = 0
        assert pool.apply(job, (5,), retries=2, retry_on=OSError) == 5
        begun.value = 0
        (failure,) = pool.map(job, [5], retries=1, retry_on=OSError, errors="return")
        assert isinstance(failure.error, allcores.WorkerDied)
        assert failure.attempts == failure.error.attempts == 2
