"""Conditions where somebody dies, or is interrupted: no notification is lost, nobody waits for ever."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from .kit import PATIENCE, Context, Handle

Start = Callable[..., Handle]
pytestmark = pytest.mark.needs("kills")


@pytest.fixture(params=["Lock", "RLock by default"])
def cond(mp: Context, request: pytest.FixtureRequest) -> Handle:
    return mp.Condition(mp.Lock()) if request.param == "Lock" else mp.Condition()


def kill(process: Handle) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)


def wait_and_tell(cond: Handle, ready: Handle) -> bool:
    with cond:
        ready.release()
        return bool(cond.wait())


def start_waiter(mp: Context, start: Start, cond: Handle) -> Handle:
    ready = mp.Semaphore(0)
    waiter = start(wait_and_tell, cond, ready)
    assert ready.acquire(timeout=PATIENCE)
    with cond:  # free: it waits
        pass
    return waiter


@pytest.mark.lacks("cluster")  # once notified it has the lock, as far as is known there
def test_a_waiter_killed_before_the_notification(mp: Context, start: Start, cond: Handle) -> None:
    victim, other = (start_waiter(mp, start, cond) for _ in range(2))
    os.kill(victim.pid, signal.SIGKILL)  # its death may or may not be settled by now
    with cond:
        cond.notify()
    assert other.result(PATIENCE) is True


def test_a_waiter_killed_after_the_notification(mp: Context, start: Start, cond: Handle) -> None:
    """It had been woken, and waited for the lock."""
    victim, other = (start_waiter(mp, start, cond) for _ in range(2))
    with cond:
        cond.notify()
        victim.join(0.05)
        kill(victim)
    assert other.result(PATIENCE) is True


@pytest.mark.lacks("cluster")  # once notified it has the lock, as far as is known there
def test_a_stopped_waiter_killed_after_the_notification(mp: Context, start: Start, cond: Handle) -> None:
    """It had not woken yet."""
    victim, other = (start_waiter(mp, start, cond) for _ in range(2))
    os.kill(victim.pid, signal.SIGSTOP)
    with cond:
        cond.notify()
    kill(victim)
    assert other.result(PATIENCE) is True


@pytest.mark.parametrize("notifies", [False, True])
def test_a_notifier_killed_with_the_lock(mp: Context, start: Start, cond: Handle, notifies: bool) -> None:
    """Those who wait are told, and leave their `with` blocks with that error and no other."""
    waiting = [start_waiter(mp, start, cond) for _ in range(2)]
    held, gate = mp.Event(), mp.Event()

    def die_with_it() -> None:
        with cond:
            if notifies:
                cond.notify()
            held.set()
            gate.wait(PATIENCE)

    notifier = start(die_with_it)
    assert held.wait(PATIENCE)
    kill(notifier)
    for p in waiting:
        with pytest.raises(allcores.OwnerDied) as caught:
            p.result(PATIENCE)
        assert caught.value.pid == notifier.pid
        assert caught.value.__context__ is None


def test_the_condition_is_usable_after_recovery(mp: Context, start: Start) -> None:
    lock = mp.Lock()
    cond, held, gate = mp.Condition(lock), mp.Event(), mp.Event()

    def die_with_it() -> None:
        with lock:
            held.set()
            gate.wait(PATIENCE)

    notifier = start(die_with_it)
    assert held.wait(PATIENCE)
    kill(notifier)
    with pytest.raises(allcores.OwnerDied), cond:
        pass
    assert lock.recover() is True
    waiter = start_waiter(mp, start, cond)
    with cond:
        cond.notify()
    assert waiter.result(PATIENCE) is True


def test_a_lock_around_the_wait_keeps_its_poison(mp: Context, start: Start) -> None:
    """`with lock:` instead of `with cond:`: leaving it does not end the poison."""
    lock = mp.Lock()
    cond, ready, held, gate = mp.Condition(lock), mp.Semaphore(0), mp.Event(), mp.Event()

    def wait_in_the_lock() -> None:
        with lock:
            ready.release()
            cond.wait()

    def die_with_it() -> None:
        with lock:
            held.set()
            gate.wait(PATIENCE)

    waiter = start(wait_in_the_lock)
    assert ready.acquire(timeout=PATIENCE)
    notifier = start(die_with_it)
    assert held.wait(PATIENCE)
    kill(notifier)
    with pytest.raises(allcores.OwnerDied):
        waiter.result(PATIENCE)
    with pytest.raises(allcores.OwnerDied):
        lock.acquire()


def test_where_the_lock_is_handed_on_waiters_wait_on(mp: Context, start: Start) -> None:
    cond = mp.Condition(mp.Lock(on_owner_death="release"))
    waiter, held, gate = start_waiter(mp, start, cond), mp.Event(), mp.Event()

    def die_with_it() -> None:
        with cond:
            held.set()
            gate.wait(PATIENCE)

    holder = start(die_with_it)
    assert held.wait(PATIENCE)
    kill(holder)
    with cond:
        cond.notify()
    assert waiter.result(PATIENCE) is True


def interrupt(pid: int, cond: Handle) -> None:
    with cond:  # free: the main thread waits
        pass
    os.kill(pid, signal.SIGINT)


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_ctrl_c_while_waiting(mp: Context, start: Start, cond: Handle, timeout: float | None) -> None:
    ready = mp.Event()

    def wait_for_ctrl_c() -> str:
        try:
            with cond:
                ready.set()
                cond.wait(timeout)
        except KeyboardInterrupt:
            return "interrupted"
        return "notified"

    p = start(wait_for_ctrl_c)
    assert ready.wait(PATIENCE)
    interrupt(p.pid, cond)
    assert p.result(PATIENCE) == "interrupted"
    with cond:  # it left without the lock and without its place
        assert "0 waiting" in repr(cond)


def test_ctrl_c_in_the_main_thread(mp: Context, cond: Handle) -> None:
    """As the standard's test: the lock is held again when the error arrives."""
    with cond:
        thread = threading.Thread(target=interrupt, args=(os.getpid(), cond))
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            cond.wait(PATIENCE)
        cond.notify()
        assert cond.wait(0) is False
    thread.join()


def test_ctrl_c_while_the_lock_is_taken_back(mp: Context, start: Start, cond: Handle) -> None:
    """Woken, but without the lock: the notification goes to another, the lock stays with its holder."""
    ready = mp.Event()

    def wait_for_ctrl_c() -> str:
        try:
            with cond:
                ready.set()
                cond.wait()
        except KeyboardInterrupt:
            return "interrupted"
        return "notified"

    first = start(wait_for_ctrl_c)
    assert ready.wait(PATIENCE)
    other = start_waiter(mp, start, cond)
    with cond:
        cond.notify()
        first.join(0.05)
        os.kill(first.pid, signal.SIGINT)
        outcome: Any = first.result(PATIENCE)
        assert start(cond.acquire, False).result(PATIENCE) is False
    assert outcome == "interrupted"
    assert other.result(PATIENCE) is True
