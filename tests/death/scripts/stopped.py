"""Processes that are stopped and go on. Prints what the test has to stop, and then what came of it.

usage: stopped.py <case>
"""

import os
import sys
from typing import Any

import allcores as mp
from allcores import start

PATIENCE = 30


def square(x: int) -> int:
    return x * x


def told(*words: object) -> None:
    print(*words, flush=True)


def heard() -> None:
    sys.stdin.readline()


def worker() -> None:
    """One of two workers is stopped in the middle of an item: the other does all the others, and nothing is lost."""
    pids, gate = mp.Queue(), mp.Event()

    def wait() -> int:
        pids.put(os.getpid())
        gate.wait()
        return 7

    with mp.Pool(2) as pool:
        pending = pool.apply_async(wait)
        told(pids.get())
        heard()
        gate.set()
        assert pool.map(square, range(100), chunksize=1) == [x * x for x in range(100)]
        assert not pending.ready()
        told("others work")
        assert pending.get(PATIENCE) == 7


def idle_worker() -> None:
    """Stopped while it waits for a task. One task may be its own by then: that one comes when it goes on."""
    with mp.Pool(2) as pool:
        pids = {pid for _ in range(50) for pid in pool.map(pid_of, range(2), chunksize=1)}
        told(min(pids))
        heard()
        pending = [pool.apply_async(square, (x,)) for x in range(100)]
        done = sum(wait_shortly(result) for result in pending)
        told("others work" if done >= 99 else f"only {done}")
        assert [result.get(PATIENCE) for result in pending] == [x * x for x in range(100)]


def pid_of(_x: int) -> int:
    return os.getpid()


def wait_shortly(result: Any) -> bool:
    result.wait(3)
    return bool(result.ready())


def lock_holder() -> None:
    lock, held, gate = mp.Lock(), mp.Event(), mp.Event()

    def hold() -> None:
        with lock:
            held.set()
            gate.wait()

    child = mp.Process(target=hold)
    child.start()
    held.wait()
    told(child.pid)
    heard()
    gate.set()
    assert lock.acquire(timeout=0.3) is False  # stopped is not dead
    told("others work")
    assert lock.acquire(timeout=PATIENCE) is True
    child.join()
    assert child.exitcode == 0


def consumer() -> None:
    queue, got = mp.Queue(), mp.Queue()

    def consume() -> None:
        while (item := queue.get()) is not None:
            got.put(item)

    children = [mp.Process(target=consume) for _ in range(2)]
    for child in children:
        child.start()
    queue.put(-1)
    assert got.get() == -1
    told(children[0].pid)
    heard()
    for item in range(1000):
        queue.put(item)
    first = [got.get(timeout=PATIENCE) for _ in range(999)]
    told("others work")
    assert sorted([*first, got.get(timeout=PATIENCE)]) == list(range(1000))
    for _ in children:
        queue.put(None)
    for child in children:
        child.join()


def template() -> None:
    """It only forks and settles: work goes on without it, and a new process is there when it goes on."""
    with mp.Pool(2) as pool:
        assert pool.map(square, range(4)) == [0, 1, 4, 9]
        told(start.template_pid())
        heard()
        assert pool.map(square, range(100)) == [x * x for x in range(100)]
        told("others work")
        child = mp.Process(target=square, args=(3,))
        child.start()
        assert child.result(PATIENCE) == 9


globals()[sys.argv[1]]()
told("sound")
