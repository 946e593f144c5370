"""faster-fifo: a queue and nothing else, between processes of the standard library."""

import multiprocessing
from importlib import import_module
from typing import Any

from bench.peers.base import WithProcesses
from bench.work import ARRAY_BYTES


class FasterFifo(WithProcesses):
    """Its queue takes no item larger than its buffer, so the arrays need a larger one than the default."""

    def __init__(self) -> None:
        self.mp = multiprocessing
        self.fifo = import_module("faster_fifo")

    def queue(self) -> Any:
        return self.fifo.Queue()

    def array_queue(self) -> Any:
        return self.fifo.Queue(max_size_bytes=4 * ARRAY_BYTES)

    def large_queue(self, nbytes: int) -> Any:
        return self.fifo.Queue(max_size_bytes=nbytes + (1 << 20))


class GetMany(FasterFifo):
    """Taking all there is at each call: what it is made for, where the consumer can use it."""

    def drain(self, queue: Any, count: int) -> list[Any]:
        received: list[Any] = []
        while len(received) < count:
            received += queue.get_many(max_messages_to_get=count - len(received))
        return received
