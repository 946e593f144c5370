"""Barrier: all parties wait for each other."""

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from .kit import PATIENCE, SHORT, Context, Handle

Start = Callable[..., Handle]
parallel = pytest.mark.needs("parallel")
N = 3


@pytest.fixture
def together(start: Start) -> Callable[..., list[Any]]:
    """Runs a function N times at once, here and in N - 1 others; what each of them returned."""

    def run(job: Callable[[], Any]) -> list[Any]:
        others = [start(job) for _ in range(N - 1)]
        return [job(), *(p.result(PATIENCE) for p in others)]

    return run


Together = Callable[[Callable[[], Any]], list[Any]]


def wait_or_broken(barrier: Handle, *args: float) -> str:
    try:
        barrier.wait(*args)
    except threading.BrokenBarrierError:
        return "broken"
    return "passed"


def until_waiting(barrier: Handle, n: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while barrier.n_waiting < n:  # no event tells of an arrival
        assert time.monotonic() < deadline
        time.sleep(0.001)


@parallel
@pytest.mark.parametrize("passes", [1, 10])
def test_in_lockstep(mp: Context, together: Together, passes: int) -> None:
    barrier, before, after = mp.Barrier(N), mp.Value("i", 0), mp.Value("i", 0)

    def job() -> None:
        for i in range(passes):
            before.add(1)
            assert after.value == i * N
            barrier.wait()
            after.add(1)
            assert before.value == (i + 1) * N
            barrier.wait()

    together(job)
    assert barrier.n_waiting == 0
    assert not barrier.broken


@parallel
def test_each_party_has_a_number_of_its_own(mp: Context, together: Together) -> None:
    barrier = mp.Barrier(N)
    rounds = together(lambda: [barrier.wait() for _ in range(20)])
    for numbers in zip(*rounds, strict=True):
        assert sorted(numbers) == list(range(N))


@parallel
def test_the_action_is_called_once_before_they_go_on(mp: Context, together: Together) -> None:
    count = mp.Value("i", 0)
    barrier = mp.Barrier(N, action=lambda: count.add(1))

    def job() -> list[int]:
        seen = []
        for _ in range(5):
            barrier.wait()
            seen.append(count.value)
            barrier.wait()
        return seen

    assert together(job) == [[1, 3, 5, 7, 9]] * N


@parallel
def test_an_action_that_fails_breaks_it(mp: Context, together: Together) -> None:
    def fail() -> None:
        raise KeyError("the action")

    barrier = mp.Barrier(N, fail)

    def job() -> str:
        try:
            return wait_or_broken(barrier)
        except KeyError:
            return "the action's error"

    assert sorted(together(job)) == ["broken"] * (N - 1) + ["the action's error"]
    assert barrier.broken


@parallel
def test_abort(mp: Context, together: Together) -> None:
    barrier = mp.Barrier(N)

    def job() -> str:
        if barrier.wait() == N // 2:
            barrier.abort()
            return "aborted"
        return wait_or_broken(barrier)

    assert sorted(together(job)) == ["aborted"] + ["broken"] * (N - 1)
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError, match="reset"):
        barrier.wait(PATIENCE)


@parallel
def test_reset_frees_those_who_wait(mp: Context, together: Together) -> None:
    barrier = mp.Barrier(N)

    def job() -> str:
        outcome = "reset"
        if barrier.wait() == N // 2:
            until_waiting(barrier, N - 1)
            barrier.reset()
        else:
            outcome = wait_or_broken(barrier)
        barrier.wait()
        return outcome

    assert sorted(together(job)) == ["broken"] * (N - 1) + ["reset"]
    assert not barrier.broken


@parallel
def test_abort_and_reset(mp: Context, together: Together) -> None:
    barrier, other = mp.Barrier(N), mp.Barrier(N)

    def job() -> str:
        outcome = "aborted"
        if barrier.wait() == N // 2:
            barrier.abort()
        else:
            outcome = wait_or_broken(barrier)
        if other.wait() == N // 2:
            barrier.reset()
        other.wait()
        barrier.wait()
        return outcome

    assert sorted(together(job)) == ["aborted"] + ["broken"] * (N - 1)


@parallel
@pytest.mark.parametrize("default", [False, True])
def test_a_timeout_breaks_it_for_all(mp: Context, together: Together, default: bool) -> None:
    barrier = mp.Barrier(N, timeout=SHORT if default else None)
    late, args = mp.Event(), () if default else (SHORT,)

    def job() -> str:
        try:
            number = barrier.wait(PATIENCE)
        except threading.BrokenBarrierError:  # not with such a timeout
            return "broken too early"
        if number == N // 2:
            late.wait(PATIENCE)
            return wait_or_broken(barrier, *args)
        outcome = wait_or_broken(barrier, *args)
        late.set()
        return outcome

    assert together(job) == ["broken"] * N


@parallel
def test_more_threads_than_parties(mp: Context, start: Start) -> None:
    barrier, left = mp.Barrier(2), mp.Value("i", 200)

    def wait_on_and_on() -> list[int]:
        numbers = []
        while left.add(-1) >= 0:
            numbers.append(barrier.wait(PATIENCE))
        return numbers

    numbers = [number for p in [start(wait_on_and_on) for _ in range(4)] for number in p.result(PATIENCE)]
    assert (numbers.count(0), numbers.count(1)) == (100, 100)


@parallel
def test_one_more_than_the_parties_does_not_break_their_phase(mp: Context, start: Start) -> None:
    """It comes while the action runs, with a timeout: its time is for its own phase."""
    inside, gate = mp.Event(), mp.Event()

    def action() -> None:
        inside.set()
        gate.wait(PATIENCE)

    barrier = mp.Barrier(2, action)
    parties = [start(wait_or_broken, barrier) for _ in range(2)]
    assert inside.wait(PATIENCE)
    surplus = start(wait_or_broken, barrier, SHORT)
    surplus.join(3 * SHORT)
    gate.set()
    assert [p.result(PATIENCE) for p in parties] == ["passed"] * 2
    assert surplus.result(PATIENCE) == "broken"


@parallel
def test_a_reset_while_the_action_runs_changes_nothing(mp: Context, start: Start) -> None:
    inside, gate = mp.Event(), mp.Event()

    def action() -> None:
        inside.set()
        gate.wait(PATIENCE)

    barrier = mp.Barrier(2, action)
    parties = [start(wait_or_broken, barrier) for _ in range(2)]
    assert inside.wait(PATIENCE)
    barrier.reset()
    gate.set()
    assert [p.result(PATIENCE) for p in parties] == ["passed"] * 2


@parallel
def test_many_parties(mp: Context, start: Start) -> None:
    barrier = mp.Barrier(60)

    def many() -> list[int]:
        threads = [mp.Thread(target=barrier.wait) for _ in range(20)]
        for thread in threads:
            thread.start()
        return [thread.result(PATIENCE) for thread in threads]

    numbers = [number for p in [start(many) for _ in range(3)] for number in p.result(PATIENCE)]
    assert sorted(numbers) == list(range(60))


def test_one_party_alone(mp: Context) -> None:
    seen: list[int] = []
    barrier = mp.Barrier(1, lambda: seen.append(1))
    assert [barrier.wait(), barrier.wait(0), barrier.wait(-1)] == [0, 0, 0]
    assert seen == [1, 1, 1]
    barrier.abort()
    assert wait_or_broken(barrier) == "broken"
    barrier.reset()
    assert barrier.wait() == 0


@pytest.mark.lacks("cluster")  # each step is a round trip
def test_tens_of_thousands_of_resets(mp: Context) -> None:
    """The tags of its places are of 16 bits."""
    barrier = mp.Barrier(1)
    assert barrier.wait() == 0
    for resets in (1 << 15, (1 << 16) - 1, 1 << 16):
        for _ in range(resets):
            barrier.reset()
        assert barrier.n_waiting == 0
        assert barrier.wait(0) == 0


def test_what_it_says_of_itself(mp: Context) -> None:
    barrier = mp.Barrier(2)
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (2, 0, False)
    assert "0 of 2 waiting" in repr(barrier)
    barrier.abort()
    assert barrier.broken
    assert "broken" in repr(barrier)
    barrier.reset()
    assert not barrier.broken


def test_it_does_not_wait_without_a_timeout_to_wait(mp: Context) -> None:
    barrier = mp.Barrier(2)
    assert wait_or_broken(barrier, 0) == "broken"
    assert barrier.broken
    barrier.reset()
    assert wait_or_broken(mp.Barrier(2, timeout=0), *()) == "broken"


@pytest.mark.parametrize("parties", [0, -1, (1 << 20) + 1])
def test_a_bad_number_of_parties(mp: Context, parties: int) -> None:
    with pytest.raises(ValueError, match="parties"):
        mp.Barrier(parties)


@pytest.mark.parametrize("parties", [1.0, "2", None])
def test_no_number_of_parties(mp: Context, parties: Any) -> None:
    with pytest.raises(TypeError, match="parties"):
        mp.Barrier(parties)


@parallel
def test_the_action_and_the_timeout_travel(mp: Context, start: Start) -> None:
    count = mp.Value("i", 0)
    barrier, queue = mp.Barrier(2, lambda: count.add(1), SHORT), mp.Queue()

    def job() -> str:
        received = queue.get()
        received.wait(PATIENCE)  # whichever comes last calls the action
        return wait_or_broken(received)

    p = start(job)
    queue.put(barrier)
    barrier.wait(PATIENCE)
    assert p.result(PATIENCE) == "broken"
    assert count.value == 1


def test_pickled_it_is_the_same(mp: Context) -> None:
    barrier = mp.Barrier(2, timeout=0)
    same = pickle.loads(pickle.dumps(barrier))
    assert wait_or_broken(same) == "broken"
    assert barrier.broken


@pytest.mark.lacks("parallel")
def test_in_serial_nobody_else_comes(mp: Context) -> None:
    barrier = mp.Barrier(2)
    with pytest.raises(allcores.WouldBlockForever):
        barrier.wait()
    assert not barrier.broken
    assert wait_or_broken(barrier, PATIENCE) == "broken"
