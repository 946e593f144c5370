"""concurrent.futures, and loky, which has its interface."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import Implementation


class Standard(Implementation):
    """ProcessPoolExecutor with its defaults."""

    def __init__(self) -> None:
        self.executor: Any = ProcessPoolExecutor

    def classic(self, size: int) -> int:
        with self.executor(max_workers=2) as executor:
            return sum(executor.map(work.classic, (size, size)))

    def pool(self) -> None:
        with self.executor(max_workers=2) as executor:
            list(executor.map(work.noop, (1, 2)))

    again = pool

    def workers(self) -> AbstractContextManager[Any]:
        executor: AbstractContextManager[Any] = self.executor(max_workers=2)
        return executor

    def apply(self, executor: Any, count: int) -> list[Any]:
        return [executor.submit(work.noop, i).result() for i in range(count)]

    def apply_async(self, executor: Any, count: int) -> list[Any]:
        futures = [executor.submit(work.noop, i) for i in range(count)]
        return [future.result() for future in futures]

    submit, submit_many = apply, apply_async

    def imap(self, executor: Any, count: int) -> list[Any]:
        return list(executor.map(work.noop, range(count)))

    map = imap
    array_workers = workers

    def map_arrays(self, executor: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return list(executor.map(function, items))

    map_results = map_arrays


class Loky(Standard):
    """Its reusable executor, but where a pool is to be created and left."""

    def __init__(self) -> None:
        self.loky = import_module("loky")
        self.executor = self.loky.ProcessPoolExecutor

    def classic(self, size: int) -> int:
        return sum(self.loky.get_reusable_executor(max_workers=2).map(work.classic, (size, size)))

    def again(self) -> None:
        list(self.loky.get_reusable_executor(max_workers=2).map(work.noop, (1, 2)))

    def workers(self) -> AbstractContextManager[Any]:
        return nullcontext(self.loky.get_reusable_executor(max_workers=2))

    array_workers = workers
