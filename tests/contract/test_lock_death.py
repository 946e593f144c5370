"""A lock whose holder died: nobody waits for it for ever."""

import os
import pickle
import signal
import threading
import time
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
    assert vars(copy) == vars(caught.value)
    assert str(copy) == str(caught.value)
    with pytest.raises(allcores.OwnerDied) as from_afar:
        start(lock.acquire).result(PATIENCE)
    assert abs(from_afar.value.held_since - caught.value.held_since) < 1
    assert from_afar.value.name == caught.value.name


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


def test_it_says_who_and_since_when(mp: Context, start: Start, lock: Handle) -> None:
    begin = time.time()
    holder = start_holder(mp, start, lock)
    holding = time.time()
    kill(holder)
    for _ in range(2):
        with pytest.raises(allcores.OwnerDied) as caught:
            lock.acquire()
        error = caught.value
        assert (error.pid, error.name, error.lock) == (holder.pid, holder.name, lock.name)
        assert begin - 0.1 <= error.held_since <= holding + 0.1
        for word in (str(holder.pid), holder.name, lock.name, "recover()", time.strftime("%H:")):
            assert word in str(error)


@pytest.mark.parametrize("name", ["worker of the night", "\u00e4" * 40, "x" + "\u00e4" * 40, "\U0001f512" * 9, ""])
def test_names_of_any_kind(mp: Context, lock: Handle, name: str) -> None:
    """Long ones are cut: never in the middle of a character."""
    held, gate = mp.Event(), mp.Event()
    holder = mp.Process(target=jobs.hold_until_killed, args=(lock, held, gate), name=name)
    holder.start()
    assert held.wait(PATIENCE)
    kill(holder)
    with pytest.raises(allcores.OwnerDied) as caught:
        lock.acquire()
    assert holder.name.startswith(caught.value.name)
    assert len(caught.value.name.encode()) >= min(len(holder.name.encode()), 28)


def test_the_name_is_that_of_who_died_not_of_who_came_after(mp: Context, start: Start, lock: Handle) -> None:
    holder = start_holder(mp, start, lock)
    kill(holder)
    others = [start_holder(mp, start, mp.Lock()) for _ in range(2)]  # one of them has the slot of the dead
    with pytest.raises(allcores.OwnerDied) as caught:
        lock.acquire()
    assert (caught.value.pid, caught.value.name) == (holder.pid, holder.name)
    for other in others:
        kill(other)


@pytest.fixture(params=["Lock", "RLock"])
def handed_on(mp: Context, request: pytest.FixtureRequest) -> Handle:
    return getattr(mp, request.param)(on_owner_death="release")


def test_handed_on_instead(mp: Context, start: Start, handed_on: Handle) -> None:
    for _ in range(2):
        kill(start_holder(mp, start, handed_on))
        assert handed_on.acquire(False) is True
        handed_on.release()
        assert handed_on.recover() is False
        assert start(jobs.acquire_and_release, handed_on).result(PATIENCE) is True


def test_handed_on_to_those_who_wait(mp: Context, start: Start, handed_on: Handle) -> None:
    holder, ready = start_holder(mp, start, handed_on), mp.Semaphore(0)

    def wait_for_it() -> bool:
        ready.release()
        with handed_on:
            return True

    waiting = [start(wait_for_it) for _ in range(3)]
    for _ in waiting:
        assert ready.acquire(timeout=PATIENCE)
    waiting[0].join(SHORT)
    kill(holder)
    assert [p.result(PATIENCE) for p in waiting] == [True] * 3


def test_handed_on_however_often_it_was_acquired(mp: Context, start: Start) -> None:
    lock, held, gate = mp.RLock(on_owner_death="release"), mp.Event(), mp.Event()

    def hold_twice() -> None:
        with lock:
            jobs.hold_until_killed(lock, held, gate)

    holder = start(hold_twice)
    assert held.wait(PATIENCE)
    kill(holder)
    with lock:
        pass
    assert start(lock.acquire, False).result(PATIENCE) is True


@pytest.mark.parametrize("what", ["", "free", None, 1])
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_bad_on_owner_death(mp: Context, kind: str, what: object) -> None:
    with pytest.raises(ValueError, match="'poison' or 'release'"):
        getattr(mp, kind)(on_owner_death=what)


def test_values_and_arrays_say_so_until_recovered(mp: Context, start: Start) -> None:
    value, array = mp.Value("i", 5), mp.Array("i", [1, 2, 3])

    def increment() -> None:
        nonlocal value
        value += 1

    def set_item() -> None:
        array[0] = 7

    def set_slice() -> None:
        array[:2] = [8, 9]

    of_value = (lambda: value.value, lambda: setattr(value, "value", 1), increment, lambda: value.add(1))
    of_array = (lambda: array[0], set_item, lambda: array[:], set_slice, lambda: array.add(0, 1), lambda: list(array))
    for thing, uses in ((value, of_value), (array, of_array)):
        holder = start_holder(mp, start, thing.get_lock())
        kill(holder)
        for use in uses:
            with pytest.raises(allcores.OwnerDied) as caught:
                use()
            assert (caught.value.pid, caught.value.name) == (holder.pid, holder.name)
        assert thing.get_lock().recover() is True
        for use in uses:
            use()
    assert (value.value, array[:]) == (3, [9, 9, 3])


def test_a_thread_that_ended_with_an_rlock(mp: Context, start: Start) -> None:
    """Nobody could release it: as if its process had died, for every kind of acquire."""
    lock = mp.RLock()
    ready = threading.Event()

    def wait_for_it() -> None:
        ready.set()
        lock.acquire()

    def end_with_it() -> None:
        lock.acquire()
        assert ready.wait(PATIENCE)

    ending, waiting = mp.Thread(target=end_with_it), mp.Thread(target=wait_for_it)
    ending.start()
    waiting.start()
    ending.join()
    with pytest.raises(allcores.OwnerDied):
        waiting.result(PATIENCE)
    for args, kwargs in (((), {}), *IMPATIENT):
        with pytest.raises(allcores.OwnerDied, match=str(os.getpid())):
            lock.acquire(*args, **kwargs)
    with pytest.raises(allcores.OwnerDied):
        start(lock.acquire).result(PATIENCE)
    assert lock.recover() is True
    with lock:
        pass


@pytest.mark.parametrize("impatient", [False, True])
def test_a_thread_that_ended_is_noticed_by_the_first_who_asks(mp: Context, impatient: bool) -> None:
    lock = mp.RLock()

    def end_with_it() -> int:
        lock.acquire()
        return threading.get_native_id()

    thread = mp.Thread(target=end_with_it)
    thread.start()
    number, deadline = thread.result(PATIENCE), time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/self/task/{number}"):  # join() returns a little before the kernel's thread has ended
        assert time.monotonic() < deadline
    with pytest.raises(allcores.OwnerDied):
        lock.acquire(not impatient)


def test_a_lock_of_a_thread_that_ended_is_released_by_another(mp: Context, start: Start) -> None:
    lock = mp.Lock()
    for release in (lock.release, lambda: start(lock.release).result(PATIENCE)):
        thread = mp.Thread(target=lock.acquire)
        thread.start()
        thread.join()
        assert lock.acquire(timeout=SHORT) is False
        release()
        assert lock.acquire(timeout=PATIENCE) is True
        lock.release()
