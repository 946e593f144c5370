"""Lock and RLock: one at a time."""

import time
from collections.abc import Callable

import pytest

from . import jobs
from .kit import IMPATIENT, PATIENCE, SHORT, Context, Handle, Place

Start = Callable[..., Handle]


@pytest.fixture(params=["Lock", "RLock"])
def lock(mp: Context, request: pytest.FixtureRequest) -> Handle:
    return getattr(mp, request.param)()


def test_the_lock_example(mp: Context, start: Start) -> None:
    """Two workers add 1 and 3, five times each with pauses; the lock keeps them apart."""
    value, lock, seen = mp.Value("i", 0), mp.Lock(), mp.Queue()

    def job(step: int) -> None:
        with lock:
            for _ in range(5):
                time.sleep(0.005)  # the pause of the example: without the lock, the other one's turn
                value.value += step
                seen.put(value.value)

    p1 = start(job, 1)
    first = seen.get(timeout=PATIENCE)
    p2 = start(job, 3)
    p1.join(PATIENCE)
    p2.join(PATIENCE)
    assert [first, *(seen.get() for _ in range(9))] == [1, 2, 3, 4, 5, 8, 11, 14, 17, 20]


@pytest.mark.lacks("cluster")  # each step is a round trip
def test_one_at_a_time(mp: Context, start: Start, lock: Handle) -> None:
    value = mp.Value("i", 0)

    def add() -> None:
        for _ in range(1_000):
            with lock:
                value.value = value.value + 1

    for p in [start(add) for _ in range(4)]:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert value.value == 4_000


def test_acquire_says_whether_it_did(lock: Handle) -> None:
    assert lock.acquire() is True
    lock.release()
    assert lock.acquire(False) is True
    lock.release()
    assert lock.acquire(True, SHORT) is True
    lock.release()
    with lock as entered:
        assert entered is True


@pytest.mark.needs("parallel")
def test_acquire_of_a_held_lock(start: Start, lock: Handle) -> None:
    def try_it() -> list[bool]:
        return [lock.acquire(*args, **kwargs) for args, kwargs in ways]

    ways = IMPATIENT
    with lock:
        assert start(try_it).result(PATIENCE) == [False] * len(ways)


@pytest.mark.needs("parallel")
def test_acquire_waits_no_longer_than_its_timeout(start: Start, lock: Handle) -> None:
    def time_it() -> float:
        begin = time.monotonic()
        lock.acquire(timeout=0.2)
        return time.monotonic() - begin

    with lock:
        assert 0.2 <= start(time_it).result(PATIENCE) < 5


@pytest.mark.needs("parallel")
def test_release_lets_the_next_one_in(mp: Context, start: Start, lock: Handle) -> None:
    ready = mp.Event()

    def enter() -> str:
        ready.set()
        with lock:
            return "in"

    with lock:
        p = start(enter)
        assert ready.wait(PATIENCE)
        p.join(SHORT)
        assert p.is_alive()
    assert p.result(PATIENCE) == "in"


@pytest.mark.needs("parallel")
def test_all_who_wait_get_their_turn(start: Start, lock: Handle) -> None:
    def enter(i: int) -> int:
        with lock:
            return i

    with lock:
        waiting = [start(enter, i) for i in range(6)]
    assert [p.result(PATIENCE) for p in waiting] == list(range(6))


def test_release_of_a_free_lock(mp: Context) -> None:
    lock = mp.Lock()
    with pytest.raises(ValueError, match="release"):
        lock.release()
    with lock:
        pass
    with pytest.raises(ValueError, match="release"):
        lock.release()
    assert lock.acquire(False) is True


def test_a_lock_may_be_released_by_another(mp: Context, start: Start) -> None:
    lock = mp.Lock()
    lock.acquire()
    p = start(lock.release)
    p.join(PATIENCE)
    assert p.exitcode == 0
    assert lock.acquire(timeout=PATIENCE) is True


def test_a_lock_used_as_a_signal(mp: Context, start: Start) -> None:
    """Taken by one that ends, given back by another: allowed in the standard library, and so here."""
    lock = mp.Lock()
    start(lambda: lock.acquire() and None).join(PATIENCE)
    lock.release()
    assert lock.acquire(timeout=PATIENCE) is True


@pytest.mark.needs("parallel")
def test_a_lock_is_not_reentrant(mp: Context) -> None:
    lock = mp.Lock()
    with lock:
        assert lock.acquire(timeout=SHORT) is False


def test_an_rlock_counts(mp: Context) -> None:
    lock = mp.RLock()
    for _ in range(100):
        assert lock.acquire(timeout=SHORT) is True
    for _ in range(100):
        lock.release()
    with pytest.raises(AssertionError, match="release"):
        lock.release()


@pytest.mark.needs("parallel")
def test_an_rlock_is_free_at_the_last_release(start: Start, mp: Context) -> None:
    lock = mp.RLock()

    def free() -> bool:
        got = bool(lock.acquire(False))
        if got:
            lock.release()
        return got

    with lock:
        with lock:
            assert start(free).result(PATIENCE) is False
        assert start(free).result(PATIENCE) is False
    assert start(free).result(PATIENCE) is True


@pytest.mark.needs("parallel")
def test_an_rlock_is_released_by_its_owner_only(mp: Context, start: Start) -> None:
    lock = mp.RLock()
    with lock, pytest.raises(AssertionError, match="release"):
        start(lock.release).result(PATIENCE)
    with pytest.raises(AssertionError, match="release"):
        lock.release()


@pytest.mark.needs("parallel")
def test_an_rlock_belongs_to_a_thread(mp: Context) -> None:
    lock = mp.RLock()
    thread = mp.Thread(target=lock.acquire, args=(False,))
    with lock:
        thread.start()
        assert thread.result(PATIENCE) is False


@pytest.mark.needs("parallel")
def test_threads_and_processes_share_one_lock(mp: Context, place: Place, start: Start, lock: Handle) -> None:
    value, times = mp.Value("i", 0), place.some(500)

    def add() -> None:
        for _ in range(times):
            with lock:
                value.value = value.value + 1

    threads = [mp.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for worker in [start(add), start(add), *threads]:
        worker.join(PATIENCE)
    assert value.value == 4 * times


def test_an_error_in_the_block_gives_the_lock_back(lock: Handle) -> None:
    with pytest.raises(ValueError, match="no 1"), lock:
        jobs.fail(1)
    assert lock.acquire(False) is True
    lock.release()
