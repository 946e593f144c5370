"""The standard library's multiprocessing, and those with its interface: the same code for all of them."""

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from bench import work
from bench.peers.base import WithProcesses


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

    def workers(self) -> AbstractContextManager[Any]:
        pool: AbstractContextManager[Any] = self.mp.Pool(2)
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


class Allcores(MpLike):
    module = "allcores"
    adder = staticmethod(work.add_atomic)


class Billiard(MpLike):
    module = "billiard"
