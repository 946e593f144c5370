"""Barriers where somebody dies, is stopped or interrupted: the others do not wait for ever."""

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle
from .test_barrier import until_waiting

Start = Callable[..., Handle]
pytestmark = pytest.mark.needs("kills")


def wait_and_say(barrier: Handle) -> str:
    """How the wait ended; of a broken one, the text and after how many seconds."""
    try:
        barrier.wait()
    except threading.BrokenBarrierError as error:
        return str(error)
    return "passed"


def kill(process: Handle) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)


def test_a_waiting_process_is_killed(mp: Context, start: Start) -> None:
    barrier = mp.Barrier(4)
    victim, *others = (start(wait_and_say, barrier) for _ in range(3))
    until_waiting(barrier, 3)
    kill(victim)
    for p in others:
        told = p.result(PATIENCE)
        assert str(victim.pid) in told
        assert victim.name in told
        assert "reset" in told
    assert barrier.broken
    with pytest.raises(threading.BrokenBarrierError, match=str(victim.pid)):
        barrier.wait()


def test_killed_on_its_way(mp: Context, start: Start) -> None:
    barrier, there = mp.Barrier(3), mp.Semaphore(0)

    def be_late(barrier: Handle) -> None:
        there.release()
        jobs.wait_for(mp.Event())
        barrier.wait()

    victim, other = start(be_late, barrier), start(wait_and_say, barrier)
    assert there.acquire(timeout=PATIENCE)
    until_waiting(barrier, 1)
    kill(victim)
    assert str(victim.pid) in other.result(PATIENCE)


@pytest.mark.parametrize("how", ["raises", "exits"])
def test_one_that_fails_on_its_way(mp: Context, start: Start, how: str) -> None:
    barrier = mp.Barrier(2)
    other = start(wait_and_say, barrier)
    until_waiting(barrier, 1)
    job = (lambda: barrier.no_such_thing) if how == "raises" else (lambda: (barrier, jobs.die_by_exit(3)))
    failing = start(job)
    assert str(failing.pid) in other.result(PATIENCE)


def test_one_that_returned_without_waiting_breaks_nothing(mp: Context, start: Start) -> None:
    barrier = mp.Barrier(2)
    other = start(wait_and_say, barrier)
    until_waiting(barrier, 1)
    start(jobs.nothing, barrier).join(PATIENCE)
    assert not barrier.broken
    barrier.wait(PATIENCE)
    assert other.result(PATIENCE) == "passed"


def test_one_that_knows_nothing_of_it_breaks_nothing(mp: Context, start: Start) -> None:
    barrier, gate = mp.Barrier(2), mp.Event()
    other, stranger = start(wait_and_say, barrier), start(jobs.wait_for, gate)
    until_waiting(barrier, 1)
    kill(stranger)
    barrier.wait(PATIENCE)
    assert other.result(PATIENCE) == "passed"


def test_killed_in_the_action(mp: Context, start: Start) -> None:
    inside = mp.Queue()

    def action() -> None:
        inside.put(os.getpid())
        jobs.wait_for(mp.Event())

    barrier = mp.Barrier(2, action)
    both = {p.pid: p for p in [start(wait_and_say, barrier) for _ in range(2)]}
    victim = both.pop(inside.get(timeout=PATIENCE))
    kill(victim)
    (other,) = both.values()
    assert str(victim.pid) in other.result(PATIENCE)


def test_reset_mends_it(mp: Context, start: Start) -> None:
    barrier = mp.Barrier(2)
    for _ in range(2):
        victim = start(wait_and_say, barrier)
        until_waiting(barrier, 1)
        kill(victim)
        assert barrier.broken
        barrier.reset()
        other = start(wait_and_say, barrier)
        barrier.wait(PATIENCE)
        assert other.result(PATIENCE) == "passed"
    barrier.abort()
    with pytest.raises(threading.BrokenBarrierError) as caught:
        barrier.wait()
    assert "died" not in str(caught.value)  # long ago


def test_one_that_comes_back_dies_after_a_success(mp: Context, start: Start) -> None:
    """All of its places are of phases that have ended; but it holds the barrier, so it might have come."""
    barrier = mp.Barrier(2)

    def wait_twice() -> None:
        barrier.wait()
        barrier.wait()

    victim = start(wait_twice)
    barrier.wait(PATIENCE)
    until_waiting(barrier, 1)
    kill(victim)
    with pytest.raises(threading.BrokenBarrierError, match=str(victim.pid)):
        barrier.wait()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_stopped_waiter_learns_of_the_resets(mp: Context, start: Start, times: int) -> None:
    """Of the end of its own phase, however many have ended by the time that it goes on."""
    barrier = mp.Barrier(2)
    p = start(wait_and_say, barrier)
    until_waiting(barrier, 1)
    os.kill(p.pid, signal.SIGSTOP)
    for _ in range(times):
        barrier.reset()
    os.kill(p.pid, signal.SIGCONT)
    assert "broken" in p.result(PATIENCE)


@pytest.mark.parametrize("resets", [0, 1, 2])
def test_a_stopped_waiter_learns_of_the_success(mp: Context, start: Start, resets: int) -> None:
    barrier = mp.Barrier(2)
    p = start(wait_and_say, barrier)
    until_waiting(barrier, 1)
    os.kill(p.pid, signal.SIGSTOP)
    barrier.wait(PATIENCE)
    for _ in range(resets):
        barrier.reset()
    if resets == 0:
        barrier.abort()
        barrier.reset()
    os.kill(p.pid, signal.SIGCONT)
    assert p.result(PATIENCE) == "passed"


def test_ctrl_c_breaks_it_for_the_others(mp: Context, start: Start) -> None:
    barrier = mp.Barrier(3)

    def wait_for_ctrl_c() -> str:
        try:
            barrier.wait()
        except KeyboardInterrupt:
            return "interrupted"
        return "passed"

    p, other = start(wait_for_ctrl_c), start(wait_and_say, barrier)
    until_waiting(barrier, 2)
    os.kill(p.pid, signal.SIGINT)
    assert p.result(PATIENCE) == "interrupted"
    assert "broken" in other.result(PATIENCE)


def test_ctrl_c_in_the_main_thread(mp: Context) -> None:
    barrier = mp.Barrier(2)

    def interrupt() -> None:
        until_waiting(barrier, 1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        barrier.wait(PATIENCE)
    thread.join()
    assert barrier.broken


def test_kills_while_a_barrier_is_passed(mp: Context, start: Start) -> None:
    """Whichever moment it is: everybody comes out, in lockstep or with the error."""
    for pause in (0, 0.001, 0.002, 0.005):
        barrier, count = mp.Barrier(2), mp.Value("i", 0)

        def on_and_on(barrier: Handle = barrier, count: Handle = count) -> str:
            while (told := wait_and_say(barrier)) == "passed":
                count.add(1)
            return told

        victim, other = start(on_and_on), start(on_and_on)
        while count.value < 20:
            time.sleep(SHORT / 10)
        time.sleep(pause)
        kill(victim)
        assert str(victim.pid) in other.result(PATIENCE)
