"""Prints the pids of its workers and waits; the test kills it and looks whether they go with it."""

import os
from collections.abc import Callable

import allcores as mp

pids = mp.Queue()
never = mp.Event()


def wait() -> None:
    pids.put(os.getpid())
    never.wait()


def spin() -> None:
    pids.put(os.getpid())
    while True:
        pass


jobs: list[Callable[[], None]] = [wait, spin]
for job in jobs:
    mp.Process(target=job).start()
pool = mp.Pool(2)
pool.apply_async(wait)
print(pids.get(), pids.get(), pids.get(), flush=True)
never.wait()
