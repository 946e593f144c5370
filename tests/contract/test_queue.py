"""Queue: the methods one by one, in one worker's hands."""

import queue
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from . import jobs
from .kit import IMPATIENT, PATIENCE, Context, Handle, Place


def test_first_in_first_out(mp: Context) -> None:
    q = mp.Queue()
    for i in range(100):
        q.put(i)
    assert [q.get() for _ in range(100)] == list(range(100))


def test_size(mp: Context) -> None:
    q = mp.Queue(3)
    assert (q.qsize(), q.empty(), q.full()) == (0, True, False)
    q.put("a")
    q.put("b")
    assert (q.qsize(), q.empty(), q.full()) == (2, False, False)
    q.put("c")
    assert (q.qsize(), q.empty(), q.full()) == (3, False, True)
    q.get()
    assert (q.qsize(), q.empty(), q.full()) == (2, False, False)


@pytest.mark.parametrize("maxsize", [1, 2, 3, 100])
def test_maxsize_round_and_round(mp: Context, maxsize: int) -> None:
    q = mp.Queue(maxsize=maxsize)
    for turn in range(5):
        for i in range(maxsize):
            q.put((turn, i))
        with pytest.raises(queue.Full):
            q.put_nowait("one too many")
        assert [q.get() for _ in range(maxsize)] == [(turn, i) for i in range(maxsize)]


@pytest.mark.parametrize("maxsize", [0, -1])
@pytest.mark.lacks("cluster")  # each step is a round trip
def test_without_maxsize_put_never_blocks(mp: Context, maxsize: int) -> None:
    q = mp.Queue(maxsize)
    for i in range(20_000):
        q.put(i, timeout=0)
    assert q.full() is False
    assert q.qsize() == 20_000
    assert [q.get() for _ in range(20_000)] == list(range(20_000))


def test_full(mp: Context) -> None:
    q = mp.Queue(1)
    q.put("first")
    with pytest.raises(queue.Full):
        q.put_nowait("more")
    for args, kwargs in IMPATIENT:
        with pytest.raises(queue.Full):
            q.put("more", *args, **kwargs)
    assert q.get() == "first"
    assert q.empty()


def test_empty(mp: Context) -> None:
    q = mp.Queue()
    with pytest.raises(queue.Empty):
        q.get_nowait()
    for args, kwargs in IMPATIENT:
        with pytest.raises(queue.Empty):
            q.get(*args, **kwargs)


def test_close(mp: Context) -> None:
    q = mp.Queue()
    q.put(1)
    q.close()
    q.close()
    q.join_thread()
    with pytest.raises(ValueError, match="closed"):
        q.put(2)


def test_a_worker_closes_only_its_own_end(mp: Context, start: Callable[..., Handle]) -> None:
    q = mp.Queue()

    def put_and_close(name: str) -> None:
        q.put(name)
        q.close()
        q.join_thread()

    for p in [start(put_and_close, "a"), start(put_and_close, "b")]:
        p.join()
        assert p.exitcode == 0
    q.put("c")
    assert {q.get(), q.get(), q.get()} == {"a", "b", "c"}


def test_put_returns_none_and_takes_keywords(mp: Context) -> None:
    q = mp.Queue(maxsize=1)
    assert q.put(obj=1, block=True, timeout=PATIENCE) is None
    assert q.get(block=True, timeout=PATIENCE) == 1


PLAIN: list[object] = [
    None,
    True,
    -1,
    2**64,
    0.1,
    1 + 2j,
    "",
    "ä€😀" * 100,
    b"",
    bytes(240),
    bytearray(b"abc"),
    (),
    [[], [[]]],
    {"a": {"b": {"c": (1, [2, {3, 4}])}}},
    frozenset({1, "x"}),
    range(5),
    slice(1, None, 2),
    Ellipsis,
    int,
    datetime(2024, 2, 29) + timedelta(microseconds=1),
    Decimal("0.10"),
]


def test_what_comes_is_what_went(mp: Context, start: Callable[..., Handle]) -> None:
    q = mp.Queue()
    p = start(jobs.put_all, q, PLAIN)
    for thing in PLAIN:
        back = q.get(timeout=PATIENCE)
        assert back == thing
        assert type(back) is type(thing)
    p.join()


def test_a_list_that_contains_itself(mp: Context) -> None:
    q = mp.Queue()
    loop: list[object] = [1]
    loop.append(loop)
    q.put(loop)
    back = q.get()
    assert back[0] == 1
    assert back[1] is back


ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "small": np.arange(10, dtype=np.int16),
    "inline_edge": np.arange(240, dtype=np.uint8),
    "large": np.arange(1_000_000, dtype=np.float64),
    "fortran": np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "slice": np.arange(100_000)[::3],
    "strings": np.array(["a", "bcd"]),
    "records": np.array([(1, 2.5), (3, 4.5)], dtype=[("n", "i4"), ("x", "f8")]),
    "empty": np.empty((0, 3)),
    "scalar": np.array(7),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_arrive_equal_and_writable(mp: Context, start: Callable[..., Handle], name: str) -> None:
    array = ARRAYS[name]
    q = mp.Queue()
    start(jobs.put_all, q, [array, array]).join()
    first, second = q.get(), q.get()
    for back in (first, second):
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)
        assert back.flags.writeable


@pytest.mark.needs("copies")
def test_an_array_that_came_is_ones_own(mp: Context) -> None:
    q = mp.Queue()
    array = np.zeros(100_000)
    q.put(array)
    array[:] = 1  # after put: what was put is what arrives
    first = q.get()
    first[:] = 2
    q.put(array)
    assert set(first) == {2.0}
    assert set(q.get()) == {1.0}


def test_queue_inside_a_queue(mp: Context, start: Callable[..., Handle]) -> None:
    def answer(outer: Handle) -> None:
        inner = outer.get()["reply to"]
        inner.put("answer")

    outer, inner = mp.Queue(), mp.Queue()
    outer.put({"reply to": inner})
    p = start(answer, outer)
    p.join()
    assert inner.get(timeout=PATIENCE) == "answer"


@pytest.mark.needs("copies")
def test_put_of_what_cannot_be_pickled_fails_at_once(mp: Context) -> None:
    q = mp.Queue(2)
    with pytest.raises(TypeError, match="pickle"):
        q.put(threading.Lock())
    assert q.empty()
    q.put("a")
    q.put("b")
    assert (q.get(), q.get()) == ("a", "b")


@pytest.mark.needs("copies")
def test_what_cannot_be_unpickled_fails_alone(mp: Context) -> None:
    q = mp.Queue()
    q.put(jobs.Grudging("the item"))
    q.put("next")
    with pytest.raises(ValueError, match="the item cannot be rebuilt"):
        q.get()
    assert q.get() == "next"


def test_an_item_is_as_it_was_when_put(mp: Context, place: Place) -> None:
    q = mp.Queue()
    item = [1]
    q.put(item)
    item.append(2)
    assert q.get() == ([1] if place.copies else [1, 2])
