"""The template is killed, and so every process. Who waits learns of it; what comes next works.

usage: template_killed.py <way>
"""

import os
import signal
import sys
import threading
from typing import Any

import allcores as mp
from allcores import start

PATIENCE = 30
way = sys.argv[1]
never = mp.Event()


def square(x: int) -> int:
    return x * x


def kill_template() -> None:
    pid = start.template_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def hold(lock: object, held: object) -> None:
    lock.acquire()  # type: ignore[attr-defined]
    held.set()  # type: ignore[attr-defined]
    never.wait()


def owner_of(lock: Any) -> int:
    """Who died holding the lock."""
    try:
        lock.acquire(timeout=PATIENCE)
    except mp.OwnerDied as error:
        return int(error.pid)
    raise AssertionError("the lock was free")


def join() -> None:
    """And who holds a lock that others wait for has died by then."""
    lock, held = mp.Lock(), mp.Event()
    child = mp.Process(target=hold, args=(lock, held))
    child.start()
    held.wait()
    threading.Timer(0.05, kill_template).start()
    child.join()
    assert child.exitcode in (255, -signal.SIGKILL)  # of a fork the program knows itself
    assert owner_of(lock) == child.pid


def acquire() -> None:
    lock, held = mp.Lock(), mp.Event()
    child = mp.Process(target=hold, args=(lock, held))
    child.start()
    held.wait()
    threading.Timer(0.05, kill_template).start()
    assert owner_of(lock) == child.pid
    child.join()


def pool() -> None:
    with mp.Pool(2) as workers:
        threading.Timer(0.05, kill_template).start()
        try:
            workers.map(never.wait, [None] * 2, chunksize=1)
        except mp.WorkerDied:
            assert workers.map(square, range(100)) == [x * x for x in range(100)]
        else:
            raise AssertionError("all workers were killed")


def again() -> None:
    """What is started as soon as that is known is not started with the one that is just dying."""
    for _ in range(30):
        child = mp.Process(target=never.wait)
        child.start()
        threading.Timer(0.02, kill_template).start()
        child.join()
        child = mp.Process(target=square, args=(3,))
        child.start()
        assert child.result(PATIENCE) == 9


globals()[way]()
child = mp.Process(target=square, args=(3,))
child.start()
assert child.result(PATIENCE) == 9
with mp.Pool(2) as fresh:
    assert fresh.map(square, range(10)) == [x * x for x in range(10)]
print("sound")
