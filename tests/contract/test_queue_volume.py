"""Queue(max_bytes=...): back-pressure by volume."""

import array
import os
import queue
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from allcores.counting import estimate_bytes

from . import jobs
from .kit import IMPATIENT, PATIENCE, Context, Handle, Place

Start = Callable[..., Handle]
MAKERS = ("Queue", "JoinableQueue")


@pytest.fixture(params=MAKERS)
def make(mp: Context, request: pytest.FixtureRequest) -> Callable[..., Handle]:
    maker: Callable[..., Handle] = getattr(mp, request.param)
    return maker


def test_put_waits_for_room(make: Callable[..., Handle]) -> None:
    q = make(max_bytes=1_000)
    for _ in range(10):
        q.put(b"x" * 100)
    assert q.full()
    assert q.statistics().bytes == 1_000
    for args, kwargs in IMPATIENT:
        with pytest.raises(queue.Full):
            q.put(b"y", *args, **kwargs)
    q.get()
    assert not q.full()
    with pytest.raises(queue.Full):
        q.put_nowait(b"y" * 101)
    q.put_nowait(b"y" * 100)
    assert [q.get()[:1] for _ in range(10)] == [b"x"] * 9 + [b"y"]
    assert (q.statistics().items, q.statistics().bytes) == (0, 0)


def test_what_never_fits_goes_alone(make: Callable[..., Handle]) -> None:
    q = make(max_bytes=10)
    q.put_nowait(b"x" * 100_000)
    with pytest.raises(queue.Full):
        q.put_nowait(b"y")
    assert len(q.get()) == 100_000
    q.put_nowait(b"y")
    with pytest.raises(queue.Full):
        q.put_nowait(b"x" * 100_000)


def test_together_with_maxsize(make: Callable[..., Handle]) -> None:
    q = make(2, max_bytes=100)
    q.put_nowait(b"x")
    q.put_nowait(b"x")
    with pytest.raises(queue.Full):
        q.put_nowait(b"x")
    q.get()
    with pytest.raises(queue.Full):
        q.put_nowait(b"x" * 100)
    q.put_nowait(b"x" * 99)
    assert (q.statistics().items, q.statistics().bytes, q.statistics().maxsize) == (2, 100, 2)


def test_nothing_is_at_least_a_byte(make: Callable[..., Handle]) -> None:
    q = make(max_bytes=3)
    for _ in range(3):
        q.put_nowait(b"")
    with pytest.raises(queue.Full):
        q.put_nowait(b"")


def test_buffers_count(make: Callable[..., Handle]) -> None:
    q = make(max_bytes=1_000_000)
    q.put({"a": np.zeros(50_000), "b": [np.zeros(50_000)]})
    size = q.statistics().bytes
    assert 800_000 <= size <= 801_000
    with pytest.raises(queue.Full):
        q.put_nowait(np.zeros(50_000))
    q.put_nowait(np.zeros(20_000))


@pytest.mark.needs("shares")
def test_shared_objects_count_as_their_handles(mp: Context, make: Callable[..., Handle]) -> None:
    q = make(max_bytes=2_000)
    for shared in (mp.Array("d", 100_000), mp.SharedArray(100_000), mp.SharedArray((100, 100))[::2, 3:]):
        q.put_nowait(shared)
    assert 0 < q.statistics().bytes < 1_000


@pytest.mark.parametrize("wrong", [0, -1, 1 << 63])
def test_limits_that_make_no_sense(make: Callable[..., Handle], wrong: int) -> None:
    with pytest.raises(ValueError, match="max_bytes must be 1 or more"):
        make(max_bytes=wrong)


def test_limits_of_a_wrong_type(make: Callable[..., Handle]) -> None:
    with pytest.raises(TypeError, match=r"max_bytes must be an int.* not '1 MB'"):
        make(max_bytes="1 MB")
    with pytest.raises(TypeError, match="maxsize must be an int"):
        make("3", max_bytes=1)
    with pytest.raises(TypeError):
        make(3, 100)


def test_without_a_limit_nobody_counts(mp: Context) -> None:
    q = mp.Queue(3)
    q.put(b"x" * 100)
    seen = q.statistics()
    assert (seen.items, seen.bytes, seen.maxsize, seen.max_bytes) == (1, None, 3, None)
    assert (seen.unfinished, seen.in_hands, seen.lost) == (None, None, None)
    with pytest.raises(AttributeError):
        seen.items = 2


def test_a_worker_has_the_same_limit(make: Callable[..., Handle], start: Start) -> None:
    q = make(max_bytes=100)

    def fill() -> int:
        for i in range(1_000):
            try:
                q.put_nowait(b"x" * 10)
            except queue.Full:
                return i
        return -1

    assert start(fill).result(PATIENCE) == 10
    assert q.full()


@pytest.mark.needs("parallel")
def test_a_get_wakes_those_who_fit(make: Callable[..., Handle], start: Start) -> None:
    """One waits for more room than another: the small one is not held up by the large one."""
    q = make(max_bytes=100)
    q.put(b"a" * 50)
    q.put(b"b" * 50)
    large = start(jobs.put_all, q, [b"c" * 90])
    small = start(jobs.put_all, q, [b"d" * 20])
    assert q.get() == b"a" * 50
    small.join(PATIENCE)
    assert small.exitcode == 0
    assert {q.get(timeout=PATIENCE)[:1] for _ in range(3)} == {b"b", b"c", b"d"}
    large.join(PATIENCE)
    assert large.exitcode == 0


@pytest.mark.needs("parallel")
def test_never_more_than_the_limit(make: Callable[..., Handle], start: Start) -> None:
    q = make(max_bytes=10_000)
    sizes = [1, 3_000, 9_999, 250, 5_000] * 40
    producers = [start(jobs.put_all, q, [b"x" * size for size in sizes]) for _ in range(2)]
    got = []
    for _ in range(2 * len(sizes)):
        assert q.statistics().bytes <= 10_000
        got.append(len(q.get(timeout=PATIENCE)))
    assert sorted(got) == sorted(2 * sizes)
    for p in producers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert q.statistics().bytes == 0


@pytest.mark.needs("kills")
def test_a_producer_killed_while_it_waits_for_room(make: Callable[..., Handle], mp: Context, start: Start) -> None:
    q, ready = make(max_bytes=100), mp.Semaphore(0)
    q.put(b"x" * 100)

    def put_more() -> None:
        ready.release()
        q.put(b"y" * 60)

    victims = [start(put_more) for _ in range(3)]
    for _ in victims:
        assert ready.acquire(timeout=PATIENCE)
    for p in victims[:2]:
        os.kill(p.pid, signal.SIGKILL)
        p.join(PATIENCE)
    assert q.get() == b"x" * 100
    victims[2].join(PATIENCE)
    assert victims[2].exitcode == 0
    assert q.get(timeout=PATIENCE) == b"y" * 60
    assert q.empty()
    assert q.statistics().bytes == 0


@pytest.mark.needs("kills")
def test_killed_at_any_moment(make: Callable[..., Handle], start: Start) -> None:
    q = make(max_bytes=5_000)

    def put_for_ever() -> None:
        while True:
            q.put(b"x" * 700)

    def get_for_ever() -> None:
        while True:
            q.get()

    for _ in range(5):
        victims = [start(put_for_ever), start(get_for_ever)]
        for _ in range(50):
            q.get(timeout=PATIENCE)
        for p in victims:
            p.kill()
            p.join(PATIENCE)
        seen = q.statistics()
        assert seen.bytes == 700 * seen.items <= 5_000
        while not q.empty():
            q.get(timeout=PATIENCE)
        assert (q.qsize(), q.statistics().bytes) == (0, 0)


@pytest.mark.lacks("copies")
def test_a_shared_list_counts_once(mp: Context) -> None:
    q = mp.Queue(max_bytes=1_000)
    part = [b"x" * 100]
    loop: list[Any] = [part, part]
    loop.append(loop)
    q.put(loop)
    assert q.statistics().bytes == 100


ESTIMATES: list[tuple[object, int]] = [
    (b"x" * 10, 10),
    (bytearray(20), 20),
    (memoryview(bytes(30)), 30),
    ("abc", 3),
    ("ä", 2),
    (np.zeros((3, 4)), 96),
    (np.zeros((4, 4))[:, 1], 32),
    (np.zeros(3, "M8[s]"), 24),
    (array.array("d", [1, 2]), 16),
    ([b"12", (b"3", {"k": b"45"})], 6),
    ((), 1),
]


@pytest.mark.parametrize(("obj", "size"), ESTIMATES, ids=lambda x: type(x).__name__)
def test_estimates(obj: object, size: int) -> None:
    assert estimate_bytes(obj) == size


def test_the_estimate_is_about_what_an_item_takes(mp: Context, place: Place) -> None:
    q = mp.Queue(max_bytes=10_000_000)
    item = [np.arange(10_000), b"x" * 70_000, "text" * 1_000]
    q.put(item)
    assert abs(q.statistics().bytes - estimate_bytes(item)) < 1_000
