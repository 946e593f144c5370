"""Semaphore, BoundedSemaphore and Event."""

from collections.abc import Callable

import pytest

from . import jobs
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


def test_how_many_permits_are_left(mp: Context, kind: Handle) -> None:
    semaphore = kind(3)
    assert semaphore.get_value() == 3
    semaphore.acquire()
    semaphore.acquire()
    assert semaphore.get_value() == 1
    assert "value=1" in repr(semaphore)
    semaphore.release(2)
    assert semaphore.get_value() == 3


def test_a_bounded_release_of_several_is_all_or_none(mp: Context) -> None:
    semaphore = mp.BoundedSemaphore(3)
    semaphore.acquire()
    semaphore.acquire()
    with pytest.raises(ValueError, match="more often"):
        semaphore.release(3)
    assert semaphore.get_value() == 1
    semaphore.release(2)
    for n in (0, -1):
        with pytest.raises(ValueError, match="n must be"):
            semaphore.release(n)


@pytest.mark.parametrize("value", [1.0, "2", None])
def test_no_number_of_permits(kind: Handle, value: object) -> None:
    with pytest.raises(TypeError, match="value must be an int"):
        kind(value)


def test_without_permits_nobody_enters(kind: Handle) -> None:
    assert kind(0).acquire(timeout=SHORT) is False


def test_a_thousand_permits(mp: Context, start: Start) -> None:
    semaphore = mp.BoundedSemaphore(1_000)
    for _ in range(600):
        semaphore.acquire()
    assert start(lambda: [semaphore.acquire(False) for _ in range(401)]).result(PATIENCE) == [True] * 400 + [False]
    for _ in range(600):
        semaphore.release()
    assert semaphore.get_value() >= 600
    with pytest.raises(ValueError, match="1048576"):
        mp.BoundedSemaphore((1 << 20) + 1)


# The permits of the dead.


@pytest.fixture
def take_and_wait(mp: Context, start: Start) -> Callable[..., Handle]:
    def start_holder(semaphore: Handle, n: int = 1) -> Handle:
        held = mp.Event()

        def hold() -> None:
            for _ in range(n):
                semaphore.acquire()
            held.set()
            jobs.wait_for(mp.Event())

        holder = start(hold)
        assert held.wait(PATIENCE)
        return holder

    return start_holder


def kill(process: Handle) -> None:
    process.kill()
    process.join(PATIENCE)


@pytest.mark.needs("kills")
def test_acquired_by_who_has_ended_and_released_by_another(mp: Context, start: Start) -> None:
    """As with the standard's. What ended well is no death, though its permit need not be waited for."""
    semaphore = mp.BoundedSemaphore(2)
    start(semaphore.acquire).join(PATIENCE)
    semaphore.release()
    with pytest.raises(ValueError, match="more often"):
        semaphore.release()
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]


@pytest.mark.needs("kills")
def test_permits_of_the_dead_are_free(mp: Context, take_and_wait: Callable[..., Handle]) -> None:
    semaphore = mp.BoundedSemaphore(1_000)
    semaphore.acquire()
    holder = take_and_wait(semaphore, 500)
    assert semaphore.get_value() == 499
    kill(holder)
    assert semaphore.get_value() == 999
    for _ in range(999):
        assert semaphore.acquire(False) is True
    assert semaphore.acquire(False) is False
    semaphore.release(1_000)
    with pytest.raises(ValueError, match="more often"):
        semaphore.release()


@pytest.mark.needs("kills")
def test_permits_of_the_dead_for_those_who_wait(
    mp: Context, start: Start, take_and_wait: Callable[..., Handle]
) -> None:
    semaphore, ready = mp.BoundedSemaphore(3), mp.Semaphore(0)
    holder = take_and_wait(semaphore, 3)

    def enter() -> str:
        ready.release()
        with semaphore:
            return "in"

    waiting = [start(enter) for _ in range(4)]
    for _ in waiting:
        assert ready.acquire(timeout=PATIENCE)
    waiting[0].join(SHORT)
    kill(holder)
    assert [p.result(PATIENCE) for p in waiting] == ["in"] * 4
    assert semaphore.get_value() == 3


@pytest.mark.needs("kills")
def test_a_waiter_that_is_killed_takes_no_permit(mp: Context, start: Start) -> None:
    semaphore, ready = mp.BoundedSemaphore(1), mp.Semaphore(0)

    def enter() -> bool:
        ready.release()
        return bool(semaphore.acquire())

    semaphore.acquire()
    victim, other = start(enter), start(enter)
    for _ in range(2):
        assert ready.acquire(timeout=PATIENCE)
    victim.join(SHORT)
    kill(victim)
    semaphore.release()
    assert other.result(PATIENCE) is True


@pytest.mark.needs("kills")
def test_a_permit_released_by_another_is_not_freed_twice(mp: Context, take_and_wait: Callable[..., Handle]) -> None:
    semaphore = mp.BoundedSemaphore(2)
    holder = take_and_wait(semaphore)
    semaphore.release()  # for the holder
    assert semaphore.get_value() == 2
    kill(holder)
    assert semaphore.get_value() == 2
    with pytest.raises(ValueError, match="more often"):
        semaphore.release()


@pytest.mark.needs("kills")
def test_permits_of_a_plain_semaphore_die_with_their_holder(mp: Context, take_and_wait: Callable[..., Handle]) -> None:
    semaphore = mp.Semaphore(2)
    kill(take_and_wait(semaphore))
    assert semaphore.get_value() == 1
    semaphore.release()  # as the standard says: by whoever knows
    assert semaphore.get_value() == 2
