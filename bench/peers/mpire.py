"""mpire; `keep_alive` where the workers are to be hot, as its documentation advises for several calls."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import Implementation


class Mpire(Implementation):
    """WorkerPool with its default start method (fork)."""

    def __init__(self) -> None:
        self.mpire = import_module("mpire")

    def classic(self, size: int) -> int:
        with self.mpire.WorkerPool(n_jobs=2) as pool:
            return int(sum(pool.map(work.classic, (size, size))))

    def pool(self) -> None:
        with self.mpire.WorkerPool(n_jobs=2) as pool:
            pool.map(work.noop, (1, 2))

    def workers(self) -> AbstractContextManager[Any]:
        pool: AbstractContextManager[Any] = self.mpire.WorkerPool(n_jobs=2, keep_alive=True)
        return pool

    def apply(self, pool: Any, count: int) -> list[Any]:
        return [pool.apply(work.noop, (i,)) for i in range(count)]

    def apply_async(self, pool: Any, count: int) -> list[Any]:
        results = [pool.apply_async(work.noop, (i,)) for i in range(count)]
        return [result.get() for result in results]

    def imap(self, pool: Any, count: int) -> list[Any]:
        return list(pool.imap(work.noop, range(count)))

    def map(self, pool: Any, count: int) -> list[Any]:
        return list(pool.map(work.noop, range(count)))

    def map_shown(self, pool: Any, count: int) -> list[Any]:
        return list(pool.map(work.noop, range(count), progress_bar=True))

    array_workers = workers

    def map_arrays(self, pool: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        # Otherwise it would make one array of those that come back.
        return list(pool.map(function, items, concatenate_numpy_output=False))

    map_results = map_arrays
