"""The standard library's multiprocessing, and those with its interface: the same code for all of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench import work
from bench.peers.base import WithProcesses

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator


class MpLike(WithProcesses):
    """Everything through the names of multiprocessing."""

    module = ""
    adder = staticmethod(work.add_locked)

    def __init__(self, start_method: str = "") -> None:
        self.mp = import_module(self.module)
        if start_method:
            self.mp = self.mp.get_context(start_method)

    def classic(self, size: int) -> int:
        queue = self.mp.Queue()
        processes = [self.mp.Process(target=work.put_classic, args=(queue, size)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return sum(queue.get() for _ in processes)

    def pool(self) -> None:
        with self.mp.Pool(2) as pool:
            pool.map(work.noop, (1, 2))

    again = pool

    def recycling(self, count: int) -> list[Any]:
        with self.mp.Pool(2, maxtasksperchild=5) as pool:
            return list(pool.map(work.noop, range(count), chunksize=1))

    def workers(self) -> AbstractContextManager[Any]:
        pool: AbstractContextManager[Any] = self.mp.Pool(2)
        return pool

    @contextmanager
    def logging_workers(self, handler: logging.Handler) -> Iterator[Any]:
        queue = self.mp.Queue()
        listener = import_module("logging.handlers").QueueListener(queue, handler)
        with self.mp.Pool(2, work.log_to, (queue,)) as pool:
            listener.start()
            yield pool
            listener.stop()

    def crowd(self, workers: int) -> AbstractContextManager[Any]:
        pool: AbstractContextManager[Any] = self.mp.Pool(workers)
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
        # The recipe that is found everywhere; with the chunk size that it leaves at 1.
        return list(import_module("tqdm").tqdm(pool.imap(work.noop, range(count)), total=count))

    array_workers = workers

    def map_arrays(self, pool: Any, function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        return list(pool.map(function, items))

    map_results = map_arrays

    def map_tuned(self, pool: Any, function: Callable[[Any], Any], items: Any, chunksize: int | None) -> list[Any]:
        return list(pool.map(function, items, chunksize))

    def queue(self) -> Any:
        return self.mp.Queue()

    array_queue = queue

    def lock(self) -> Any:
        return self.mp.Lock()

    def value(self) -> Any:
        return self.mp.Value("i", 0)

    def array(self) -> Any:
        return self.mp.Array("i", 10)


class Standard(MpLike):
    module = "multiprocessing"
    ends = staticmethod(work.ends_of_named)

    def __init__(self, start_method: str = "") -> None:
        super().__init__(start_method)
        self.named: list[Any] = []

    def close(self) -> None:
        for memory in self.named:
            memory.close()
            memory.unlink()

    def shared_array(self, length: int) -> Any:
        """SharedMemory, and from where to where in it; its documentation sends it by name."""
        memory = import_module("multiprocessing.shared_memory").SharedMemory(create=True, size=8 * length)
        self.named.append(memory)
        view = memory.buf.cast("d")
        view[0], view[length - 1] = 1.0, 2.0
        view.release()
        return memory, 0, length

    def shared_part(self, array: Any, start: int, stop: int) -> Any:
        return array[0], start, stop


class Allcores(MpLike):
    module = "allcores"
    adder = staticmethod(work.add_atomic)
    ends = staticmethod(work.ends_of_shared)

    def submit(self, pool: Any, count: int) -> list[Any]:
        return [pool.submit(work.noop, i).result() for i in range(count)]

    def submit_many(self, pool: Any, count: int) -> list[Any]:
        futures = [pool.submit(work.noop, i) for i in range(count)]
        return [future.result() for future in futures]

    def map_shown(self, pool: Any, count: int) -> list[Any]:
        return list(pool.map(work.noop, range(count), progress=True))

    @contextmanager
    def logging_workers(self, handler: logging.Handler) -> Iterator[Any]:
        logger = import_module("logging").getLogger("bench")
        logger.addHandler(handler)
        logger.setLevel("INFO")
        with self.mp.Pool(2) as pool:
            yield pool
        logger.removeHandler(handler)

    def parallel(self) -> AbstractContextManager[Any]:
        import_module("allcores.integrations.joblib")
        config: AbstractContextManager[Any] = import_module("joblib").parallel_config(backend="allcores")
        return config

    def shared_array(self, length: int) -> Any:
        array = self.mp.SharedArray(length)
        array[0], array[-1] = 1.0, 2.0
        return array

    def shared_part(self, array: Any, start: int, stop: int) -> Any:
        return array[start:stop]


class Billiard(MpLike):
    module = "billiard"
