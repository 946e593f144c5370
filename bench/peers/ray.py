"""ray on this machine, started for the sample: tasks by `remote`, the rest by its ray.util."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import WithQueue


class Ray(WithQueue):
    """Two CPUs; its start is timed only where the workers' start is."""

    def __init__(self) -> None:
        # Asked of ray by environment only: it would otherwise report its use over the network.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.ray = import_module("ray")
        self.multiprocessing = import_module("ray.util.multiprocessing")

    def close(self) -> None:
        self.ray.shutdown()

    def start(self) -> None:
        if not self.ray.is_initialized():
            self.ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")

    def classic(self, size: int) -> int:
        self.start()
        job = self.ray.remote(work.classic)
        return int(sum(self.ray.get([job.remote(size) for _ in range(2)])))

    def pool(self) -> None:
        self.start()
        with self.multiprocessing.Pool(2) as pool:
            pool.map(work.noop, (1, 2))

    @contextmanager
    def workers(self) -> Iterator[Any]:
        self.start()
        with self.multiprocessing.Pool(2) as pool:
            yield pool

    def apply(self, pool: Any, count: int) -> list[Any]:
        return [pool.apply(work.noop, (i,)) for i in range(count)]

    def apply_async(self, pool: Any, count: int) -> list[Any]:
        results = [pool.apply_async(work.noop, (i,)) for i in range(count)]
        return [result.get() for result in results]

    def imap(self, pool: Any, count: int) -> list[Any]:
        return list(pool.imap(work.noop, range(count)))

    def map(self, pool: Any, count: int) -> list[Any]:
        return list(pool.map(work.noop, range(count)))

    @contextmanager
    def array_workers(self) -> Iterator[Any]:
        self.start()
        yield self.ray

    def map_arrays(self, ray: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        # As its documentation tells for large arguments.
        job = ray.remote(function)
        return list(ray.get([job.remote(ray.put(item)) for item in items]))

    def map_results(self, ray: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        job = ray.remote(function)
        return list(ray.get([job.remote(item) for item in items]))

    def queue(self) -> Any:
        self.start()
        return import_module("ray.util.queue").Queue(actor_options={"num_cpus": 0})

    array_queue = queue

    @contextmanager
    def process(self, target: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[None]:
        done = self.ray.remote(target).remote(*args)
        yield
        self.ray.get(done)
