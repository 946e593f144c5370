"""Condition: wait, with the lock let go of, until somebody notifies."""

import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle, Place

Start = Callable[..., Handle]
parallel = pytest.mark.needs("parallel")


@pytest.fixture(params=["Lock", "RLock by default"])
def cond(mp: Context, request: pytest.FixtureRequest) -> Handle:
    return mp.Condition(mp.Lock()) if request.param == "Lock" else mp.Condition()


def wait_and_tell(cond: Handle, ready: Handle, woken: Handle, name: object = None, timeout: float | None = None) -> Any:
    with cond:
        ready.release()
        got = cond.wait(timeout)
        woken.put(name)
    return got


class Waiters:
    """Starts waiters one by one, each waiting before the next one starts."""

    def __init__(self, mp: Context, start: Start, cond: Handle) -> None:
        self.start, self.cond = start, cond
        self.ready, self.woken = mp.Semaphore(0), mp.Queue()

    def add(self, name: object = None, timeout: float | None = None) -> Handle:
        waiter = self.start(wait_and_tell, self.cond, self.ready, self.woken, name, timeout)
        assert self.ready.acquire(timeout=PATIENCE)
        with self.cond:  # free: it waits
            pass
        return waiter

    def notify(self, *args: Any, **kwargs: Any) -> None:
        with self.cond:
            self.cond.notify(*args, **kwargs)

    def take(self, n: int) -> Iterator[object]:
        return (self.woken.get(timeout=PATIENCE) for _ in range(n))

    def nobody_else(self) -> bool:
        time.sleep(SHORT)
        return bool(self.woken.empty())


@pytest.fixture
def waiters(mp: Context, start: Start, cond: Handle) -> Waiters:
    return Waiters(mp, start, cond)


@parallel
def test_notify_wakes_one_and_the_longest_waiting_first(waiters: Waiters) -> None:
    started = [waiters.add(i) for i in range(3)]
    for i in range(3):
        assert waiters.nobody_else()
        waiters.notify()
        assert list(waiters.take(1)) == [i]
    assert [w.result(PATIENCE) for w in started] == [True] * 3


@parallel
def test_notify_n(waiters: Waiters) -> None:
    started = [waiters.add(i) for i in range(4)]
    waiters.notify(0)
    assert waiters.nobody_else()
    waiters.notify(n=2)
    assert set(waiters.take(2)) == {0, 1}
    assert waiters.nobody_else()
    waiters.notify(9)
    assert set(waiters.take(2)) == {2, 3}
    waiters.notify(3)  # nobody there: forgotten
    assert [w.result(PATIENCE) for w in started] == [True] * 4


@parallel
def test_notify_all(waiters: Waiters, cond: Handle) -> None:
    started = [waiters.add(i) for i in range(3)]
    with cond:
        cond.notify_all()
        assert waiters.nobody_else()  # they go on when the lock is free
    assert set(waiters.take(3)) == set(range(3))
    assert [w.result(PATIENCE) for w in started] == [True] * 3


@parallel
def test_threads_and_processes_wait_together(mp: Context, waiters: Waiters, cond: Handle) -> None:
    threads = [mp.Thread(target=wait_and_tell, args=(cond, waiters.ready, waiters.woken, i)) for i in range(2)]
    for thread in threads:
        thread.start()
        assert waiters.ready.acquire(timeout=PATIENCE)
    others = [waiters.add(i) for i in range(2, 4)]
    with cond:
        cond.notify_all()
    assert set(waiters.take(4)) == set(range(4))
    assert [w.result(PATIENCE) for w in (*threads, *others)] == [True] * 4


@parallel
def test_a_notification_before_the_wait_is_forgotten(cond: Handle) -> None:
    with cond:
        cond.notify()
        cond.notify_all()
        assert cond.wait(SHORT) is False


@parallel
def test_a_waiter_that_timed_out_swallows_no_notification(waiters: Waiters) -> None:
    early = waiters.add("early", SHORT)
    late = waiters.add("late")
    assert early.result(PATIENCE) is False
    waiters.notify()
    assert late.result(PATIENCE) is True


def test_wait_with_a_timeout(cond: Handle, place: Any) -> None:
    with cond:
        for timeout in (0, -1, SHORT):
            begin = time.monotonic()
            assert cond.wait(timeout) is False
            if place.parallel:
                assert time.monotonic() - begin >= timeout
    with cond:  # it was held again, and then let go of
        pass


def test_wait_for_what_is_true_already(cond: Handle) -> None:
    with cond:
        assert cond.wait_for(lambda: "yes") == "yes"
        assert cond.wait_for(lambda: "yes", 0) == "yes"


def test_wait_for_what_never_comes(cond: Handle, place: Any) -> None:
    seen: list[int] = []

    def look() -> int:
        seen.append(1)
        return 0

    with cond:
        begin = time.monotonic()
        assert cond.wait_for(look, SHORT) == 0
        assert not place.parallel or time.monotonic() - begin >= SHORT
    assert 1 <= len(seen) <= 3


@parallel
def test_wait_for_counts_no_notification_for_the_truth(mp: Context, start: Start, cond: Handle) -> None:
    state = mp.Value("i", -1)

    def wait_for_four() -> tuple[bool, int]:
        with cond:
            state.value = 0
            cond.notify()
            return cond.wait_for(lambda: state.value == 4), state.value

    p = start(wait_for_four)
    with cond:
        assert cond.wait_for(lambda: state.value == 0, PATIENCE) is True
    for _ in range(4):
        with cond:
            state.value += 1
            cond.notify()
    assert p.result(PATIENCE) == (True, 4)


@parallel
def test_wait_for_gives_up_in_time_though_it_is_notified(mp: Context, start: Start, cond: Handle) -> None:
    stop = mp.Event()

    def notify_on_and_on() -> None:
        while not stop.is_set():
            with cond:
                cond.notify()

    p = start(notify_on_and_on)
    with cond:
        begin = time.monotonic()
        assert cond.wait_for(lambda: False, 4 * SHORT) is False
        assert time.monotonic() - begin >= 4 * SHORT
    stop.set()
    p.join(PATIENCE)


def test_without_the_lock_it_is_an_error(cond: Handle) -> None:
    for call in (cond.wait, lambda: cond.wait(0), cond.notify, cond.notify_all, lambda: cond.wait_for(lambda: False)):
        with pytest.raises(AssertionError, match="lock"):
            call()
    with cond:
        pass


@parallel
def test_with_the_lock_of_another_it_is_an_error(mp: Context, cond: Handle) -> None:
    with cond:
        thread = mp.Thread(target=cond.notify)
        thread.start()
        with pytest.raises(AssertionError, match="lock"):
            thread.result(PATIENCE)


@pytest.mark.parametrize("n", [-1, 0.5, "1", None])
def test_notify_of_a_bad_number(cond: Handle, n: Any) -> None:
    with cond, pytest.raises((TypeError, ValueError)):
        cond.notify(n)
    with cond:
        pass


@pytest.mark.parametrize("lock", [1, "lock", object()])
def test_only_with_a_lock_of_this_library(mp: Context, lock: Any) -> None:
    with pytest.raises(TypeError, match="Lock"):
        mp.Condition(lock)


def test_it_acquires_and_releases_its_lock(mp: Context, start: Start) -> None:
    lock = mp.Lock()
    cond = mp.Condition(lock)
    assert cond.acquire() is True
    assert lock.locked()
    assert start(cond.acquire, False).result(PATIENCE) is False
    cond.release()
    with cond as entered:
        assert entered is True
        assert lock.acquire(False) is False
    assert lock.acquire(timeout=PATIENCE) is True


@parallel
def test_the_depth_is_kept_over_a_wait(mp: Context, start: Start) -> None:
    lock = mp.RLock()
    cond = mp.Condition(lock)

    def notify() -> None:
        with cond:
            cond.notify()

    for _ in range(3):
        lock.acquire()
    p = start(notify)
    assert cond.wait(PATIENCE) is True  # all three were let go of, or the other could not notify
    p.join(PATIENCE)
    assert start(lock.acquire, False).result(PATIENCE) is False
    for _ in range(2):
        lock.release()
    assert start(lock.acquire, False).result(PATIENCE) is False
    lock.release()
    assert start(jobs.acquire_and_release, lock).result(PATIENCE) is True


@parallel
def test_producers_and_consumers(mp: Context, place: Place, start: Start) -> None:
    """Two conditions on one lock, a buffer of three places."""
    lock = mp.Lock()
    not_full, not_empty = mp.Condition(lock), mp.Condition(lock)
    buffer, used, each = mp.Array("i", 3), mp.Value("i", 0), place.some(300)

    def produce(first: int) -> None:
        for item in range(first, first + each):
            with not_full:
                not_full.wait_for(lambda: used.value < 3)
                buffer[used.value] = item
                used.value += 1
                not_empty.notify()

    def consume() -> list[int]:
        got = []
        for _ in range(each):
            with not_empty:
                not_empty.wait_for(lambda: used.value > 0)
                used.value -= 1
                got.append(buffer[used.value])
                not_full.notify()
        return got

    consumers = [start(consume) for _ in range(2)]
    producers = [start(produce, first) for first in (0, each)]
    assert sorted(consumers[0].result(PATIENCE) + consumers[1].result(PATIENCE)) == list(range(2 * each))
    assert [p.result(PATIENCE) for p in producers] == [None, None]


@parallel
def test_ping_pong(mp: Context, start: Start, cond: Handle) -> None:
    turn, rounds = mp.Value("i", 0), 300

    def play(mine: int) -> None:
        for _ in range(rounds):
            with cond:
                cond.wait_for(lambda: turn.value % 2 == mine)
                turn.value += 1
                cond.notify()

    p = start(play, 1)
    play(0)
    p.join(PATIENCE)
    assert turn.value == 2 * rounds


@parallel
def test_many_waiters(mp: Context, start: Start, cond: Handle) -> None:
    """More than a cache line of them; the cells of those who left are used again."""
    ready, woken = mp.Semaphore(0), mp.Queue()

    def many() -> None:
        threads = [mp.Thread(target=wait_and_tell, args=(cond, ready, woken, i)) for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for _ in range(2):
        p = start(many)
        for _ in range(40):
            assert ready.acquire(timeout=PATIENCE)
        with cond:
            cond.notify_all()
        assert {woken.get(timeout=PATIENCE) for _ in range(40)} == set(range(40))
        p.join(PATIENCE)


def notify_it(cond: Handle) -> bool:
    with cond:
        cond.notify()
    return True


@parallel
def test_into_a_pool(mp: Context, waiters: Waiters, cond: Handle) -> None:
    waiter = waiters.add()
    with mp.Pool(1) as pool:
        assert pool.apply(notify_it, (cond,)) is True
    assert waiter.result(PATIENCE) is True


@parallel
def test_through_a_queue(mp: Context, start: Start, waiters: Waiters, cond: Handle) -> None:
    waiter, queue = waiters.add(), mp.Queue()
    p = start(lambda: notify_it(queue.get()))
    queue.put(cond)
    assert p.result(PATIENCE) is True
    assert waiter.result(PATIENCE) is True


def test_pickled_it_is_the_same_with_the_same_lock(mp: Context) -> None:
    lock = mp.Lock()
    cond, same_lock = pickle.loads(pickle.dumps((mp.Condition(lock), lock)))
    with cond:
        assert lock.acquire(False) is False
        assert same_lock.acquire(False) is False
        cond.notify_all()
    assert lock.acquire(False) is True


def test_it_says_how_it_is(mp: Context) -> None:
    lock = mp.Lock()
    assert lock.name in repr(mp.Condition(lock))
    assert "0 waiting" in repr(mp.Condition(lock))


@pytest.mark.lacks("parallel")
def test_in_serial_nobody_could_notify(cond: Handle) -> None:
    with cond:
        with pytest.raises(allcores.WouldBlockForever):
            cond.wait()
        with pytest.raises(allcores.WouldBlockForever):
            cond.wait_for(lambda: False)
        assert cond.wait(PATIENCE) is False
        assert cond.wait_for(lambda: 0, PATIENCE) == 0
        assert cond.wait_for(lambda: 1) == 1
