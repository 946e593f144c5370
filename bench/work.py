"""What runs in the workers: every peer runs these same functions, found by this module's name.

Imports nothing at the top: a worker's start-up would pay for it.
"""

from collections.abc import Callable
from time import perf_counter, sleep
from typing import Any

# The "64 MB" of the table.
ARRAY_BYTES = 64 * 1024 * 1024


def noop(x: Any) -> Any:
    """The task that costs nothing, so that only the way there and back is measured."""
    return x


def microsecond(x: Any) -> Any:
    """About a microsecond of work."""
    sum(range(60))
    return x


def log_to(queue: Any) -> None:
    """In a worker: as the standard library's documentation has it."""
    import logging
    import logging.handlers

    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.handlers.QueueHandler(queue))


def log(x: int) -> int:
    import logging

    logging.getLogger("bench").info("item %d", x)
    return x


def nap(seconds: float) -> float:
    """A call that takes so long and no core: so the optimum is known."""
    sleep(seconds)
    return seconds


def classic(count: int) -> int:
    """The job of every tutorial: CPU-bound, and holding the GIL throughout."""
    res = 0
    for i in range(count):
        res += i + i**2 + i**3
    return res


def put_classic(queue: Any, count: int) -> None:
    """The job as a process of the tutorials does it, its result sent through a queue."""
    queue.put(classic(count))


def echo(inbox: Any, outbox: Any, count: int) -> None:
    """The far end of a ping-pong."""
    for _ in range(count):
        outbox.put(inbox.get())


def produce_ints(go: Any, queue: Any, batches: list[int]) -> None:
    """Send 0, 1, 2, … in batches of these lengths, each when told to by an item in `go`."""
    queue.put("ready")
    for count in batches:
        go.get()
        for i in range(count):
            queue.put(i)


def produce_arrays(go: Any, queue: Any, batches: list[int]) -> None:
    """The same with float64 arrays of 64 MB, made and filled before the clock runs."""
    import numpy as np

    array = np.arange(ARRAY_BYTES // 8, dtype=np.float64)
    queue.put("ready")
    for count in batches:
        go.get()
        for _ in range(count):
            queue.put(array)


def change(array: Any) -> tuple[float, float]:
    """Look at both ends of an array, and write into it. Where it is read-only, that takes a copy."""
    if not array.flags.writeable:
        array = array.copy()
    array[len(array) // 2] = -1.0
    return float(array[0]), float(array[-1])


_ready: list[Any] = []


def give(number: int) -> Any:
    """A float64 array of 64 MB that begins and ends with the number. It is made once: only its way back is measured."""
    import numpy as np

    if not _ready:
        _ready.append(np.zeros(ARRAY_BYTES // 8))
    array = _ready[0]
    array[0] = array[-1] = number
    return array


def small_dict(number: int) -> dict[str, Any]:
    """Five keys, as of a row or a message."""
    return {"id": number, "name": f"item {number}", "price": number / 4, "sold": number % 2 == 0, "note": None}


def produce_dicts(go: Any, queue: Any, batches: list[int]) -> None:
    """Send small dicts in batches of these lengths, made before each is told to go by an item in `go`."""
    queue.put("ready")
    for count in batches:
        dicts = [small_dict(i) for i in range(count)]
        go.get()
        for one in dicts:
            queue.put(one)


def produce_one(go: Any, queue: Any, batches: list[int]) -> None:
    """Send one array of so many bytes for each of the batches."""
    import numpy as np

    arrays = [np.arange(count // 8, dtype=np.float64) for count in batches]
    queue.put("ready")
    for array in arrays:
        go.get()
        queue.put(array)


def ends_of_shared(array: Any) -> tuple[float, float]:
    """Look at both ends of a shared array."""
    return float(array[0]), float(array[-1])


def ends_of_named(place: tuple[Any, int, int]) -> tuple[float, float]:
    """Look at both ends of a part of the standard library's SharedMemory, which every receiver opens by its name."""
    memory, start, stop = place
    view = memory.buf.cast("d")
    ends = view[start], view[stop - 1]
    view.release()
    return ends


def add_locked(value: Any, count: int) -> None:
    """Add one safely as the standard library's documentation tells."""
    for _ in range(count):
        with value.get_lock():
            value.value += 1


def add_atomic(value: Any, count: int) -> None:
    """Add one safely where `+=` is atomic."""
    for _ in range(count):
        value += 1


def add_from(adder: Callable[[Any, int], None], value: Any, count: int, inbox: Any, outbox: Any) -> None:
    """One of the two processes that add; reports the moments between which it did.

    Both spin until the same moment of the system-wide monotonic clock, so that they really meet: a wake-up
    through a queue would let the first finish before the second begins.
    """
    outbox.put("ready")
    start = inbox.get()
    while perf_counter() < start:
        continue
    begin = perf_counter()
    adder(value, count)
    outbox.put((begin, perf_counter()))
