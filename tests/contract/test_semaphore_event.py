"""Semaphore, BoundedSemaphore and Event."""

from collections.abc import Callable

import pytest

from .kit import IMPATIENT, PATIENCE, SHORT, Context, Handle

Start = Callable[..., Handle]


@pytest.fixture(params=["Semaphore", "BoundedSemaphore"])
def kind(mp: Context, request: pytest.FixtureRequest) -> Handle:
    return getattr(mp, request.param)


def test_as_many_as_there_are_permits(kind: Handle) -> None:
    semaphore = kind(2)
    assert semaphore.acquire() is True
    assert semaphore.acquire(False) is True
    for args, kwargs in IMPATIENT:
        assert semaphore.acquire(*args, **kwargs) is False
    semaphore.release()
    assert semaphore.acquire(timeout=SHORT) is True


def test_one_permit_by_default(kind: Handle) -> None:
    semaphore = kind()
    with semaphore:
        assert semaphore.acquire(False) is False
    assert semaphore.acquire(False) is True


def test_a_negative_number_of_permits(kind: Handle) -> None:
    with pytest.raises(ValueError, match=r"-1|negative|0 or more"):
        kind(-1)


def test_a_semaphore_may_grow(mp: Context) -> None:
    semaphore = mp.Semaphore(0)
    for _ in range(3):
        semaphore.release()
    assert [semaphore.acquire(False) for _ in range(4)] == [True, True, True, False]


def test_a_bounded_semaphore_may_not(mp: Context) -> None:
    semaphore = mp.BoundedSemaphore(2)
    with pytest.raises(ValueError, match="release"):
        semaphore.release()
    semaphore.acquire()
    semaphore.release()
    with pytest.raises(ValueError, match="release"):
        semaphore.release()
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]


@pytest.mark.needs("parallel")
def test_no_more_than_the_permits_at_a_time(mp: Context, start: Start, kind: Handle) -> None:
    semaphore, inside, peak = kind(2), mp.Value("i", 0), mp.Queue()

    def job() -> None:
        for _ in range(200):
            with semaphore:
                peak.put(inside.add(1))
                inside.add(-1)

    for p in [start(job) for _ in range(4)]:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert {peak.get() for _ in range(800)} <= {1, 2}
    assert inside.value == 0


@pytest.mark.needs("parallel")
def test_each_release_wakes_one(mp: Context, start: Start) -> None:
    semaphore = mp.Semaphore(0)
    waiting = [start(semaphore.acquire) for _ in range(4)]
    for _ in waiting:
        semaphore.release()
    assert [p.result(PATIENCE) for p in waiting] == [True] * 4
    assert semaphore.acquire(False) is False


def test_permits_are_shared(start: Start, kind: Handle) -> None:
    semaphore = kind(1)
    assert semaphore.acquire() is True
    assert start(semaphore.acquire, False).result(PATIENCE) is False
    start(semaphore.release).join(PATIENCE)
    assert semaphore.acquire(False) is True


def test_an_event(mp: Context) -> None:
    event = mp.Event()
    assert event.is_set() is False
    assert event.wait(0) is event.wait(-1) is event.wait(SHORT) is False
    event.set()
    event.set()
    assert event.is_set() is True
    assert event.wait() is event.wait(0) is event.wait(timeout=PATIENCE) is True
    event.clear()
    event.clear()
    assert event.is_set() is False
    assert event.wait(timeout=0) is False


def test_an_event_set_elsewhere(mp: Context, start: Start) -> None:
    event = mp.Event()
    start(event.set).join(PATIENCE)
    assert event.is_set() is True
    start(event.clear).join(PATIENCE)
    assert event.is_set() is False


@pytest.mark.needs("parallel")
def test_an_event_wakes_all_who_wait(mp: Context, start: Start) -> None:
    event, ready = mp.Event(), mp.Semaphore(0)

    def wait_for_it() -> bool:
        ready.release()
        return bool(event.wait(PATIENCE))

    waiting = [start(wait_for_it) for _ in range(4)]
    for _ in waiting:
        assert ready.acquire(timeout=PATIENCE)
    waiting[0].join(SHORT)
    assert all(p.is_alive() for p in waiting)
    event.set()
    assert [p.result(PATIENCE) for p in waiting] == [True] * 4


@pytest.mark.needs("parallel")
def test_an_event_again_and_again(mp: Context, start: Start) -> None:
    there, back = mp.Event(), mp.Event()

    def answer() -> None:
        for _ in range(200):
            there.wait(PATIENCE)
            there.clear()
            back.set()

    p = start(answer)
    for _ in range(200):
        there.set()
        assert back.wait(PATIENCE) is True
        back.clear()
    p.join(PATIENCE)
    assert p.exitcode == 0
