"""How each operation is timed: in one place, so that every peer is timed alike.

Each function takes a peer of `bench.peers` and a size and returns seconds for one item (a plain factor for `classic`,
payloads for `queue_peak`); those that move arrays through a pool also what a plain copy takes. Each checks the answers,
outside the timed part: a quick wrong answer is an error, not a figure.
"""

import gc
import random
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, NamedTuple

from bench import measure_joblib, work
from bench.peers import create

# Repeats inside one sample where one takes only milliseconds, their median being the sample; and the seconds
# after which there is no further one.
REPEATS = 5
ENOUGH = 0.5
# Less than that, and what the programs have besides is no longer small beside it.
LEAST_PAYLOAD = 32 << 20
# Loops of a job that takes about half a millisecond.
_CROWD_JOB = 4_000
# How far ahead the two adding processes agree to begin: more than a wake-up, less than anyone notices.
AGREED_START = 0.05


class Beside(NamedTuple):
    """A sample, and what was measured beside it in the same process to compare it with."""

    value: float
    yardstick: float


def measure(peer: str, operation: str, size: int) -> tuple[float, float | None]:
    """One sample of one operation of one peer, and what stands beside it."""
    implementation = create(peer)
    try:
        found = MEASURES[operation](implementation, size)
        return found if isinstance(found, Beside) else (found, None)
    finally:
        implementation.close()


def median(values: list[float]) -> float:
    """The middle one; `statistics` would be an import that the cold figures pay for."""
    return sorted(values)[len(values) // 2]


def check(found: Any, expected: Any) -> None:
    """Refuse a wrong answer."""
    if found != expected:
        raise AssertionError(f"wrong answer: {str(found)[:200]} instead of {str(expected)[:200]}")


def seconds(action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


# -- programs and pools


def classic(peer: Any, size: int) -> float:
    """Two jobs one after the other against two at once; one serial job before and one after, for drift."""
    begin = perf_counter()
    before = work.classic(size)
    fork = perf_counter()
    total = peer.classic(size)
    join = perf_counter()
    after = work.classic(size)
    end = perf_counter()
    check(total, before + after)
    return ((fork - begin) + (end - join)) / (join - fork)


def classic_warm(peer: Any, size: int) -> float:
    """The same when the program has started workers before, as it has in all but its first comparison."""
    peer.classic(10)
    return classic(peer, size)


def pool_cold(peer: Any, size: int) -> float:
    """The program's first pool, from just after the import."""
    return seconds(peer.pool) / size


def pool_warm(peer: Any, size: int) -> float:
    peer.pool()
    return median([seconds(peer.pool) for _ in range(size)])


def pool_again(peer: Any, size: int) -> float:
    """Like pool_warm, but who keeps workers for a later pool in a way of his own may do so."""
    peer.again()
    return median([seconds(peer.again) for _ in range(size)])


def pool_recycled(peer: Any, size: int) -> float:
    peer.pool()
    start = perf_counter()
    results = peer.recycling(size)
    spent = perf_counter() - start
    check(results, list(range(size)))
    return spent / size


def logged(peer: Any, size: int) -> float:
    """Until the last record has been handled, wherever the results are by then."""
    import logging
    import threading

    class Counts(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            got.append(record.getMessage())
            if len(got) == wanted:
                done.set()

    got: list[str] = []
    done = threading.Event()
    with peer.logging_workers(Counts()) as pool:
        for wanted in (20, size):  # once small to warm
            got.clear()
            done.clear()
            start = perf_counter()
            results = pool.map(work.log, range(wanted))
            done.wait()
            spent = perf_counter() - start
            check(results, list(range(wanted)))
            check(sorted(got), sorted(f"item {i}" for i in range(wanted)))
    return spent / size


def hot(method: str, repeats: int = 1) -> Callable[[Any, int], float]:
    """Tasks to two workers that are up: once small to warm, then `repeats` times in full."""

    def timed(peer: Any, size: int) -> float:
        with peer.workers() as workers:
            run = getattr(peer, method)
            run(workers, max(10, size // 10))
            samples = []
            for _ in range(repeats):
                gc.collect()
                start = perf_counter()
                results = run(workers, size)
                samples.append((perf_counter() - start) / size)
                check(results, list(range(size)))
                if sum(samples) * size > ENOUGH:
                    break
        return median(samples)

    return timed


def tuned(peer: Any, size: int) -> Beside:
    """Calls of a microsecond with the default and with chunk sizes by hand, in turn: each the median of three."""
    sizes = [None, *(n for n in (16, 64, 256, 1024, 4096, 16384) if n <= size)]
    took: dict[int | None, list[float]] = {n: [] for n in sizes}
    with peer.workers() as workers:
        peer.map_tuned(workers, work.microsecond, range(size), None)
        for _ in range(3):
            for n in sizes:
                gc.collect()
                start = perf_counter()
                results = peer.map_tuned(workers, work.microsecond, range(size), n)
                took[n].append((perf_counter() - start) / size)
                check(results, list(range(size)))
    default = median(took.pop(None))
    return Beside(default, min((median(each) for each in took.values()), default=default))


def skewed(peer: Any, size: int) -> Beside:
    """All of so many calls of lognormal length, in no order; against what two workers need who never wait."""
    chance = random.Random(1)
    naps = [min(max(chance.lognormvariate(0, 1) / 100, 0.001), 0.1) for _ in range(size)]
    with peer.array_workers() as workers:
        peer.map_arrays(workers, work.nap, [0.0] * 4)
        start = perf_counter()
        results = peer.map_arrays(workers, work.nap, naps)
        elapsed = perf_counter() - start
    check(results, naps)
    return Beside(elapsed, max(sum(naps) / 2, max(naps)))


def crowd(peer: Any, size: int) -> float:
    """The same jobs on two workers and on many more than there are cores, by turns; both are up and hot."""
    jobs = [_CROWD_JOB] * size
    expected = [work.classic(_CROWD_JOB)] * size
    ratios = []
    with peer.crowd(2) as few, peer.crowd(64) as many:
        for pool in (few, many):
            peer.map_arrays(pool, work.classic, jobs)
        for _ in range(REPEATS):
            times = []
            for pool in (few, many):
                start = perf_counter()
                results = peer.map_arrays(pool, work.classic, jobs)
                times.append(perf_counter() - start)
                check(results, expected)
            ratios.append(times[0] / times[1])
    return median(ratios)


# -- queues


@contextmanager
def producing(peer: Any, target: Callable[..., None], queue: Any, batches: list[int]) -> Iterator[Any]:
    """Another process that sends batches into `queue`: an item put into what is yielded starts the next."""
    go = peer.queue()
    with peer.process(target, (go, queue, batches)):
        check(queue.get(), "ready")
        yield go


def queue_pingpong(peer: Any, size: int) -> float:
    there, back = peer.queue(), peer.queue()
    warm = max(10, size // 10)
    with peer.process(work.echo, (there, back, warm + size)):
        for i in range(warm):
            there.put(i)
            check(back.get(), i)
        total = 0
        start = perf_counter()
        for i in range(size):
            there.put(i)
            total += back.get()
        elapsed = perf_counter() - start
    check(total, size * (size - 1) // 2)
    return elapsed / size


def queue_ints(peer: Any, size: int) -> float:
    warm = max(10, size // 10)
    queue = peer.queue()
    with producing(peer, work.produce_ints, queue, [warm, size]) as go:
        go.put(1)
        check(peer.drain(queue, warm), list(range(warm)))
        start = perf_counter()
        go.put(1)
        received = peer.drain(queue, size)
        elapsed = perf_counter() - start
    check(received, list(range(size)))
    return elapsed / size


def receive(queue: Any, count: int, read: bool) -> None:
    """Take the arrays one by one, each dropped before the next, and look at their ends or at all of them."""
    length = work.ARRAY_BYTES // 8
    for _ in range(count):
        array = queue.get()
        check((array[0], array[-1], array.nbytes), (0.0, length - 1.0, work.ARRAY_BYTES))
        if read:
            check(array.sum(), length * (length - 1) / 2)
        del array


def queue_arrays(*, warm: bool, read: bool = False) -> Callable[[Any, int], float]:
    def timed(peer: Any, size: int) -> float:
        # numpy is the payload's, not the queue's: loaded before the clock runs.
        import numpy  # noqa: F401

        batches = [size, size] if warm else [size]
        queue = peer.array_queue()
        with producing(peer, work.produce_arrays, queue, batches) as go:
            for count in batches:  # the last one counts
                start = perf_counter()
                go.put(1)
                receive(queue, count, read)
                elapsed = perf_counter() - start
        return elapsed / size

    return timed


def dicts(peer: Any, size: int) -> float:
    warm = max(10, size // 10)
    queue = peer.queue()
    with producing(peer, work.produce_dicts, queue, [warm, size]) as go:
        go.put(1)
        peer.drain(queue, warm)
        # The producer makes the next batch before it asks for the word to go; what it makes is checked here meanwhile.
        expected = [work.small_dict(i) for i in range(size)]
        start = perf_counter()
        go.put(1)
        received = peer.drain(queue, size)
        elapsed = perf_counter() - start
    check(received, expected)
    return elapsed / size


def queue_peak(peer: Any, size: int) -> float:
    """The most memory of all processes while an array of so many MB goes from one to another, in payloads."""
    from bench.memory import watching

    nbytes = max(size << 20, LEAST_PAYLOAD)
    queue = peer.large_queue(nbytes)
    with producing(peer, work.produce_one, queue, [nbytes]) as go, watching() as watch:
        go.put(1)
        array = queue.get()
        check((array[0], array[-1], array.nbytes), (0.0, nbytes // 8 - 1.0, nbytes))
    return watch.beyond / nbytes


# -- arrays to workers and back


def warm_copy() -> float:
    """One copy of 64 MB from and to memory that has been used: the least that moving an array by value can take."""
    import numpy as np

    source = np.zeros(work.ARRAY_BYTES // 8)
    to = source.copy()
    np.copyto(to, source)
    return median([seconds(lambda: np.copyto(to, source)) for _ in range(REPEATS)])


def array_of(number: int) -> Any:
    """A fresh one, which begins and ends with the number."""
    import numpy as np

    return np.full(work.ARRAY_BYTES // 8, float(number))


def arrays_through_pool(make_items: Callable[[int, int], list[Any]], take: str) -> Callable[[Any, int], Beside]:
    """`pool.map` with large items or large results, other ones each time, workers hot."""

    def timed(peer: Any, size: int) -> Beside:
        run = getattr(peer, take)
        function = work.change if take == "map_arrays" else work.give
        with peer.array_workers() as workers:
            samples = []
            for turn in range(1 + REPEATS):
                items = make_items(turn * size, size)
                gc.collect()
                start = perf_counter()
                results = run(workers, function, items)
                samples.append((perf_counter() - start) / size)
                numbers = [float(turn * size + i) for i in range(size)]
                check([(float(x[0]), float(x[-1])) for x in results], [(n, n) for n in numbers])
                if take == "map_arrays":  # what the workers wrote is in copies of their own
                    check([float(item[len(item) // 2]) for item in items], numbers)
                del items, results
                if turn > 0 and sum(samples[1:]) * size > ENOUGH:
                    break
        return Beside(median(samples[1:]), warm_copy())

    return timed


def shared_there_and_back(*, part: bool) -> Callable[[Any, int], float]:
    """A shared array, or its middle, through a queue to another process and through another one back."""

    def timed(peer: Any, size: int) -> float:
        there, back = peer.queue(), peer.queue()
        array = shared_of(peer, part)
        warm = max(10, size // 10)
        with peer.process(work.echo, (there, back, warm + size)):
            for count in (warm, size):  # the last one counts
                start = perf_counter()
                for _ in range(count):
                    there.put(array)
                    back_again = back.get()
                elapsed = perf_counter() - start
        check(tuple(peer.ends(back_again)), (0.0, 0.0) if part else (1.0, 2.0))
        return elapsed / size

    return timed


def shared_apply(peer: Any, size: int) -> float:
    array = shared_of(peer, part=False)
    with peer.workers() as pool:
        for count in (max(10, size // 10), size):  # the last one counts
            start = perf_counter()
            for _ in range(count):
                ends = pool.apply(peer.ends, (array,))
            elapsed = perf_counter() - start
    check(tuple(ends), (1.0, 2.0))
    return elapsed / size


def shared_of(peer: Any, part: bool) -> Any:
    """64 MB that all processes see, or what sends the middle half of it."""
    length = work.ARRAY_BYTES // 8
    array = peer.shared_array(length)
    return peer.shared_part(array, length // 4, length // 4 * 3) if part else array


# -- locks and shared values


def statement(peer_method: str, code: str) -> Callable[[Any, int], float]:
    """A statement on one object `x`, in the tight loop of timeit."""

    def timed(peer: Any, size: int) -> float:
        timer = timeit.Timer(code, globals={"x": getattr(peer, peer_method)()})
        timer.timeit(size // 10)
        return median(timer.repeat(REPEATS, size)) / size

    return timed


def value_alone(peer: Any, size: int) -> float:
    value, adder = peer.value(), peer.adder
    adder(value, size // 10)
    samples = [seconds(lambda: adder(value, size)) / size for _ in range(REPEATS)]
    check(value.value, size // 10 + REPEATS * size)
    return median(samples)


def value_two(peer: Any, size: int) -> float:
    """Two processes at once: the time from the first's begin to the last's end, over all additions."""
    value, go, reports = peer.value(), peer.queue(), peer.queue()
    args = (peer.adder, value, size, go, reports)
    with peer.process(work.add_from, args), peer.process(work.add_from, args):
        check([reports.get(), reports.get()], ["ready", "ready"])
        start = perf_counter() + AGREED_START
        go.put(start)
        go.put(start)
        begins, ends = zip(reports.get(), reports.get(), strict=True)
    check(value.value, 2 * size)
    return float(max(ends) - min(begins)) / (2 * size)


MEASURES: dict[str, Callable[[Any, int], float | Beside]] = {
    "classic": classic,
    "classic_warm": classic_warm,
    "pool_warm": pool_warm,
    "pool_cold": pool_cold,
    "pool_again": pool_again,
    "pool_recycled": pool_recycled,
    "logged": logged,
    "apply": hot("apply"),
    "apply_async": hot("apply_async"),
    "submit": hot("submit"),
    "submit_many": hot("submit_many"),
    "imap": hot("imap"),
    "map": hot("map", REPEATS),
    "map_tuned": tuned,
    "skewed": skewed,
    "map_shown": hot("map_shown"),
    "crowd": crowd,
    "queue_pingpong": queue_pingpong,
    "queue_ints": queue_ints,
    "queue_arrays_warm": queue_arrays(warm=True),
    "queue_arrays_cold": queue_arrays(warm=False),
    "queue_arrays_read": queue_arrays(warm=True, read=True),
    "dicts": dicts,
    "queue_peak": queue_peak,
    "pool_arrays": arrays_through_pool(lambda first, n: [array_of(first + i) for i in range(n)], "map_arrays"),
    "pool_results": arrays_through_pool(lambda first, n: list(range(first, first + n)), "map_results"),
    "shared_array": shared_there_and_back(part=False),
    "shared_slice": shared_there_and_back(part=True),
    "shared_apply": shared_apply,
    "lock": statement("lock", "x.acquire(); x.release()"),
    "lock_with": statement("lock", "with x: pass"),
    "value_alone": value_alone,
    "value_two": value_two,
    "array_set": statement("array", "x[3] = 7"),
    **measure_joblib.MEASURES,
}
