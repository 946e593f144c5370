"""A program with much going on, to be killed: says ``busy`` when everybody is at work, and goes on for ever."""

import threading
from typing import Any

import numpy as np

import allcores

LARGE = 16 << 20


def pass_on(source: Any, target: Any, busy: Any) -> None:
    busy.release()
    while True:
        target.put(source.get())


def hold(lock: Any, busy: Any) -> None:
    """One of them gets it, the other waits."""
    busy.release()
    with lock:
        threading.Event().wait()


def spin(busy: Any) -> None:
    """In C, without looking at anything."""
    busy.release()
    sum(range(1 << 60))


def parent(busy: Any) -> None:
    """With a child of its own, and a pool in it."""
    child = allcores.Process(target=pooler, args=(busy,))
    child.start()
    child.join()


def pooler(busy: Any) -> None:
    with allcores.Pool(2) as pool:
        busy.release()
        for _ in pool.imap(abs, iter(int, 1)):
            pass


def main() -> None:
    there, back, busy, lock = allcores.Queue(), allcores.Queue(10), allcores.Semaphore(0), allcores.Lock()
    jobs = [(pass_on, there, back), (pass_on, back, there), (hold, lock), (hold, lock), (spin,), (parent,)]
    for func, *args in jobs:
        allcores.Process(target=func, args=(*args, busy)).start()
    there.put(np.ones(LARGE // 8))
    for x in range(5):
        there.put(x)
    with allcores.Pool(2) as pool:
        results = pool.imap(abs, iter(int, 1))
        for _ in range(len(jobs)):
            busy.acquire()
        next(results)
        print("busy", flush=True)
        for _ in results:
            pass


if __name__ == "__main__":
    main()
