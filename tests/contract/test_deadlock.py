"""Circles of threads that wait for each other's locks: exactly one is told, the others go on."""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from .kit import PATIENCE, SHORT, Context, Handle

Start = Callable[..., Handle]
Told = list[tuple[list[Any], float] | None]
pytestmark = pytest.mark.needs("parallel")
# A circle with a plain lock in it is told after a second: the first time, somebody else may release it as a signal.
ROUNDS, ROUNDS_OF_PLAIN = 20, 2


def cross(first: Handle, second: Handle, meet: Handle, rounds: int = ROUNDS) -> tuple[tuple[int, int], Told]:
    """Takes both, having met the others with the first one: who was it, and what was it told in each round?"""
    told: Told = []
    for _ in range(rounds):
        begin = time.monotonic()
        try:
            with first:
                meet.wait(PATIENCE)
                begin = time.monotonic()
                with second:
                    told.append(None)
        except allcores.DeadlockError as error:
            told.append((list(error.members), time.monotonic() - begin))
        meet.wait(PATIENCE)
    return (os.getpid(), threading.get_native_id()), told


def check(outcomes: list[tuple[tuple[int, int], Told]], locks: list[Handle]) -> None:
    """One error in each round, in time; `outcomes[i]` is of who holds `locks[i]` and wants the next one."""
    n = len(outcomes)
    for what in zip(*(told for _, told in outcomes), strict=True):
        (victim,) = (i for i in range(n) if what[i] is not None)
        members, seconds = what[victim] or ([], 0)
        assert seconds < 2
        around = [(victim + k) % n for k in range(n)]
        assert [(m.pid, m.thread) for m in members] == [outcomes[i][0] for i in around]
        assert [m.waits_for for m in members] == [locks[(i + 1) % n].name for i in around]
        assert all(m.process for m in members)


def lock_of(mp: Context, kind: str) -> Handle:
    return mp.Value("i").get_lock() if kind == "Value" else getattr(mp, kind)()


@pytest.mark.parametrize("kinds", ["Lock Lock", "RLock RLock", "Lock Value", "Value RLock"])
def test_two_workers(mp: Context, start: Start, kinds: str) -> None:
    a, b = (lock_of(mp, kind) for kind in kinds.split())
    meet, rounds = mp.Barrier(2), ROUNDS_OF_PLAIN if "Lock" in kinds.split() else ROUNDS
    p, q = start(cross, a, b, meet, rounds), start(cross, b, a, meet, rounds)
    check([p.result(PATIENCE), q.result(PATIENCE)], [a, b])


def test_a_thread_and_a_process(mp: Context, start: Start) -> None:
    a, b, meet = mp.RLock(), mp.RLock(), mp.Barrier(2)
    thread, p = mp.Thread(target=cross, args=(a, b, meet)), start(cross, b, a, meet)
    thread.start()
    check([thread.result(PATIENCE), p.result(PATIENCE)], [a, b])


def test_this_thread_and_a_worker(mp: Context, start: Start) -> None:
    a, b, meet = mp.RLock(), mp.RLock(), mp.Barrier(2)
    p = start(cross, b, a, meet)
    check([cross(a, b, meet), p.result(PATIENCE)], [a, b])


@pytest.mark.parametrize("n", [3, 5])
def test_a_circle_of_many(mp: Context, start: Start, n: int) -> None:
    locks = [mp.Lock() if i % 2 else mp.RLock() for i in range(n)]
    meet = mp.Barrier(n)
    workers = [start(cross, locks[i], locks[(i + 1) % n], meet, ROUNDS_OF_PLAIN) for i in range(n)]
    check([p.result(PATIENCE) for p in workers], locks)


def test_who_only_waits_for_a_circle_is_not_told(mp: Context, start: Start) -> None:
    a, b, meet, ready = mp.RLock(), mp.RLock(), mp.Barrier(2), mp.Semaphore(0)

    def wait_for(lock: Handle) -> str:
        ready.release()
        with lock:
            return "in"

    with a, b:
        outsiders = [start(wait_for, lock) for lock in (a, b)]
        for _ in outsiders:
            assert ready.acquire(timeout=PATIENCE)
    p, q = start(cross, a, b, meet, 3), start(cross, b, a, meet, 3)
    told = [p.result(PATIENCE)[1], q.result(PATIENCE)[1]]
    assert sum(what is not None for each in told for what in each) == 3
    assert [p.result(PATIENCE) for p in outsiders] == ["in"] * 2


def test_what_it_says(mp: Context, start: Start) -> None:
    a, b, meet = mp.Lock(), mp.Lock(), mp.Barrier(2)

    def text_of(first: Handle, second: Handle) -> str:
        try:
            with first:
                meet.wait(PATIENCE)
                with second:
                    return ""
        except allcores.DeadlockError as error:
            return str(error)

    p, q = start(text_of, a, b), start(text_of, b, a)
    text = p.result(PATIENCE) or q.result(PATIENCE)
    assert not (p.result() and q.result())
    for word in (a.name, b.name, str(p.pid), str(q.pid), "same order", "ALLCORES_TRACE_LOCKS"):
        assert word in text
    if mp.name == "process":
        assert p.name in text
        assert q.name in text


def test_a_value_is_waited_for_without_acquire(mp: Context, start: Start) -> None:
    """`v.value` and slices wait for the lock inside, and are told as well."""
    v, a, meet = mp.Value("i", 0), mp.Array("i", 3), mp.Barrier(2)

    def value_then_array() -> str:
        try:
            with v.get_lock():
                meet.wait(PATIENCE)
                a[:] = [1, 2, 3]
        except allcores.DeadlockError:
            return "told"
        return "went on"

    def array_then_value() -> str:
        try:
            with a.get_lock():
                meet.wait(PATIENCE)
                v.value += 1
        except allcores.DeadlockError:
            return "told"
        return "went on"

    p, q = start(value_then_array), start(array_then_value)
    assert sorted([p.result(PATIENCE), q.result(PATIENCE)]) == ["told", "went on"]
    assert (v.value, a[:]) in [(1, [0, 0, 0]), (0, [1, 2, 3])]


def test_a_condition_takes_its_lock_back(mp: Context, start: Start) -> None:
    """The woken waits for the lock of the condition, and holds what the notifier wants."""
    cond, outer, ready = mp.Condition(), mp.Lock(), mp.Event()

    def wait() -> str:
        try:
            with outer, cond:
                ready.set()
                cond.wait()
        except allcores.DeadlockError:
            return "told"
        return "went on"

    def notify() -> str:
        try:
            with cond:
                cond.notify()
                with outer:
                    return "went on"
        except allcores.DeadlockError:
            return "told"

    p = start(wait)
    assert ready.wait(PATIENCE)
    q = start(notify)
    assert sorted([p.result(PATIENCE), q.result(PATIENCE)]) == ["told", "went on"]
    assert outer.acquire(timeout=PATIENCE)
    assert cond.acquire(timeout=PATIENCE)
    outer.release()
    cond.release()


def test_who_has_a_timeout_is_not_told(mp: Context, start: Start) -> None:
    a, b, meet = mp.Lock(), mp.Lock(), mp.Barrier(2)

    def with_a_timeout() -> bool:
        with a:
            meet.wait(PATIENCE)
            return bool(b.acquire(timeout=4 * SHORT))

    def without() -> str:
        with b:
            meet.wait(PATIENCE)
            with a:
                return "went on"

    p, q = start(with_a_timeout), start(without)
    assert p.result(PATIENCE) is False
    assert q.result(PATIENCE) == "went on"


@pytest.mark.needs("kills")
def test_a_member_that_dies_is_told_as_such(mp: Context, start: Start) -> None:
    """Three in a row, then the last one dies instead of closing the circle."""
    a, b, held = mp.Lock(), mp.Lock(), mp.Semaphore(0)

    def hold(first: Handle, second: Handle) -> None:
        with first:
            held.release()
            second.acquire()

    gate = mp.Lock()
    with gate:
        q = start(hold, b, gate)
        assert held.acquire(timeout=PATIENCE)
        p = start(hold, a, b)
        assert held.acquire(timeout=PATIENCE)
        p.join(SHORT)
        q.kill()
        with pytest.raises(allcores.OwnerDied) as caught:
            p.result(PATIENCE)
        assert caught.value.pid == q.pid


# A lock that one acquires and another releases is a signal.


def test_ping_pong_of_two_locks(mp: Context, start: Start) -> None:
    ping, pong, rounds = mp.Lock(), mp.Lock(), 1_000
    ping.acquire()
    pong.acquire()

    def answer() -> int:
        for _ in range(rounds):
            ping.acquire()
            pong.release()
        return rounds

    p = start(answer)
    for _ in range(rounds):
        ping.release()
        pong.acquire()
    assert p.result(PATIENCE) == rounds


def test_a_handshake_the_first_time(mp: Context, start: Start) -> None:
    """Each has acquired its own lock and waits until the other releases it."""
    for _ in range(10):
        mine, yours = mp.Lock(), mp.Lock()

        def shake(own: Handle, other: Handle, ready: Handle) -> bool:
            own.acquire()
            ready.wait(PATIENCE)
            other.release()
            return bool(own.acquire())

        ready = mp.Barrier(2)
        p, q = start(shake, mine, yours, ready), start(shake, yours, mine, ready)
        assert p.result(PATIENCE) is q.result(PATIENCE) is True


@pytest.mark.lacks("cluster")  # where a circle is told at once
def test_a_circle_that_is_helped_the_first_time(mp: Context, start: Start) -> None:
    """Each holds one lock and waits for the other's; somebody else releases one of them."""
    a, b, meet = mp.Lock(), mp.Lock(), mp.Barrier(3)

    def take(own: Handle, other: Handle, release: bool) -> bool:
        own.acquire()
        meet.wait(PATIENCE)
        got = bool(other.acquire())
        if release:
            own.release()
        return got

    p, q = start(take, a, b, False), start(take, b, a, True)
    meet.wait(PATIENCE)
    p.join(SHORT)
    a.release()
    assert q.result(PATIENCE) is p.result(PATIENCE) is True


def test_a_signal_whose_acquirer_has_ended_is_released(mp: Context, start: Start) -> None:
    lock = mp.Lock()
    start(lock.acquire).join(PATIENCE)
    lock.release()
    with pytest.raises(ValueError, match="not held"):
        lock.release()
    assert lock.acquire(timeout=PATIENCE) is True


def test_a_start_gate(mp: Context, start: Start) -> None:
    gate, there = mp.Lock(), mp.Semaphore(0)

    def pass_it() -> str:
        there.release()
        with gate:
            return "through"

    gate.acquire()
    racers = [start(pass_it) for _ in range(4)]
    for _ in racers:
        assert there.acquire(timeout=PATIENCE)
    racers[0].join(SHORT)
    start(gate.release).join(PATIENCE)
    assert [p.result(PATIENCE) for p in racers] == ["through"] * 4


# Storms: no false alarm, none missed.


def storm(locks: Any, counts: Handle, seconds: float, ordered: bool, seed: int) -> tuple[int, int]:
    """Adds one under two locks at a time, again and again. How often, and how many deadlocks there were."""
    dice, end = random.Random(seed), time.monotonic() + seconds
    done = told = 0
    while time.monotonic() < end:
        pair = dice.sample(range(len(locks)), 2)
        i, j = sorted(pair) if ordered else pair
        while True:
            try:
                with locks[i], locks[j]:
                    for k in (i, j):
                        counts[k] = counts[k] + 1
                break
            except allcores.DeadlockError:
                told += 1
        done += 1
    return done, told


def two_storms(mp: Context, *args: Any) -> tuple[int, int]:
    threads = [mp.Thread(target=storm, args=(*args, seed)) for seed in (os.getpid(), os.getpid() + 1_000_000)]
    for thread in threads:
        thread.start()
    (a, b), (c, d) = (thread.result(PATIENCE) for thread in threads)
    return a + c, b + d


@pytest.mark.parametrize("ordered", [True, False], ids=["in order", "in disorder"])
@pytest.mark.parametrize("seconds", [0.5, pytest.param(5, marks=pytest.mark.slow)])
def test_a_storm(mp: Context, start: Start, seconds: float, ordered: bool) -> None:
    locks = [mp.Lock() if ordered and i < 5 else mp.RLock() for i in range(6)]
    counts = mp.Array("q", 6, lock=False)
    workers = [start(two_storms, mp, locks, counts, seconds, ordered) for _ in range(4)]
    done, told = map(sum, zip(*(p.result(PATIENCE) for p in workers), strict=True))
    assert sum(counts) == 2 * done > 0
    assert not (ordered and told)
