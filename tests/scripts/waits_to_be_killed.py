"""Prints the pids of its workers and waits; the test kills it and looks whether they go with it."""

import os

import allcores as mp

ready = mp.Semaphore(0)
never = mp.Event()


def announce() -> None:
    print(os.getpid(), flush=True)
    ready.release()
    never.wait()


def spin() -> None:
    print(os.getpid(), flush=True)
    ready.release()
    while True:
        pass


for job in (announce, spin):
    mp.Process(target=job).start()
pool = mp.Pool(2)
pool.apply_async(announce)
for _ in range(3):
    ready.acquire()
print("ready", flush=True)
never.wait()
