"""joblib, with its default backend (loky)."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import Implementation


class Joblib(Implementation):
    """`Parallel(n_jobs=2)`; kept open by `with` where the workers are to be hot."""

    def __init__(self, backend: str = "loky") -> None:
        self.joblib = import_module("joblib")
        self.backend = backend
        self.noop = self.joblib.delayed(work.noop)

    def classic(self, size: int) -> int:
        job = self.joblib.delayed(work.classic)
        return int(sum(self.joblib.Parallel(n_jobs=2)(job(size) for _ in range(2))))

    def pool(self) -> None:
        self.joblib.Parallel(n_jobs=2)(self.noop(i) for i in (1, 2))

    def workers(self) -> AbstractContextManager[Any]:
        parallel: AbstractContextManager[Any] = self.joblib.Parallel(n_jobs=2)
        return parallel

    def imap(self, parallel: Any, count: int) -> list[Any]:
        # What it returns is fixed when it is made, so this one is not the one that is open; the workers are.
        streaming = self.joblib.Parallel(n_jobs=2, return_as="generator")
        return list(streaming(self.noop(i) for i in range(count)))

    def map(self, parallel: Any, count: int) -> list[Any]:
        return list(parallel(self.noop(i) for i in range(count)))

    def parallel(self) -> AbstractContextManager[Any]:
        config: AbstractContextManager[Any] = self.joblib.parallel_config(backend=self.backend)
        return config

    array_workers = workers

    def map_arrays(self, parallel: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        call = self.joblib.delayed(function)
        return list(parallel(call(item) for item in items))

    map_results = map_arrays
