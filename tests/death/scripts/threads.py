"""Threads that die in a wait, and daemon threads that wait when the program ends.

usage: threads.py <case>
"""

import ctypes
import queue as standard
import sys
import threading

import allcores as mp

queue, lock, event, semaphore, full = mp.Queue(), mp.Lock(), mp.Event(), mp.Semaphore(0), mp.Queue(1)
full.put(0)
lock.acquire()
WAITS = (queue.get, lock.acquire, event.wait, semaphore.acquire, lambda: full.put(1))


def start(job: object) -> threading.Thread:
    thread = threading.Thread(target=job, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def killed_in_a_wait() -> None:
    """By an exception from another thread: it is raised there, and what was waited for is for others."""
    threads = [start(wait) for wait in WAITS]
    for thread in threads:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    queue.put(5)
    assert queue.get(timeout=30) == 5
    lock.release()
    assert lock.acquire(timeout=30)
    semaphore.release()
    assert semaphore.acquire(timeout=30)
    assert full.get() == 0
    assert full.empty()


def asleep_at_the_end() -> None:
    for wait in WAITS:
        for _ in range(3):
            start(wait)


def awake_at_the_end() -> None:
    def come_and_go(wait: object) -> None:
        while True:
            try:
                wait(timeout=0.0001)  # type: ignore[operator]
            except (standard.Empty, standard.Full):
                continue

    for wait in (queue.get, lock.acquire, event.wait, semaphore.acquire):
        for _ in range(2):
            start(lambda wait=wait: come_and_go(wait))


globals()[sys.argv[1]]()
print("sound", flush=True)
