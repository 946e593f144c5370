"""dask.distributed on a cluster of this machine: two processes of one thread."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import WithQueue


class Dask(WithQueue):
    """`Client(n_workers=2)`; `pure=False`, or equal arguments would be computed once."""

    def __init__(self) -> None:
        self.distributed = import_module("distributed")
        self.cluster: Any = None

    def close(self) -> None:
        if self.cluster is not None:
            self.cluster.close()

    def client(self) -> Any:
        # No dashboard: it needs a port, and is not part of the work.
        return self.distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None)

    def classic(self, size: int) -> int:
        with self.client() as client:
            return int(sum(client.gather(client.map(work.classic, (size, size), pure=False))))

    def pool(self) -> None:
        with self.client() as client:
            client.gather(client.map(work.noop, (1, 2), pure=False))

    def workers(self) -> AbstractContextManager[Any]:
        client: AbstractContextManager[Any] = self.client()
        return client

    def apply(self, client: Any, count: int) -> list[Any]:
        return [client.submit(work.noop, i, pure=False).result() for i in range(count)]

    def apply_async(self, client: Any, count: int) -> list[Any]:
        futures = [client.submit(work.noop, i, pure=False) for i in range(count)]
        return [future.result() for future in futures]

    def map(self, client: Any, count: int) -> list[Any]:
        return list(client.gather(client.map(work.noop, range(count), pure=False)))

    array_workers = workers

    def map_arrays(self, client: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        # As its documentation tells for large arguments.
        return list(client.gather(client.map(function, client.scatter(items, hash=False), pure=False)))

    def map_results(self, client: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return list(client.gather(client.map(function, items, pure=False)))

    def queue(self) -> Any:
        if self.cluster is None:
            self.cluster = self.client()
        return self.distributed.Queue(client=self.cluster)

    @contextmanager
    def process(self, target: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[None]:
        future = self.cluster.submit(target, *args, pure=False)
        yield
        future.result()
