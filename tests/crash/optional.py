"""What a storm has a pool do with its options on: each way checks all that comes back, and counts what died."""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import allcores

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("WAYS", "make_pool")

PATIENCE = 30.0
# Seconds an item may run that runs for ever, and one after which the others, which take none, are surely done.
SHORT = 0.1
FOR_EVER = 3600.0


def make_pool() -> Any:
    """Workers that end for every reason there is."""
    return allcores.Pool(2, maxtasksperchild=40, max_memory=1 << 30, idle_timeout=0.05, forward_output=True)


def square(x: int) -> int:
    return x * x


def drawn(x: int) -> float:
    import random

    return x + random.random()


def stuck(x: int) -> int:
    """The seventh never ends; with a process of its own, which ends with it, by whomever it is killed."""
    if x == 7:
        import subprocess

        subprocess.Popen(["cat"], stdin=subprocess.PIPE).wait()
    return x * x


def count_dead(results: list[Any], right: Callable[[int], Any], attempts: int) -> int:
    """Each is right, or died so often; how many died."""
    died = 0
    for x, got in enumerate(results):
        if isinstance(got, allcores.Failure):
            assert isinstance(got.error, allcores.WorkerDied), got.error
            assert (got.index, got.attempts) == (x, attempts)
            died += 1
        else:
            assert got == right(x), f"item {x}: {got}"
    return died


def retried(pool: Any, n: int) -> int:
    got = pool.map(square, range(n), errors="return", retries=2, timeout=PATIENCE, max_bytes=1 << 16)
    return count_dead(got, square, 3)


def seeded(pool: Any, n: int) -> int:
    """Whoever was killed, and however often an item was begun: the numbers are those of the seed."""
    first, again = (pool.map(drawn, range(n), errors="return", retries=9, seed=n) for _ in range(2))
    both = [x for x in range(n) if not isinstance(first[x], allcores.Failure) and first[x] == again[x]]
    died = [x for x in range(n) if isinstance(first[x], allcores.Failure) or isinstance(again[x], allcores.Failure)]
    assert len(both) + len(died) == n
    return len(died)


def overdue(pool: Any, _n: int) -> int:
    got = pool.map(stuck, range(20), 5, errors="return", timeout=SHORT)
    late = got[7].error
    if not isinstance(late, allcores.TaskTimeout):
        assert isinstance(late, allcores.WorkerDied)
    others = [x for i, x in enumerate(got) if i != 7 and not is_late(x)]
    dead = [x for x in others if isinstance(x, allcores.Failure)]
    assert all(isinstance(x.error, allcores.WorkerDied) for x in dead)
    assert {x for x in others if not isinstance(x, allcores.Failure)} <= {x * x for x in range(20)}
    return len(dead) + isinstance(late, allcores.WorkerDied)


def is_late(got: Any) -> bool:
    """On a machine that is this busy, an item that takes no time may be stopped for as long as that."""
    return isinstance(got, allcores.Failure) and isinstance(got.error, allcores.TaskTimeout)


def unordered(pool: Any, n: int) -> int:
    got = list(pool.imap_unordered(square, iter(range(n)), 3, buffersize=20, errors="skip", retries=1))
    assert len(set(got)) == len(got)
    assert set(got) <= {x * x for x in range(n)}
    return n - len(got)


def cancelled(pool: Any, _n: int) -> int:
    results = [pool.apply_async(time.sleep, (FOR_EVER,)) for _ in range(5)]
    died = 0
    for result in results:
        result.cancel()
        try:
            result.get(PATIENCE)
        except CancelledError:
            continue
        except allcores.WorkerDied:
            died += 1
    return died


def resumed(pool: Any, n: int) -> int:
    """Until all is done: what was done is not done again."""
    died = 0
    with tempfile.TemporaryDirectory() as folder:
        while True:
            got = pool.map(square, range(n), 3, checkpoint=os.path.join(folder, "run.db"), errors="return")
            dead = count_dead(got, square, 1)
            if not dead:
                return died
            died += dead


def submitted(pool: Any, n: int) -> int:
    futures = [pool.executor(retries=1).submit(square, x) for x in range(n)]
    died = 0
    for x, future in enumerate(futures):
        try:
            assert future.result(PATIENCE) == square(x)
        except allcores.WorkerDied:
            died += 1
    return died


def looked_at(pool: Any, n: int) -> int:
    pending = pool.map_async(square, range(n), errors="return", progress=True)
    pool.dump(timeout=PATIENCE)  # comes back, whoever dies meanwhile; there may be nobody just now
    got = pending.get(PATIENCE)
    assert pool.statistics().tasks > 0
    return count_dead(got, square, 1)


WAYS: tuple[Callable[[Any, int], int], ...] = (
    retried,
    seeded,
    overdue,
    unordered,
    cancelled,
    resumed,
    submitted,
    looked_at,
)
