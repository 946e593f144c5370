"""Processes killed at any moment in Condition, BoundedSemaphore and Lock: the others finish, and the sums are right."""

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from .kit import PATIENCE, Context, Handle

pytestmark = pytest.mark.needs("kills")
many = pytest.mark.parametrize("kills", [10, pytest.param(60, marks=pytest.mark.slow)])
# Seconds inside: most kills find somebody there, and the CPUs are left to those who start.
INSIDE = 0.002


@contextlib.contextmanager
def mended(lock: Handle) -> Any:
    """Holds the lock; where its holder died, what it guards is sound: every change is one store."""
    while True:
        with contextlib.suppress(allcores.OwnerDied):
            lock.acquire()
            break
        lock.recover()
    try:
        yield
    finally:
        lock.release()


def kill_some(mp: Context, kills: int, target: Callable[[], object]) -> list[Handle]:
    """Starts four, kills one at random and starts another, again and again. Those that are left."""
    dice, begun = random.Random(kills), mp.Semaphore(0)

    def run() -> None:
        begun.release()
        target()

    def begin() -> Handle:
        worker = mp.Process(target=run)
        worker.start()
        assert begun.acquire(timeout=PATIENCE)
        return worker

    workers = [begin() for _ in range(4)]
    for _ in range(kills):
        time.sleep(dice.random() / 100)
        i = dice.randrange(4)
        workers[i].kill()
        workers[i].join(PATIENCE)
        workers[i] = begin()
    return workers


@many
def test_no_notification_is_lost(mp: Context, start: Callable[..., Handle], kills: int) -> None:
    """A token is worth one notification: once the tokens stop, none is left while somebody waits."""
    lock = mp.Lock()
    cond, tokens, over = mp.Condition(lock), mp.Value("q", 0, lock=False), mp.Event()

    def consume() -> None:
        while True:
            try:
                with cond:
                    while tokens.value == 0:
                        cond.wait()
                    if tokens.value < 0:
                        return
                    tokens.value -= 1
            except allcores.OwnerDied:
                lock.recover()

    def produce() -> None:
        while not over.is_set():
            with mended(lock):
                tokens.value += 1
                cond.notify()

    producer = start(produce)
    consumers = kill_some(mp, kills, consume)
    over.set()
    assert producer.result(PATIENCE) is None
    deadline = time.monotonic() + PATIENCE
    while tokens.value > 0:  # nobody notifies any more
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with mended(lock):
        tokens.value = -1
        cond.notify_all()
    for p in consumers:
        p.join(PATIENCE)
        assert p.exitcode == 0


@many
def test_no_permit_is_lost_or_made(mp: Context, kills: int) -> None:
    semaphore, inside, over = mp.BoundedSemaphore(2), mp.Value("i", 0), mp.Event()

    def enter() -> None:
        while not over.is_set():
            with semaphore:
                assert semaphore.get_value() < 2
                inside.add(1)
                time.sleep(INSIDE)

    workers = kill_some(mp, kills, enter)
    over.set()
    for p in workers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert inside.value > 0
    assert semaphore.get_value() == 2
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]


@many
def test_nobody_waits_for_a_lock_of_the_dead(mp: Context, kills: int) -> None:
    """Two locks in any order, and deaths with both: an error for each case, and never a wait without end."""
    a, b, over = mp.Lock(), mp.RLock(), mp.Event()

    def take_both() -> None:
        dice = random.Random()
        while not over.is_set():
            first, second = (a, b) if dice.random() < 0.5 else (b, a)
            with contextlib.suppress(allcores.DeadlockError), mended(first), mended(second):
                time.sleep(INSIDE)

    workers = kill_some(mp, kills, take_both)
    over.set()
    for p in workers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    with mended(a), mended(b):
        pass
