"""Two workers take two locks in different order; prints the error that one of them gets."""

import sys
from collections.abc import Callable

import allcores

mp = allcores.get_context(sys.argv[1])
a, b, meet = mp.Lock(), mp.RLock(), mp.Barrier(2)


def a_then_b() -> None:
    with a:  # holds a
        meet.wait()
        b.acquire()  # wants b
        b.release()


def b_then_a() -> None:
    b.acquire()  # holds b
    try:
        meet.wait()
        with a:  # wants a
            pass
    finally:
        b.release()


def told(job: Callable[[], None]) -> str:
    try:
        job()
    except allcores.DeadlockError as error:
        return str(error)
    return ""


workers = [mp.Process(target=told, args=(job,)) for job in (a_then_b, b_then_a)]
for worker in workers:
    worker.start()
print(*(worker.result() for worker in workers))
