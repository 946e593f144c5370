"""Value and Array: adding loses nothing, whoever adds."""

from collections.abc import Callable
from itertools import chain

import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Start = Callable[..., Handle]


def test_eight_workers_add_a_hundred_thousand_each(mp: Context, place: Place, start: Start) -> None:
    value, times = mp.Value("i", 0), place.some(100_000) // (4 if place.cluster else 1)
    for p in [start(jobs.add_up, value, times) for _ in range(8)]:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert value.value == 8 * times


def test_iadd_keeps_the_value(mp: Context) -> None:
    value = same = mp.Value("i", 5)
    value += 2
    assert value is same
    assert value.value == 7


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
def test_add_returns_the_new_value(mp: Context, code: str) -> None:
    value, array = mp.Value(code, 5), mp.Array(code, [1, 2, 3])
    assert (value.add(2), value.value) == (7, 7)
    assert (array.add(1, 10), array.add(-1, 1), array[:]) == (12, 4, [1, 12, 4])
    assert value.add(0) == 7


@pytest.mark.parametrize("code", "bhilqfd")
def test_adding_negative_numbers(mp: Context, code: str) -> None:
    value, array = mp.Value(code, 5), mp.Array(code, [1])
    value += -7
    assert value.value == -2
    assert (value.add(-1), array.add(0, -3)) == (-3, -2)


@pytest.mark.parametrize("code", ["c", "u"])
def test_letters_cannot_be_added_to(mp: Context, code: str) -> None:
    with pytest.raises(TypeError):
        mp.Value(code).add(1)
    with pytest.raises(TypeError):
        mp.Array(code, 2).add(0, 1)


@pytest.mark.parametrize("wrong", ["1", None, 1.5, [1]], ids=str)
def test_adding_the_wrong_type(mp: Context, wrong: object) -> None:
    value, array = mp.Value("i", 5), mp.Array("i", [5])
    with pytest.raises((TypeError, ValueError)):
        value.add(wrong)
    with pytest.raises((TypeError, ValueError)):
        array.add(0, wrong)
    with pytest.raises((TypeError, ValueError)):
        value += wrong
    assert (value.value, array[:]) == (5, [5])


def test_every_new_value_is_seen_once(mp: Context, place: Place, start: Start) -> None:
    value, times = mp.Value("i", 0), place.some(2_000)

    def draw() -> list[int]:
        return [value.add(1) for _ in range(times)]

    workers = [start(draw) for _ in range(4)]
    drawn = chain.from_iterable(p.result(PATIENCE) for p in workers)
    assert sorted(drawn) == list(range(1, 4 * times + 1))


def test_array_items_side_by_side(mp: Context, start: Start) -> None:
    array = mp.Array("b", 4)  # neighbours in one machine word

    def add(i: int) -> None:
        for _ in range(50):
            array.add(i, 1)
            array.add(3, 1 if i % 2 else -1)

    for p in [start(add, i % 2) for i in range(4)]:
        p.join(PATIENCE)
    assert array[:] == [100, 100, 0, 0]


def test_floats_lose_nothing_either(mp: Context, place: Place, start: Start) -> None:
    value, times = mp.Value("d", 0.0), place.some(5_000)

    def add() -> None:
        for _ in range(times):
            value.add(0.5)

    for p in [start(add) for _ in range(4)]:
        p.join(PATIENCE)
    assert value.value == 2.0 * times


def test_under_the_lock_and_beside_it(mp: Context, place: Place, start: Start) -> None:
    """Who holds the lock is alone with the value, even with those who add without asking for it."""
    value, times = mp.Value("i", 0), place.some(3_000)
    workers = [start(job, value, times) for job in (jobs.add_up_locked, jobs.add_up) * 2]
    for p in workers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert value.value == 4 * times


def test_array_under_the_lock_and_beside_it(mp: Context, place: Place, start: Start) -> None:
    array, times = mp.Array("i", [0]), place.some(3_000)

    def locked() -> None:
        for _ in range(times):
            with array.get_lock():
                array[0] += 1

    def beside() -> None:
        for _ in range(times):
            array.add(0, 1)

    for p in [start(job) for job in (locked, beside) * 2]:
        p.join(PATIENCE)
    assert array[:] == [4 * times]


def test_under_a_lock_of_ones_own(mp: Context, place: Place, start: Start) -> None:
    value, lock, times = mp.Value("i", 0), mp.Lock(), place.some(1_000)

    def add() -> None:
        for _ in range(times):
            with lock:
                value.value += 1

    for p in [start(add) for _ in range(4)]:
        p.join(PATIENCE)
    assert value.value == 4 * times
