"""Random numbers without a seed: no two processes draw the same, whatever was imported before they were forked."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import allcores
from allcores import seeds

from .kit import PATIENCE, Context, Handle


def draw(_: object = None) -> tuple[float, float]:
    """As a program does that never heard of seeds."""
    return random.random(), float(np.random.random())


random_ = random.random


@pytest.fixture(autouse=True)
def states() -> Iterator[None]:
    mine, numpys = random.getstate(), np.random.get_state()
    yield
    random.setstate(mine)
    np.random.set_state(numpys)


def numpy_state() -> Any:
    return np.random.get_state()


def distinct(drawn: list[tuple[float, float]]) -> bool:
    return all(len(set(of_one)) == len(drawn) for of_one in zip(*drawn, strict=True))


def test_workers_draw_each_their_own(mp: Context) -> None:
    random.seed(1)
    np.random.seed(1)
    with mp.Pool(4) as pool:
        assert distinct(pool.map(draw, range(40), 1))


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_a_worker_that_takes_the_place_of_another_does_too(mp: Context) -> None:
    with mp.Pool(2, maxtasksperchild=1) as pool:
        assert distinct(pool.map(draw, range(8), 1))


def test_processes_draw_each_their_own(mp: Context, start: Callable[..., Handle]) -> None:
    drawn = [start(draw).result(PATIENCE) for _ in range(3)]
    assert distinct([*drawn, draw()])


@pytest.mark.parametrize(
    "function",
    [random.random, random.gauss, lambda: random_() + 1, np.random.random, np.random.mtrand._rand.normal],
    ids=["random", "gauss", "by value", "numpy", "numpy's generator"],
)
def test_functions_that_are_methods_of_the_shared_generator(mp: Context, function: Callable[[], float]) -> None:
    """They do not take the state of the generator along."""
    with mp.Pool(2) as pool:
        assert len({pool.apply(function) for _ in range(20)}) == 20


def test_other_generators_travel_as_they_are(mp: Context) -> None:
    mine, numpys = random.Random(5), np.random.RandomState(5)
    with mp.Pool(1) as pool:
        assert pool.apply(lambda: (mine.random(), float(numpys.random()))) == (
            random.Random(5).random(),
            np.random.RandomState(5).random(),
        )


def test_a_fork_draws_its_own() -> None:
    """What every child does when it begins, in this very process."""

    def drawn(_: object) -> tuple[float, float]:
        random.seed(5)
        np.random.seed(5)
        seeds.draw_own()
        return draw()

    assert distinct([drawn(i) for i in range(3)])


def test_without_a_seed_an_item_seed_is_entropy(mp: Context) -> None:
    with mp.Pool(2) as pool:
        found = pool.map(lambda _: (allcores.item_seed(), allcores.item_seed()), range(10))
    assert len({seed for pair in found for seed in pair}) == 20


class Everything:
    """All that an item can draw from."""

    def __call__(self, _: object = None) -> tuple[Any, ...]:
        return random.random(), np.random.random(), allcores.item_seed()


def seeded(seed: int, start: int, n: int, keep: bool = True) -> list[tuple[Any, ...]]:
    with seeds.Seeded(Everything(), seed, start, keep) as call:
        return [call(None) for _ in range(n)]


def test_an_item_s_numbers_depend_on_seed_and_index_alone() -> None:
    whole = seeded(7, 0, 10)
    assert seeded(7, 0, 4) + seeded(7, 4, 6, keep=False) == whole
    assert seeded(8, 0, 10) != whole
    assert all(len(set(of_one)) == 10 for of_one in zip(*whole, strict=True))


def test_seeds_of_any_size_are_different_seeds() -> None:
    drawn = [seeded(seed, 0, 1)[0] for seed in (0, 1, 255, 256, 1 << 64, 1 << 4000)]
    assert len(set(drawn)) == 6


def test_libraries_do_not_draw_alike() -> None:
    """``random`` and NumPy have the same generator: from the same seed they would draw the same words."""
    with seeds.Seeded(lambda: (random.getstate()[1][:5], tuple(numpy_state()[1][:5])), 7, 0, True) as call:
        of_random, of_numpy = call()
    assert of_random != of_numpy


def test_these_numbers_are_for_ever() -> None:
    """A change of these is a change of everybody's results."""
    assert seeded(12345, 6, 1) == [GOLDEN]


GOLDEN = (0.1072080931492635, 0.7638172780842329, 147650536244546071743693227111295739357)


def test_the_caller_s_generators_are_as_they_were() -> None:
    random.seed(3)
    np.random.seed(3)
    random.gauss()
    np.random.normal()  # of each pair of these, one is kept for the next call
    expected = random.getstate(), numpy_state()[1:]
    seeded(7, 0, 3)
    found = random.getstate(), numpy_state()[1:]
    assert expected[0] == found[0]
    assert expected[1][0].tolist() == found[1][0].tolist()
    assert expected[1][1:] == found[1][1:]


def test_a_worker_goes_on_with_numbers_of_nobody_s_seed() -> None:
    after = []
    for _ in range(2):
        seeded(7, 0, 3, keep=False)
        after.append(draw())
    assert distinct(after)


LATE = """
import sys
from allcores import seeds

def job():
    assert "random" not in sys.modules and "numpy" not in sys.modules
    import random, numpy
    return random.random(), float(numpy.random.random())

with seeds.Seeded(job, 7, 0, {keep}) as call:
    print(*map(float.hex, call()))
assert not [each for each in sys.meta_path if type(each).__module__.startswith("allcores")]
"""


@pytest.mark.parametrize("keep", [False, True])
def test_what_an_item_imports_is_seeded_at_once(keep: bool) -> None:
    code = LATE.format(keep=keep)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert [float.fromhex(each) for each in said.split()] == list(seeded(7, 0, 1)[0][:2])


def test_an_item_seed_is_of_the_item_s_thread() -> None:
    found: list[int] = []

    def job() -> int:
        other = threading.Thread(target=lambda: found.append(allcores.item_seed()))
        other.start()
        other.join()
        seed: int = allcores.item_seed()
        return seed

    with seeds.Seeded(job, 7, 0, True) as call:
        assert call() == seeded(7, 0, 1)[0][2]
    assert found != [seeded(7, 0, 1)[0][2]]
