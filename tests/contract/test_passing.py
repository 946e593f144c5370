"""Anything can be passed to anything: locks, queues, values and arrays, to a Process and to a running Pool."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle

Start = Callable[..., Handle]


@dataclass(frozen=True)
class Shared:
    """A kind of handle: how to make one, what a worker does with it, and how its maker sees that it did."""

    make: Callable[[Context], Handle]
    use: Callable[[Any], object]
    seen: Callable[[Any], bool]


def made_and_held(mp: Context, kind: str) -> Handle:
    lock = getattr(mp, kind)()
    lock.acquire()
    return lock


SHARED = {
    "Lock": Shared(
        lambda mp: made_and_held(mp, "Lock"),
        lambda lock: lock.release(),
        lambda lock: lock.acquire(timeout=PATIENCE),
    ),
    "RLock": Shared(
        lambda mp: mp.RLock(),
        lambda lock: (lock.acquire(), lock.acquire(), lock.release(), lock.release()),
        lambda lock: lock.acquire(timeout=PATIENCE),
    ),
    "Semaphore": Shared(
        lambda mp: mp.Semaphore(0),
        lambda semaphore: semaphore.release(),
        lambda semaphore: semaphore.acquire(timeout=PATIENCE),
    ),
    "BoundedSemaphore": Shared(
        lambda mp: made_and_held(mp, "BoundedSemaphore"),
        lambda semaphore: semaphore.release(),
        lambda semaphore: semaphore.acquire(timeout=PATIENCE),
    ),
    "Event": Shared(lambda mp: mp.Event(), lambda event: event.set(), lambda event: event.is_set()),
    "Queue": Shared(
        lambda mp: mp.Queue(),
        lambda queue: queue.put("hello"),
        lambda queue: queue.get(timeout=PATIENCE) == "hello",
    ),
    "Value": Shared(lambda mp: mp.Value("i", 1), lambda v: v.add(41), lambda v: v.value == 42),
    "Array": Shared(
        lambda mp: mp.Array("d", [0.5, 1]),
        lambda array: array.__setitem__(1, 42),
        lambda array: array[:] == [0.5, 42],
    ),
    "unlocked Value": Shared(
        lambda mp: mp.Value("i", lock=False),
        lambda value: setattr(value, "value", 42),
        lambda value: value.value == 42,
    ),
}


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest) -> Shared:
    return SHARED[request.param]


Call = Callable[..., Any]


@pytest.fixture(params=["Process", "Pool"])
def call(mp: Context, start: Start, request: pytest.FixtureRequest) -> Iterator[Call]:
    """Calls a function in a worker, and gives its result: a new process, or a pool that has been at work."""
    if request.param == "Process":
        yield lambda function, *args: start(function, *args).result(PATIENCE)
        return
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(4))
        yield lambda function, *args: pool.apply_async(function, args).get(PATIENCE)


def test_as_an_argument(mp: Context, shared: Shared, call: Call) -> None:
    handle = shared.make(mp)
    call(shared.use, handle)
    assert shared.seen(handle)


def test_inside_a_dict(mp: Context, shared: Shared, call: Call) -> None:
    handle, use = shared.make(mp), shared.use
    call(lambda tools: use(tools["deep"][0]), {"deep": [handle]})
    assert shared.seen(handle)


def test_in_a_closure(mp: Context, shared: Shared, call: Call) -> None:
    handle, use = shared.make(mp), shared.use
    call(lambda: use(handle))
    assert shared.seen(handle)


def test_as_a_global_of_a_function_by_value(mp: Context, shared: Shared, call: Call) -> None:
    cell = {"__name__": "a_notebook", "handle": shared.make(mp), "use": shared.use}
    exec("def job(): use(handle)", cell)
    call(cell["job"])
    assert shared.seen(cell["handle"])


def test_as_an_attribute(mp: Context, shared: Shared, call: Call) -> None:
    class Holder:
        def __init__(self, handle: Handle) -> None:
            self.handle = handle

        def use(self) -> None:
            use(self.handle)

    use = shared.use
    holder = Holder(shared.make(mp))
    call(holder.use)
    assert shared.seen(holder.handle)


def test_in_a_partial(mp: Context, shared: Shared, call: Call) -> None:
    handle = shared.make(mp)
    call(partial(shared.use, handle))
    assert shared.seen(handle)


def test_through_a_queue(mp: Context, shared: Shared, call: Call) -> None:
    handle, use, post = shared.make(mp), shared.use, mp.Queue()
    post.put(handle)
    call(lambda: use(post.get(timeout=PATIENCE)))
    assert shared.seen(handle)


def test_there_and_back_it_is_still_the_same(mp: Context, shared: Shared, call: Call) -> None:
    handle = shared.make(mp)
    back = call(jobs.identity, handle)
    shared.use(back)
    assert shared.seen(handle)


def test_twice_in_one_message(mp: Context, shared: Shared, call: Call) -> None:
    def use_second(first: Handle, second: Handle) -> None:
        use(second)

    handle, use = shared.make(mp), shared.use
    call(use_second, handle, handle)
    assert shared.seen(handle)


def test_to_all_items_of_a_map(mp: Context) -> None:
    lock, value, queue, array = mp.Lock(), mp.Value("i", 0), mp.Queue(), mp.Array("i", 20)

    def job(i: int) -> None:
        with lock:
            value.value += 1
        queue.put(i)
        array[i] = i

    with mp.Pool(2) as pool:
        pool.map(job, range(20))
    assert value.value == 20
    assert sorted(queue.get() for _ in range(20)) == array[:] == list(range(20))


def test_to_all_items_of_a_starmap(mp: Context) -> None:
    with mp.Pool(2) as pool:
        values = [mp.Value("i", 0) for _ in range(10)]
        pool.starmap(jobs.add_up, [(value, 10) for value in values])
        assert [value.value for value in values] == [10] * 10


def test_to_an_initializer(mp: Context) -> None:
    queue = mp.Queue()
    with mp.Pool(2, jobs.remember, ("queue", queue)) as pool:
        pool.map(lambda i: jobs.put_all(jobs.recall("queue"), [i]), range(20))
    assert sorted(queue.get() for _ in range(20)) == list(range(20))


def test_made_by_the_way(mp: Context, call: Call) -> None:
    """Its maker keeps no name for it; it lives on in the message and then in the worker."""

    def read(thing: Handle) -> object:
        return thing.value

    for i in range(10):
        assert call(read, mp.Value("i", i)) == i


def test_it_outlives_its_makers_name(mp: Context) -> None:
    post = mp.Queue()
    for i in range(20):
        post.put(mp.Array("i", [i] * 1000))
    assert [post.get()[999] for _ in range(20)] == list(range(20))


def test_from_worker_to_worker(mp: Context, call: Call) -> None:
    """What one worker makes, another one can use while the program holds it."""

    def make() -> Handle:
        return mp.Value("i", 40)

    value = call(make)
    call(jobs.add_up, value, 2)
    assert value.value == 42


def test_a_process_within_a_process(mp: Context, start: Start) -> None:
    value, queue = mp.Value("i", 0), mp.Queue()

    def outer() -> None:
        inner = mp.Process(target=jobs.add_up, args=(value, 10))
        inner.start()
        inner.join()
        queue.put(inner.exitcode)

    start(outer).join(PATIENCE)
    assert (value.value, queue.get(timeout=PATIENCE)) == (10, 0)


@pytest.mark.lacks("cluster")  # each is a round trip
def test_thousands_of_handles(mp: Context) -> None:
    """They are small things of shared memory, not files: there is no running out of descriptors."""
    values = [mp.Value("i", i) for i in range(5_000)]
    with mp.Pool(2) as pool:
        assert pool.apply(lambda: sum(value.value for value in values)) == sum(range(5_000))
