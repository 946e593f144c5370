"""Queue between workers: join before get, many to many, any size, and workers that die."""

import contextlib
import os
import queue
import signal
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Start = Callable[..., Handle]


def drain(q: Handle) -> list[Any]:
    """What can be had at once."""
    items = []
    with contextlib.suppress(queue.Empty):
        while True:
            items.append(q.get_nowait())
    return items


SIZES = [10, 100, 239, 240, 241, 1_000, 4_095, 4_096, 65_536, 1_000_000, 10_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_join_first_and_get_afterwards(mp: Context, start: Start, size: int) -> None:
    q = mp.Queue()
    workers = [start(jobs.put_letters, q, letter, size) for letter in (b"a", b"b")]
    for p in workers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert sorted([q.get(), q.get()]) == [b"a" * size, b"b" * size]
    assert q.empty()


def test_join_first_with_100_megabytes_each(mp: Context, start: Start) -> None:
    q = mp.Queue()
    size = 100_000_000
    workers = [start(jobs.put_letters, q, letter, size) for letter in (b"a", b"b")]
    for p in workers:
        p.join(PATIENCE)
    seen = set()
    for _ in workers:
        item = q.get()
        assert item.count(item[:1]) == len(item) == size
        seen.add(item[:1])
    assert seen == {b"a", b"b"}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.needs("copies")
@pytest.mark.parametrize("maker", ["Queue", "JoinableQueue"])
@pytest.mark.parametrize("kind", ["array", "bytes"])
@pytest.mark.lacks("cluster")  # it would be in the memory of five processes at a time
def test_one_message_of_more_than_2_gb(mp: Context, start: Start, maker: str, kind: str) -> None:
    """No size on the way has 31 bits, nor 32 where it is read with a sign."""
    size = (1 << 31) + (1 << 20) + 7

    def put_one() -> None:
        data = np.zeros(size, np.uint8)
        data[[0, 1 << 31, -1]] = 1, 2, 3
        q.put(data if kind == "array" else data.tobytes())

    q = getattr(mp, maker)(max_bytes=1 << 33)
    p = start(put_one)
    p.join(200)
    assert p.exitcode == 0
    assert size <= q.statistics().bytes < size + 1_000
    item = q.get(timeout=PATIENCE)
    assert (len(item), item[0], item[1 << 31], item[-1]) == (size, 1, 2, 3)
    assert q.statistics().bytes == 0


def test_join_first_with_many_small_ones(mp: Context, place: Place, start: Start) -> None:
    q, count = mp.Queue(), 2_000 if place.cluster else 20_000
    start(jobs.put_all, q, range(count)).join(PATIENCE)
    assert [q.get() for _ in range(count)] == list(range(count))


@pytest.mark.needs("parallel")
def test_a_put_wakes_a_get(mp: Context, start: Start) -> None:
    there, back = mp.Queue(), mp.Queue()

    def bounce() -> None:
        for item in iter(there.get, None):
            back.put(item + 1)

    p = start(bounce)
    for i in range(300):
        there.put(i)
        assert back.get(timeout=PATIENCE) == i + 1
    there.put(None)
    p.join(PATIENCE)
    assert p.exitcode == 0


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("maxsize", [1, 2, 7])
def test_a_get_wakes_a_put(mp: Context, start: Start, maxsize: int) -> None:
    q = mp.Queue(maxsize)
    p = start(jobs.put_all, q, range(500))
    assert [q.get(timeout=PATIENCE) for _ in range(500)] == list(range(500))
    p.join(PATIENCE)
    assert p.exitcode == 0


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("maxsize", [0, 1, 50])
def test_many_to_many_each_item_exactly_once(mp: Context, start: Start, maxsize: int) -> None:
    q = mp.Queue(maxsize)
    consumers = [start(jobs.get_until_none, q) for _ in range(4)]
    producers = [start(jobs.put_all, q, [(k, i) for i in range(500)]) for k in range(4)]
    for p in producers:
        p.join(PATIENCE)
    for _ in consumers:
        q.put(None)
    received = [p.result(PATIENCE) for p in consumers]
    assert Counter(chain.from_iterable(received)) == Counter((k, i) for k in range(4) for i in range(500))
    for mine in received:  # and nobody sees one producer's items out of order
        for k in range(4):
            of_k = [i for producer, i in mine if producer == k]
            assert of_k == sorted(of_k)


@pytest.mark.needs("parallel")
def test_large_and_small_mixed_many_to_many(mp: Context, start: Start) -> None:
    q = mp.Queue(8)
    sizes = [1, 100_000, 240, 5_000, 3_000_000, 0] * 5

    def put_sized(letter: bytes) -> None:
        for size in sizes:
            q.put(letter * size)

    def sizes_seen() -> list[int]:
        return [len(item) for item in iter(q.get, None) if item.count(item[:1] or b"-") == len(item)]

    consumers = [start(sizes_seen) for _ in range(2)]
    for p in [start(put_sized, letter) for letter in (b"a", b"b")]:
        p.join(PATIENCE)
    for _ in consumers:
        q.put(None)
    received = chain.from_iterable(p.result(PATIENCE) for p in consumers)
    assert Counter(received) == Counter(2 * sizes)


@pytest.mark.needs("kills")
def test_a_consumer_killed_in_get_takes_nothing_along(mp: Context, start: Start) -> None:
    q, ready = mp.Queue(), mp.Semaphore(0)

    def consume() -> None:
        ready.release()
        q.get()

    victims = [start(consume) for _ in range(3)]
    for _ in victims:
        assert ready.acquire(timeout=PATIENCE)
    for p in victims:
        p.kill()
        p.join(PATIENCE)
    for i in range(100):
        q.put(i)
    p = start(lambda: [q.get(timeout=PATIENCE) for _ in range(100)])
    assert p.result(PATIENCE) == list(range(100))


@pytest.mark.needs("kills")
def test_a_consumer_killed_in_get_does_not_swallow_the_wake_up(mp: Context, start: Start) -> None:
    """Two wait, one is killed while an item comes: the other must get it, or the next one."""
    q, ready = mp.Queue(), mp.Semaphore(0)

    def consume() -> object:
        ready.release()
        return q.get()

    for _ in range(5):
        victim, other = start(consume), start(consume)
        for _ in range(2):
            assert ready.acquire(timeout=PATIENCE)
        os.kill(victim.pid, signal.SIGKILL)
        q.put("one")
        victim.join(PATIENCE)
        q.put("two")
        assert other.result(PATIENCE) in ("one", "two")
        drain(q)


@pytest.mark.needs("kills")
def test_a_producer_killed_in_put_blocks_nobody(mp: Context, start: Start) -> None:
    q = mp.Queue(16)

    def count_up() -> None:
        i = 0
        while True:
            q.put((i, b"x" * (i % 7 * 1000)))
            i += 1

    for _ in range(3):
        victim = start(count_up)
        received = [q.get(timeout=PATIENCE)[0] for _ in range(300)]
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(PATIENCE)
        received += [i for i, _ in drain(q)]
        q.put("end", timeout=PATIENCE)
        received += [i for i, _ in iter(lambda: q.get(timeout=PATIENCE), "end")]
        assert received == list(range(len(received)))  # nothing lost, nothing twice


@pytest.mark.needs("kills")
def test_what_a_killed_process_has_put_is_there(mp: Context, start: Start) -> None:
    q = mp.Queue()

    def put_and_die() -> None:
        for size in (10, 1_000, 1_000_000):
            q.put(b"x" * size)
        os.kill(os.getpid(), signal.SIGKILL)

    start(put_and_die).join(PATIENCE)
    assert [len(q.get(timeout=PATIENCE)) for _ in range(3)] == [10, 1_000, 1_000_000]
