"""A program with processes of every kind, which says who they are and then ends in the way it is told.

usage: family.py <how it ends>
"""

import hashlib
import os
import sys
from collections.abc import Callable

import allcores as mp

how = sys.argv[1]
pids, never = mp.Queue(), mp.Event()


def wait() -> None:
    pids.put(os.getpid())
    never.wait()


def compute_in_c() -> None:
    pids.put(os.getpid())
    pow(3, 1 << 40_000_000, (1 << 4000) - 1)  # the interpreter is not asked in between, and the GIL is held


def hash_in_c() -> None:
    pids.put(os.getpid())
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", (1 << 31) - 1)


def spin() -> None:
    pids.put(os.getpid())
    while True:
        pass


def start(*jobs: Callable[[], None], daemon: bool = False) -> None:
    for job in jobs:
        mp.Process(target=job, daemon=daemon).start()


def parent_of_others() -> None:
    start(wait, compute_in_c)
    wait()


def worker_with_a_pool() -> None:
    pool = mp.Pool(1)
    pool.apply_async(spin)
    start(hash_in_c)
    wait()


daemons = how in ("normal", "exit", "error")
start(wait, compute_in_c, hash_in_c, spin, parent_of_others, daemon=daemons)
pool = mp.Pool(3)
for task in (worker_with_a_pool, compute_in_c):
    pool.apply_async(task)
print(*sorted(pids.get() for _ in range(11)), flush=True)
if how in ("normal", "exit", "error"):
    sys.stdin.readline()  # when the test has seen everybody
if how == "exit":
    sys.exit(7)
if how == "error":
    raise ValueError("the end")
if how != "normal":
    never.wait()
