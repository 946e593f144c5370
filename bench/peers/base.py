"""What the implementations have in common, and what each may offer.

A peer offers an operation by having its method; a missing one is not an error:

    classic(size) -> int        two classic jobs at once, the sum of their results; starts its workers itself
    pool()                      create a pool of two, map two items, leave it
    workers()                   context manager: two workers, for the four below
    apply, apply_async, imap, map (workers, count) -> list     noop over range(count), in order
    submit, submit_many (workers, count) -> list               likewise, by futures: one after the other, or all first
    map_shown(workers, count) -> list                          likewise, with a bar that counts what is done
    logging_workers(handler)    context manager: two workers, whose records of the logger "bench" the handler is given
    crowd(workers)                 context manager: so many workers, for map_arrays
    queue(), process(target, args)                             the latter a context manager that joins
    array_workers()                context manager: two workers, for the two below
    map_arrays, map_results(workers, function, items) -> list  a function of `bench.work`: large items, large results
    map_tuned(workers, function, items, chunksize) -> list     with the chunks of that size, None for its default
    array_queue(), large_queue(nbytes)                         a queue that takes items of 64 MB, or of so many bytes
    drain(queue, count) -> list                                take that many
    lock(), array()
    shared_array(length), shared_part(array, start, stop)      float64 that all processes see, and a part of it
    ends                                                       the function of `bench.work` that looks at such a thing
    parallel()                  context manager: joblib's backend within it
    value(), adder              a shared int, and the function of `bench.work` that adds to it safely
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Implementation:
    """Base of all; holds nothing."""

    def close(self) -> None:
        """End what the implementation started for itself, outside any timed part."""


class WithQueue(Implementation):
    """Those with a queue."""

    def drain(self, queue: Any, count: int) -> list[Any]:
        return [queue.get() for _ in range(count)]

    def large_queue(self, nbytes: int) -> Any:
        return self.array_queue()


class WithProcesses(WithQueue):
    """Those with the standard library's `Process`: subclasses set `mp` to the module or context."""

    mp: Any

    @contextmanager
    def process(self, target: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[None]:
        process = self.mp.Process(target=target, args=args, daemon=True)
        process.start()
        yield
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"the process ended with {process.exitcode}")
