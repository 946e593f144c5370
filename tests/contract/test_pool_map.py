"""Pool: the map family gives what a list comprehension gives, in order, from any iterable."""

import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle

SQUARES = [x * x for x in range(100)]


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    with mp.Pool(2) as pool:
        yield pool


class Counting:
    """The natural numbers, and how many of them were drawn."""

    def __init__(self) -> None:
        self.drawn = 0

    def __iter__(self) -> "Counting":
        return self

    def __next__(self) -> int:
        self.drawn += 1
        return self.drawn


ITERABLES: dict[str, Any] = {
    "range": lambda: range(100),
    "list": lambda: list(range(100)),
    "tuple": lambda: tuple(range(100)),
    "generator": lambda: (x for x in range(100)),
    "iterator": lambda: iter(range(100)),
    "set": lambda: set(range(100)),
    "dict": lambda: dict.fromkeys(range(100)),
    "keys": lambda: dict.fromkeys(range(100)).keys(),
    "values": lambda: {str(x): x for x in range(100)}.values(),
    "array": lambda: np.arange(100),
}


@pytest.mark.parametrize("kind", ITERABLES)
@pytest.mark.parametrize("method", ["map", "imap"])
def test_any_iterable_in_order(pool: Handle, method: str, kind: str) -> None:
    assert list(getattr(pool, method)(jobs.square, ITERABLES[kind]())) == SQUARES


@pytest.mark.parametrize("kind", ["range", "generator", "values"])
def test_any_iterable_unordered(pool: Handle, kind: str) -> None:
    assert sorted(pool.imap_unordered(jobs.square, ITERABLES[kind]())) == SQUARES


def test_other_kinds_of_items(pool: Handle) -> None:
    assert pool.map(str.upper, "abc") == ["A", "B", "C"]
    assert pool.map(len, {"a": 1, "bc": 2}.items()) == [2, 2]
    assert pool.map(jobs.identity, [None, (), [1], {"a": b""}]) == [None, (), [1], {"a": b""}]


@pytest.mark.parametrize("chunksize", [None, 1, 3, 100, 1000])
def test_chunksize(pool: Handle, chunksize: int | None) -> None:
    assert pool.map(jobs.square, range(100), chunksize) == SQUARES
    assert pool.map(jobs.square, range(100), chunksize=chunksize) == SQUARES
    assert pool.map_async(jobs.square, range(100), chunksize).get(PATIENCE) == SQUARES
    assert pool.starmap(jobs.power, [(x, 2) for x in range(100)], chunksize) == SQUARES


@pytest.mark.parametrize("chunksize", [1, 3, 1000])
def test_chunksize_of_imap(pool: Handle, chunksize: int) -> None:
    assert list(pool.imap(jobs.square, range(100), chunksize)) == SQUARES
    assert sorted(pool.imap_unordered(jobs.square, range(100), chunksize=chunksize)) == SQUARES


@pytest.mark.parametrize("chunksize", [0, -1])
def test_chunksize_below_one(pool: Handle, chunksize: int) -> None:
    for method in (pool.map, pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match=r"[Cc]hunksize"):
            method(jobs.square, range(3), chunksize)


@pytest.mark.parametrize("method", ["map", "starmap", "imap", "imap_unordered"])
@pytest.mark.parametrize("nothing", [[], iter(()), {}], ids=["list", "iterator", "dict"])
def test_nothing_to_do(pool: Handle, method: str, nothing: Iterable[int]) -> None:
    assert list(getattr(pool, method)(jobs.square, nothing)) == []


def test_nothing_to_do_async(pool: Handle) -> None:
    for result in (pool.map_async(jobs.square, []), pool.starmap_async(jobs.square, [])):
        assert result.get(PATIENCE) == []
        assert result.successful()


def test_starmap(pool: Handle) -> None:
    assert pool.starmap(jobs.power, [(2, 3), (3,), [4, 1]]) == [8, 9, 4]
    assert pool.starmap(jobs.power, ((x, 2) for x in range(100))) == SQUARES
    assert pool.starmap(jobs.power, zip(range(100), itertools.repeat(2))) == SQUARES
    assert pool.starmap_async(jobs.power, [(2, 3), (3,)]).get(PATIENCE) == [8, 9]


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered", "starmap", "map_async"])
def test_what_is_not_iterable(pool: Handle, method: str) -> None:
    with pytest.raises(TypeError, match="iterable"):
        getattr(pool, method)(jobs.square, 5)
    assert pool.apply(jobs.square, (2,)) == 4


def test_what_is_not_callable(pool: Handle) -> None:
    with pytest.raises(TypeError, match="callable"):
        pool.map(5, range(3))
    with pytest.raises(TypeError, match="callable"):
        pool.apply_async(5).get(PATIENCE)


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_an_endless_iterator(pool: Handle, method: str) -> None:
    """Taken as it is used: some results in, and only a bounded number of items are drawn ahead."""
    numbers = Counting()
    results = getattr(pool, method)(math.sqrt, numbers)
    first = list(itertools.islice(results, 500))
    if method == "imap":
        assert first == [math.sqrt(x) for x in range(1, 501)]
    else:  # whoever has the first may be the last
        assert len({round(x * x) for x in first} & set(range(1, numbers.drawn + 1))) == 500
    assert numbers.drawn < 50_000


@pytest.mark.needs("parallel")
def test_imap_draws_only_a_window_while_results_wait(mp: Context, pool: Handle) -> None:
    gate, numbers = mp.Event(), Counting()
    results = pool.imap(lambda x: jobs.wait_for(gate, x), numbers)
    with pytest.raises(TimeoutError):
        results.next(timeout=0.2)
    assert 1 <= numbers.drawn <= 2_000
    gate.set()
    assert [results.next(timeout=PATIENCE) for _ in range(100)] == list(range(1, 101))


def test_imap_is_an_iterator(pool: Handle) -> None:
    results = pool.imap(jobs.square, range(3))
    assert iter(results) is results
    assert [next(results), results.next(), results.next(PATIENCE)] == [0, 1, 4]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


@pytest.mark.needs("parallel")
def test_imap_unordered_gives_what_is_ready(mp: Context, pool: Handle) -> None:
    gate = mp.Event()

    def job(x: int) -> int:
        if x == 0:
            jobs.wait_for(gate)
        return x

    results = pool.imap_unordered(job, range(5))
    assert sorted(results.next(PATIENCE) for _ in range(4)) == [1, 2, 3, 4]
    gate.set()
    assert list(results) == [0]


@pytest.mark.needs("parallel")
def test_imap_keeps_the_order(mp: Context, pool: Handle) -> None:
    second_ran = mp.Event()

    def job(x: int) -> int:
        if x == 0:
            jobs.wait_for(second_ran)
        if x == 1:
            second_ran.set()
        return x

    assert list(pool.imap(job, range(10))) == list(range(10))


@pytest.mark.needs("parallel")
def test_one_slow_item_does_not_hold_up_the_rest(mp: Context, pool: Handle) -> None:
    """Whatever the chunks are: the items after a slow one are done by the others meanwhile."""
    gate, others = mp.Event(), mp.Semaphore(0)

    def job(x: int) -> int:
        if x == 0:
            jobs.wait_for(gate)
        else:
            others.release()
        return x

    result = pool.map_async(job, range(10), chunksize=1)
    for _ in range(9):
        assert others.acquire(timeout=PATIENCE)
    gate.set()
    assert result.get(PATIENCE) == list(range(10))


def test_many_small_items(pool: Handle) -> None:
    assert pool.map(jobs.square, range(20_000)) == [x * x for x in range(20_000)]
    assert sum(pool.imap(abs, range(5_000))) == sum(range(5_000))


def test_large_items_and_results(pool: Handle) -> None:
    arrays = [np.full(500_000, i, dtype=np.float64) for i in range(6)]
    back = pool.map(lambda array: array + 1, arrays)
    assert [(a.shape, a[0], a[-1]) for a in back] == [((500_000,), i + 1, i + 1) for i in range(6)]
    assert all(a.flags.writeable for a in back)


def test_two_maps_at_a_time(pool: Handle) -> None:
    first = pool.map_async(jobs.square, range(100))
    second = pool.imap(jobs.power, range(100))
    assert pool.map(jobs.square, range(100)) == SQUARES
    assert list(second) == SQUARES
    assert first.get(PATIENCE) == SQUARES
