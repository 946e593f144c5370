"""Step 3: which way is fastest? The same job twice: one after the other, in two threads, in two processes."""

import time

import allcores as mp


def job(q):
    res = 0
    for i in range(1_000_000):
        res += i + i**2 + i**3
    q.put(res)


def normal(q):
    for _ in range(2):
        job(q)


def threads(q):
    run_two(mp.Thread, q)


def processes(q):
    run_two(mp.Process, q)


def run_two(kind, q):
    workers = [kind(target=job, args=(q,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


for way in (normal, threads, processes):
    q = mp.Queue()
    start = time.perf_counter()
    way(q)
    print(f"{way.__name__:9} {time.perf_counter() - start:5.2f} s")
    assert q.get() == q.get() == 249999833333583333000000
