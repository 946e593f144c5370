"""Pool: what cannot travel is said before anything has begun, with the part that is to blame."""

import itertools
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, report

pytestmark = pytest.mark.needs("copies")


def with_lock(x: object) -> Any:
    """An object that has, in an attribute of an attribute, what cannot travel."""
    return SimpleNamespace(number=x, model=SimpleNamespace(name="m", lock=threading.Lock()))


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    with mp.Pool(2) as pool:
        yield pool


CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "map": lambda pool, func, items: pool.map(func, items),
    "starmap": lambda pool, func, items: pool.starmap(func, ((x,) for x in items)),
    "imap": lambda pool, func, items: pool.imap(func, items),
    "imap_unordered": lambda pool, func, items: pool.imap_unordered(func, items),
    "map_async": lambda pool, func, items: pool.map_async(func, items).get(PATIENCE),
}


@pytest.mark.parametrize("call", CALLS)
def test_the_first_item(mp: Context, pool: Handle, call: str) -> None:
    ran, drawn = mp.Value("i", 0), 0

    def items() -> Iterator[Any]:
        nonlocal drawn
        for x in itertools.count():
            drawn += 1
            yield with_lock(x)

    with pytest.raises(
        allcores.UnpicklableError, match=r"^item 0 of the input: .*\.model\.lock: _thread\.lock"
    ) as caught:
        CALLS[call](pool, lambda _: ran.add(1), items())
    assert "cannot be sent to another process" in report(caught.value)
    assert (drawn, ran.value) == (1, 0)
    assert pool.map(jobs.square, range(10)) == [x * x for x in range(10)]


def test_the_first_of_a_chunk(mp: Context, pool: Handle) -> None:
    ran = mp.Value("i", 0)
    with pytest.raises(allcores.UnpicklableError, match=r"^item 0 of the input: \.model\.lock"):
        pool.map(lambda _: ran.add(1), [with_lock(x) for x in range(30)], chunksize=10)
    assert ran.value == 0


@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_a_later_item(pool: Handle, chunksize: int | None) -> None:
    """Found when its turn comes; it alone is to blame."""
    items: list[Any] = [*range(17), {"cfg": [1, threading.Lock()]}, *range(12)]
    with pytest.raises(allcores.UnpicklableError, match=r"^item 17 of the input: \['cfg'\]\[1\]: _thread\.lock"):
        pool.map(jobs.identity, items, chunksize)


def test_the_function(pool: Handle) -> None:
    lock, items = threading.Lock(), iter(range(3))
    with pytest.raises(allcores.UnpicklableError, match=r"\.<lock>"):
        pool.map(lambda x: (lock, x), items)
    assert list(items) == [0, 1, 2]


def test_an_argument_of_a_call(pool: Handle) -> None:
    with pytest.raises(allcores.UnpicklableError, match=r"\[0\]\.model\.lock"):
        pool.apply(jobs.identity, (with_lock(0),))
    with pytest.raises(allcores.UnpicklableError, match=r"\[1\]\['x'\]\.model\.lock"):
        pool.apply_async(jobs.identity, (), {"x": with_lock(0)})


@pytest.mark.parametrize("chunksize", [None, 1, 5])
def test_a_result(pool: Handle, chunksize: int | None) -> None:
    def job(x: int) -> Any:
        return {"n": x, "fig": with_lock(x)} if x == 3 else x

    with pytest.raises(
        allcores.UnpicklableError, match=r"^the result: \['fig'\]\.model\.lock: _thread\.lock"
    ) as caught:
        pool.map(job, range(10), chunksize)
    assert "item 3 of the input" in report(caught.value)


def test_the_result_of_a_call(pool: Handle) -> None:
    with pytest.raises(allcores.UnpicklableError, match=r"^the result: \.model\.lock: _thread\.lock"):
        pool.apply(with_lock, (1,))


class Sent:
    """Counts how often it is pickled."""

    times = 0

    def __reduce__(self) -> Any:
        Sent.times += 1
        return int, (7,)


def test_nothing_is_pickled_twice(pool: Handle) -> None:
    Sent.times = 0
    assert pool.map(jobs.identity, [Sent() for _ in range(20)]) == [7] * 20
    assert Sent.times == 20


@pytest.mark.parametrize("method", ["map", "imap"])
def test_where_failures_are_results_the_first_is_one_as_well(pool: Handle, method: str) -> None:
    """Nothing is refused then: each failure is in its place."""
    found = list(getattr(pool, method)(jobs.identity, [with_lock(0), 1, 2], errors="return"))
    assert (found[0].index, found[1:]) == (0, [1, 2])
    assert isinstance(found[0].error, allcores.UnpicklableError)
    assert ".model.lock" in str(found[0].error)
    assert list(getattr(pool, method)(jobs.identity, [with_lock(0), 1, 2], errors="skip")) == [1, 2]
