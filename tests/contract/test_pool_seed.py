"""Pool: with a seed, what an item draws depends on the seed and its index, and on nothing else."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context

SEED = 20
N = 60


@pytest.fixture(autouse=True)
def states(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nobody's generators are touched by a seeded call, in whichever context: those of this program first of all."""
    if "place" in request.fixturenames and request.getfixturevalue("place").cluster:
        yield  # engines draw from them themselves
        return
    random.seed(4)
    np.random.seed(4)
    before = random.getstate(), repr(np.random.get_state())
    yield
    assert (random.getstate(), repr(np.random.get_state())) == before


def draw(x: int) -> tuple[Any, ...]:
    """Draws an uneven number of times: what is left in a generator must not be seen by the next item."""
    for _ in range(x % 3):
        random.random()
        np.random.normal()
    return x, random.random(), float(np.random.normal()), allcores.item_seed()


def draw_late(x: int) -> tuple[Any, ...]:
    """Imports what it draws from: a fresh worker may not have it."""
    import random as late
    from importlib import import_module

    return x, late.random(), float(import_module("numpy").random.random())


Call = Callable[..., Any]

METHODS: dict[str, Call] = {
    "map": lambda pool, job, **o: pool.map(job, range(N), **o),
    "map in chunks": lambda pool, job, **o: pool.map(job, range(N), 7, **o),
    "map one by one": lambda pool, job, **o: pool.map(job, range(N), 1, **o),
    "map of an iterator": lambda pool, job, **o: pool.map(job, iter(range(N)), **o),
    "map_async": lambda pool, job, **o: pool.map_async(job, range(N), **o).get(PATIENCE),
    "starmap": lambda pool, job, **o: pool.starmap(job, [(x,) for x in range(N)], **o),
    "starmap_async": lambda pool, job, **o: pool.starmap_async(job, [(x,) for x in range(N)], **o).get(PATIENCE),
    "imap": lambda pool, job, **o: list(pool.imap(job, range(N), **o)),
    "imap in chunks": lambda pool, job, **o: list(pool.imap(job, range(N), 11, **o)),
    "imap_unordered": lambda pool, job, **o: sorted(pool.imap_unordered(job, range(N), **o)),
}


@pytest.fixture(scope="module")
def expected() -> list[tuple[Any, ...]]:
    with allcores.get_context("serial").Pool(1) as pool:
        drawn: list[tuple[Any, ...]] = pool.map(draw, range(N), 1, seed=SEED)
    return drawn


@pytest.mark.needs("alone")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_the_same(mp: Context, method: str, expected: list[tuple[Any, ...]]) -> None:
    with mp.Pool(2) as pool:
        assert METHODS[method](pool, draw, seed=SEED) == expected
        assert METHODS[method](pool, draw, seed=SEED + 1) != expected


@pytest.mark.needs("alone")
@pytest.mark.parametrize("workers", [1, 16])
def test_any_number_of_workers_draws_the_same(mp: Context, workers: int, expected: list[tuple[Any, ...]]) -> None:
    with mp.Pool(workers) as pool:
        assert pool.map(draw, range(N), seed=SEED) == expected


def test_items_draw_each_their_own(expected: list[tuple[Any, ...]]) -> None:
    for drawn in zip(*expected, strict=True):
        assert len(set(drawn)) == N


@pytest.mark.needs("alone")
@pytest.mark.parametrize("workers", [1, 3])
def test_also_what_the_items_import(mp: Context, workers: int) -> None:
    with allcores.get_context("serial").Pool(1) as pool:
        expected = pool.map(draw_late, range(N), seed=SEED)
    with mp.Pool(workers) as pool:
        assert pool.map(draw_late, range(N), 1, seed=SEED) == expected


@pytest.mark.needs("kills")
def test_an_item_that_runs_again_draws_the_same(mp: Context, expected: list[tuple[Any, ...]]) -> None:
    begun = mp.Value("i", 0)

    def job(x: int) -> tuple[Any, ...]:
        drawn = draw(x)
        if x == 5 and begun.add(1) <= 2:
            jobs.die_by_signal()
        return drawn

    with mp.Pool(2) as pool:
        for size in (None, 8, 1):
            begun.value = 0
            assert pool.map(job, range(N), size, seed=SEED, retries=2) == expected


@pytest.mark.needs("alone")
def test_a_single_call_is_item_0(mp: Context) -> None:
    with mp.Pool(2) as pool:
        drawn = pool.apply(draw, (0,), seed=SEED)
        assert pool.map(draw, [0], seed=SEED) == [drawn]
        assert pool.apply_async(draw, kwds={"x": 0}, seed=SEED).get(PATIENCE) == drawn
        assert pool.apply(draw, (0,), seed=SEED + 1) != drawn


@pytest.mark.needs("alone")
def test_calls_without_a_seed_are_not_seeded_by_the_one_before(mp: Context) -> None:
    with mp.Pool(1) as pool:
        after: list[float] = []
        for _ in range(3):
            pool.map(draw, range(3), seed=SEED)
            after.append(pool.apply(draw, (0,))[1])
        assert len(set(after)) == 3
    with mp.Pool(1) as pool, mp.Pool(1) as other:
        after = []
        for each in (pool, other):
            each.map(draw, range(3), seed=SEED)
            after.append(each.apply(random.random))
        assert after[0] != after[1]
    random.seed(4)  # as the fixture has it; in the serial context the program's own stream went on
    np.random.seed(4)


@pytest.mark.needs("alone")
def test_a_pool_in_an_item_has_a_seed_of_its_own(mp: Context) -> None:
    def job(x: int) -> tuple[bool, list[int]]:
        mine = allcores.item_seed()
        with allcores.get_context("serial").Pool(1) as inner:
            unseeded = inner.map(lambda _: allcores.item_seed(), range(3))
            seeded = inner.map(lambda _: allcores.item_seed(), range(3), seed=allcores.item_seed())
        return mine == allcores.item_seed() and len({mine, *unseeded, *seeded}) == 7, seeded

    with mp.Pool(2) as pool:
        found = pool.map(job, range(4), seed=SEED)
        assert [fine for fine, _ in found] == [True] * 4
        assert pool.map(job, range(4), 1, seed=SEED) == found


@pytest.mark.needs("alone")
def test_an_error_ends_the_seed_too(mp: Context) -> None:
    with mp.Pool(2) as pool, pytest.raises(ZeroDivisionError):
        pool.map(lambda x: random.random() / x, range(10), seed=SEED)


@pytest.mark.lacks("alone")
def test_threads_share_generators_and_say_so(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for method in METHODS.values():
            with pytest.raises(allcores.NotSupported, match="process or serial"):
                method(pool, draw, seed=SEED)
        with pytest.raises(allcores.NotSupported):
            pool.apply(draw, (1,), seed=SEED)
        assert pool.map(jobs.square, range(3)) == [0, 1, 4]
