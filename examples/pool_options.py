"""A tour of what a pool can be told besides the work. Every option can be left out."""

import itertools
import random
import tempfile
import time

import allcores as mp


def draw(_):
    return random.randint(1, 6)


def divide(x):
    if x == 3:
        time.sleep(1000)  # hangs
    return 12 / x


def begin():
    mp.worker_state().factor = 10


def multiply(x):
    return x * mp.worker_state().factor


def work(x):
    print("working on", x)  # arrives here, in whole lines
    return x * x


with mp.Pool(2, begin, threads_per_worker=1, max_memory=2 << 30, idle_timeout=60) as pool:
    # What the initializer prepared in each worker.
    print(pool.map(multiply, range(5)))

    # The same random numbers for any number of workers.
    print(pool.map(draw, range(8), seed=1) == pool.map(draw, range(8), seed=1, chunksize=3))

    # Failures in their place, all else kept: one item divides by zero, one hangs and is ended.
    for result in pool.map(divide, range(5), timeout=1, errors="return"):
        print(result if isinstance(result, float) else f"item {result.index} failed: {result.error!r:.20}...")

    # An endless input, never read more than 50 items ahead.
    print(list(itertools.islice(pool.imap(multiply, itertools.count(), buffersize=50), 5)))

    # A journal: the second call finds everything done, as it would after a crash in the first.
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            print(pool.map(work, range(3), checkpoint=f"{folder}/run.db"))

    # A concurrent.futures executor with the same workers; retried if its worker dies.
    print(pool.executor(retries=2).submit(multiply, 7).result())
