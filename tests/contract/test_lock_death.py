"""A lock whose holder died: nobody waits for it for ever."""

import os
import pickle
import signal
from collections.abc import Callable

import pytest

import allcores

from . import jobs
from .kit import IMPATIENT, PATIENCE, SHORT, Context, Handle

Start = Callable[..., Handle]
pytestmark = pytest.mark.needs("kills")


@pytest.fixture(params=["Lock", "RLock"])
def lock(mp: Context, request: pytest.FixtureRequest) -> Handle:
    return getattr(mp, request.param)()


def start_holder(mp: Context, start: Start, lock: Handle) -> Handle:
    held = mp.Event()
    holder = start(jobs.hold_until_killed, lock, held, mp.Event())
    assert held.wait(PATIENCE)
    return holder


def kill(process: Handle) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)


def test_every_later_acquire_raises(mp: Context, start: Start, lock: Handle) -> None:
    holder = start_holder(mp, start, lock)
    kill(holder)
    for args, kwargs in (((), {}), *IMPATIENT):
        with pytest.raises(allcores.OwnerDied, match=str(holder.pid)) as caught:
            lock.acquire(*args, **kwargs)
        assert caught.value.pid == holder.pid
    with pytest.raises(allcores.OwnerDied), lock:
        pass


def test_in_other_processes_too(mp: Context, start: Start, lock: Handle) -> None:
    kill(start_holder(mp, start, lock))
    for _ in range(2):
        with pytest.raises(allcores.OwnerDied):
            start(lock.acquire).result(PATIENCE)


def test_those_who_wait_are_told(mp: Context, start: Start, lock: Handle) -> None:
    holder = start_holder(mp, start, lock)
    ready = mp.Semaphore(0)

    def wait_for_it() -> None:
        ready.release()
        lock.acquire()

    waiting = [start(wait_for_it) for _ in range(3)]
    for _ in waiting:
        assert ready.acquire(timeout=PATIENCE)
    waiting[0].join(SHORT)
    kill(holder)
    for p in waiting:
        with pytest.raises(allcores.OwnerDied) as caught:
            p.result(PATIENCE)
        assert caught.value.pid == holder.pid


def test_a_waiting_thread_is_told(mp: Context, start: Start, lock: Handle) -> None:
    holder = start_holder(mp, start, lock)
    thread = mp.Thread(target=lock.acquire)
    thread.start()
    thread.join(SHORT)
    assert thread.is_alive()
    kill(holder)
    with pytest.raises(allcores.OwnerDied):
        thread.result(PATIENCE)


def test_recover_makes_it_usable(mp: Context, start: Start, lock: Handle) -> None:
    for _ in range(3):
        kill(start_holder(mp, start, lock))
        with pytest.raises(allcores.OwnerDied):
            lock.acquire()
        lock.recover()
        assert lock.acquire(timeout=PATIENCE) is True
        lock.release()
        assert start(jobs.acquire_and_release, lock).result(PATIENCE) is True


def test_recover_of_a_sound_lock_changes_nothing(start: Start, lock: Handle) -> None:
    lock.recover()
    with lock:
        lock.recover()
        assert start(lock.acquire, False).result(PATIENCE) is False
    assert lock.acquire(timeout=PATIENCE) is True
    lock.release()


def test_a_waiter_that_is_killed_harms_nobody(mp: Context, start: Start, lock: Handle) -> None:
    ready = mp.Event()

    def wait_for_it() -> None:
        ready.set()
        lock.acquire()

    with lock:
        waiter = start(wait_for_it)
        assert ready.wait(PATIENCE)
        waiter.join(SHORT)
        kill(waiter)
    assert start(lock.acquire, True, PATIENCE).result(PATIENCE) is True


def test_a_values_lock_too(mp: Context, start: Start) -> None:
    value = mp.Value("i", 5)
    kill(start_holder(mp, start, value.get_lock()))
    with pytest.raises(allcores.OwnerDied):
        value.get_lock().acquire()
    value.get_lock().recover()
    with value.get_lock():
        value.value += 1
    assert value.value == 6


def test_the_error_travels_with_its_fields(mp: Context, start: Start, lock: Handle) -> None:
    kill(start_holder(mp, start, lock))
    with pytest.raises(allcores.OwnerDied) as caught:
        lock.acquire()
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.pid, str(copy)) == (caught.value.pid, str(caught.value))


def test_a_semaphores_waiter_that_is_killed_takes_no_permit(mp: Context, start: Start) -> None:
    semaphore, ready = mp.Semaphore(0), mp.Event()

    def wait_for_it() -> None:
        ready.set()
        semaphore.acquire()

    waiter = start(wait_for_it)
    assert ready.wait(PATIENCE)
    waiter.join(SHORT)
    kill(waiter)
    semaphore.release()
    assert semaphore.acquire(timeout=PATIENCE) is True


def test_an_events_waiter_that_is_killed_harms_nobody(mp: Context, start: Start) -> None:
    event, ready = mp.Event(), mp.Semaphore(0)

    def wait_for_it() -> bool:
        ready.release()
        return bool(event.wait(PATIENCE))

    victim, other = start(wait_for_it), start(wait_for_it)
    for _ in range(2):
        assert ready.acquire(timeout=PATIENCE)
    victim.join(SHORT)
    kill(victim)
    event.set()
    assert other.result(PATIENCE) is True
