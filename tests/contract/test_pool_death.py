"""Pool: a worker that dies takes only the item it was at with it."""

import os
import pickle
import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

pytestmark = pytest.mark.needs("kills")

DEATHS: dict[str, tuple[Callable[[], object], int]] = {
    "SIGKILL": (lambda: jobs.die_by_signal(signal.SIGKILL), -signal.SIGKILL),
    "SIGSEGV": (lambda: jobs.die_by_signal(signal.SIGSEGV), -signal.SIGSEGV),
    "os._exit": (lambda: jobs.die_by_exit(7), 7),
}


def check_still_works(pool: Handle) -> None:
    assert pool.map(jobs.square, range(50)) == [x * x for x in range(50)]


@pytest.mark.parametrize("how", DEATHS)
@pytest.mark.parametrize("processes", [1, 2])
def test_one_call(mp: Context, place: Place, processes: int, how: str) -> None:
    die, exitcode = DEATHS[how]
    with mp.Pool(processes) as pool:
        with pytest.raises(allcores.WorkerDied) as caught:
            pool.apply_async(die).get(PATIENCE)
        assert caught.value.exitcode == place.end(exitcode)
        assert caught.value.pid not in (None, os.getpid())
        assert str(caught.value.pid) in str(caught.value)
        check_still_works(pool)


@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_map_names_the_item_and_does_the_others(mp: Context, processes: int, chunksize: int | None) -> None:
    done = mp.Array("i", 20)

    def job(x: int) -> None:
        if x == 5:
            jobs.die_by_signal()
        done[x] = 1

    with mp.Pool(processes) as pool:
        results = pool.map(job, range(20), chunksize, errors="return")
        assert [results.index(x) for x in results if x is not None] == [5]
        assert isinstance(results[5].error, allcores.WorkerDied)
        assert results[5].error.index == 5
        assert "5" in str(results[5].error)
        check_still_works(pool)
    assert done[:] == [int(x != 5) for x in range(20)]


def values_and_deaths(results: Any, count: int) -> list[Any]:
    gathered: list[Any] = []
    for _ in range(count):
        try:
            gathered.append(results.next(PATIENCE))
        except allcores.WorkerDied as death:
            gathered.append(death)
    with pytest.raises(StopIteration):
        results.next(PATIENCE)
    return gathered


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize("victims", [[0], [5], [19], [4, 5, 6, 13], list(range(20))], ids=str)
def test_imap_gives_all_the_others_in_order(mp: Context, place: Place, victims: list[int], chunksize: int) -> None:
    victims = victims[:5] if place.cluster else victims  # each death there takes seconds

    def job(x: int) -> int:
        if x in victims:
            jobs.die_by_signal()
        return x

    with mp.Pool(2) as pool:
        results = values_and_deaths(pool.imap(job, range(20), chunksize, **place.once), 20)
        deaths = {i: r for i, r in enumerate(results) if isinstance(r, allcores.WorkerDied)}
        assert sorted(deaths) == victims
        assert all(death.index == i for i, death in deaths.items())
        assert all(results[i] == i for i in range(20) if i not in victims)
        check_still_works(pool)


def test_single_calls_around_a_death(mp: Context) -> None:
    with mp.Pool(2) as pool:
        results = [pool.apply_async(jobs.square_or_die, (x, 7)) for x in range(20)]
        for x, result in enumerate(results):
            if x == 7:
                with pytest.raises(allcores.WorkerDied):
                    result.get(PATIENCE)
            else:
                assert result.get(PATIENCE) == x * x


def test_error_callback_is_told_of_a_death(mp: Context) -> None:
    told: list[BaseException] = []
    with mp.Pool(1) as pool:
        pool.apply_async(jobs.die_by_signal, error_callback=told.append)
    assert [type(error) for error in told] == [allcores.WorkerDied]


def test_the_error_travels(mp: Context, place: Place) -> None:
    with mp.Pool(1) as pool, pytest.raises(allcores.WorkerDied) as caught:
        pool.map(lambda x: jobs.square_or_die(x, 1), range(3))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.pid, copy.exitcode, copy.index) == (caught.value.pid, place.end(-signal.SIGKILL), 1)
    assert str(copy) == str(caught.value)


@pytest.mark.lacks("cluster")  # nobody knows, there
def test_how_long_it_had_run(mp: Context) -> None:
    """Of a single call, of the first item of a chunk, of any that has a timeout; else it is not known."""

    def die_after(seconds: float) -> None:
        if seconds:
            time.sleep(seconds)
            jobs.die_by_signal()

    with mp.Pool(1) as pool:
        with pytest.raises(allcores.WorkerDied, match=r"it had run for 0\.") as caught:
            pool.apply(die_after, (0.2,))
        assert 0.1 < caught.value.seconds < PATIENCE
        assert caught.value.failure.seconds == caught.value.seconds
        cases: list[tuple[list[float], Any, bool]] = [
            ([0.2, 0, 0], {}, True),
            ([0, 0, 0.2], {"timeout": PATIENCE}, True),
            ([0, 0, 0.2], {}, False),
        ]
        for items, options, known in cases:
            (failure,) = (x for x in pool.map(die_after, items, 3, errors="return", **options) if x is not None)
            assert failure.seconds == failure.error.seconds
            assert (failure.seconds is not None and 0.1 < failure.seconds < PATIENCE) == known
    process = mp.Process(target=die_after, args=(0.01,))
    process.start()
    with pytest.raises(allcores.WorkerDied) as caught:
        process.result(PATIENCE)
    assert caught.value.seconds is None


def kill_and_wait(pids: set[int]) -> None:
    victims = [psutil.Process(pid) for pid in pids]
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=PATIENCE)


def worker_pids(mp: Context, pool: Handle, processes: int) -> set[int]:
    """The pids of all workers: each is held in a task until every one has come."""
    come, gate = mp.Semaphore(0), mp.Event()

    def show_up() -> int:
        jobs.announce_and_wait(come, gate)
        return os.getpid()

    results = [pool.apply_async(show_up) for _ in range(processes)]
    for _ in results:
        assert come.acquire(timeout=PATIENCE)
    gate.set()
    return {result.get(PATIENCE) for result in results}


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_idle_workers_killed_from_outside(mp: Context, processes: int) -> None:
    """They sit in the task queue then, which in the standard library stays locked for ever."""
    with mp.Pool(processes) as pool:
        for _ in range(3):
            pids = worker_pids(mp, pool, processes)
            assert len(pids) == processes
            kill_and_wait(pids)
            check_still_works(pool)


def test_a_busy_worker_killed_from_outside(mp: Context, place: Place) -> None:
    come, gate = mp.Semaphore(0), mp.Event()
    pid = mp.Value("i", 0)

    def job() -> None:
        pid.value = os.getpid()
        jobs.announce_and_wait(come, gate)

    with mp.Pool(2) as pool:
        result = pool.apply_async(job, **place.once)
        assert come.acquire(timeout=PATIENCE)
        os.kill(pid.value, signal.SIGKILL)
        with pytest.raises(allcores.WorkerDied) as caught:
            result.get(PATIENCE)
        assert caught.value.pid == pid.value
        check_still_works(pool)


def test_death_with_a_large_argument_and_a_large_result_under_way(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for _ in range(5):
            good = [pool.apply_async(jobs.identity, (b"x" * 3_000_000,)) for _ in range(4)]
            with pytest.raises(allcores.WorkerDied):
                pool.apply_async(jobs.die_by_signal, (signal.SIGKILL,), {}).get(PATIENCE)
            assert [len(result.get(PATIENCE)) for result in good] == [3_000_000] * 4


@pytest.mark.needs("owns")
def test_a_death_does_not_stop_maxtasksperchild_or_the_initializer(mp: Context) -> None:
    with mp.Pool(1, jobs.remember, ("answer", 42), maxtasksperchild=3) as pool:
        for _ in range(3):
            with pytest.raises(allcores.WorkerDied):
                pool.apply(jobs.die_by_signal)
            assert [pool.apply(jobs.recall, ("answer",)) for _ in range(4)] == [42] * 4


def test_close_and_join_after_a_death(mp: Context) -> None:
    pool = mp.Pool(2)
    results = [pool.apply_async(jobs.square_or_die, (x, x)) for x in range(3)]
    pool.close()
    pool.join()
    for result in results:
        with pytest.raises(allcores.WorkerDied):
            result.get(0)


def test_a_worker_killed_with_a_lock_in_hand(mp: Context, place: Place) -> None:
    lock = mp.Lock()

    def take_it_along() -> None:
        lock.acquire()
        jobs.die_by_signal()

    def take_it() -> None:
        with lock:
            pass

    with mp.Pool(2) as pool:
        with pytest.raises(allcores.WorkerDied):
            pool.apply_async(take_it_along, **place.once).get(PATIENCE)
        with pytest.raises(allcores.OwnerDied):
            pool.apply_async(take_it).get(PATIENCE)
        lock.recover()
        assert pool.apply_async(take_it).get(PATIENCE) is None
