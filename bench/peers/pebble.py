"""pebble: futures, one task at a time to each worker."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import Implementation


class Pebble(Implementation):
    """ProcessPool with its defaults."""

    def __init__(self) -> None:
        self.pebble = import_module("pebble")

    def classic(self, size: int) -> int:
        with self.pebble.ProcessPool(max_workers=2) as pool:
            return int(sum(pool.map(work.classic, (size, size)).result()))

    def pool(self) -> None:
        with self.pebble.ProcessPool(max_workers=2) as pool:
            list(pool.map(work.noop, (1, 2)).result())

    def workers(self) -> AbstractContextManager[Any]:
        pool: AbstractContextManager[Any] = self.pebble.ProcessPool(max_workers=2)
        return pool

    def apply(self, pool: Any, count: int) -> list[Any]:
        return [pool.schedule(work.noop, args=(i,)).result() for i in range(count)]

    def apply_async(self, pool: Any, count: int) -> list[Any]:
        futures = [pool.schedule(work.noop, args=(i,)) for i in range(count)]
        return [future.result() for future in futures]

    submit, submit_many = apply, apply_async

    def imap(self, pool: Any, count: int) -> list[Any]:
        return list(pool.map(work.noop, range(count)).result())

    map = imap
    array_workers = workers

    def map_arrays(self, pool: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return list(pool.map(function, items).result())

    map_results = map_arrays
