"""Chunks by measured time, in virtual time: how soon all is done, against the best that is possible.

Nothing here is random from run to run, and nothing is timed: the real pool runs, its workers are virtual.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from .crew import list_schedule, makespan, virtual_pool

US, MS, S = 1_000, 1_000_000, 1_000_000_000
WORKERS = (2, 8)


def lognormal(count: int, middle: int, sigma: float) -> list[int]:
    rng = random.Random(1)
    return [int(rng.lognormvariate(0, sigma) * middle) + 1 for _ in range(count)]


def some_slow(count: int, quick: int, slow: int) -> list[int]:
    """One in ten is slow."""
    rng = random.Random(2)
    return [slow if rng.random() < 0.1 else quick for _ in range(count)]


def pareto(count: int, least: int) -> list[int]:
    rng = random.Random(3)
    return [int(rng.paretovariate(1.2) * least) for _ in range(count)]


def uniform(count: int, least: int, most: int) -> list[int]:
    rng = random.Random(4)
    return [rng.randint(least, most) for _ in range(count)]


# 200 skewed calls; what they take together is more than a hundred times what their messages cost.
SKEWED: dict[str, list[int]] = {
    "lognormal, 50 ms": lognormal(200, 50 * MS, 1.0),
    "lognormal, 1 ms, wide": lognormal(200, MS, 1.5),
    "lognormal, 1 ms, very wide": lognormal(200, MS, 2.0),
    "10:1, 10 ms": some_slow(200, 10 * MS, 100 * MS),
    "10:1, 1 ms": some_slow(200, MS, 10 * MS),
    "1000:1, 100 us": some_slow(200, MS // 10, 100 * MS),
    "100000:1, 10 us": some_slow(200, 10 * US, S),
    "pareto, 5 ms": pareto(200, 5 * MS),
    "rise": [10 * US] * 190 + [S] * 10,
    "fall": [S] * 10 + [10 * US] * 190,
}
ORDERS: dict[str, Callable[[list[int]], list[int]]] = {
    "as they come": lambda durations: durations,
    "rising": sorted,
    "falling": lambda durations: sorted(durations, reverse=True),
}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", SKEWED)
def test_200_skewed_calls(kind: str, order: str, workers: int) -> None:
    """Within 3 % of what a list schedule reaches that pays for no message: nobody waits beside a long chunk.

    Of ``imap`` the results after a slow one are late, and not the work on them.
    """
    durations = ORDERS[order](SKEWED[kind])
    best = list_schedule(durations, workers)
    assert makespan(lambda pool: pool.map(abs, durations), workers) <= 1.03 * best
    assert makespan(lambda pool: list(pool.imap(abs, durations)), workers) <= 1.03 * best
    assert makespan(lambda pool: list(pool.imap_unordered(abs, durations)), workers) <= 1.03 * best


HAND_TUNED: dict[str, list[int]] = {
    "100,000 of 1 us": [US] * 100_000,
    "20 of 0.1 to 1 s": uniform(20, S // 10, S),
    "10,000 of 100 us, very wide": lognormal(10_000, MS // 10, 2.0),
    "quick, then slow": [US] * 1_000 + [S] * 20,
    "slow, then quick": [S] * 20 + [US] * 10_000,
    "many quick, then slow": [US] * 20_000 + [100 * MS] * 100,
}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", HAND_TUNED)
def test_as_good_as_the_best_chunksize(kind: str, workers: int) -> None:
    durations = HAND_TUNED[kind]
    took = makespan(lambda pool: pool.map(abs, durations), workers)
    best = min(
        makespan(lambda pool, size=size: pool.map(abs, durations, size), workers)  # type: ignore[misc]
        for size in (1, 4, 16, 64, 256, 1024, 4096)
        if len(durations) // 2_000 < size <= max(1, len(durations) // workers)
    )
    assert took <= 1.1 * best


@pytest.mark.parametrize("workers", WORKERS)
def test_an_input_of_unknown_length(workers: int) -> None:
    """Nothing can shrink towards an end that nobody knows: what is late is a chunk, a millisecond."""
    for durations in (SKEWED["lognormal, 50 ms"], HAND_TUNED["10,000 of 100 us, very wide"], [US] * 100_000):
        took = makespan(lambda pool, d=durations: pool.map(abs, iter(d)), workers)  # type: ignore[misc]
        assert took <= 1.03 * list_schedule(durations, workers) + 2 * MS


def test_slow_items_in_queued_chunks_are_spread() -> None:
    """The chunks on the way when the time of an item rises were cut by the old measure: they are given back."""
    done: list[Any] = []
    with virtual_pool(2) as (pool, crew):
        for ns in pool.imap_unordered(abs, iter([US] * 10_000 + [100 * MS] * 2_000)):
            if ns > US:
                done.append((crew.now, ns))
            if len(done) == 100:
                break
        # Two workers, 100 ms each: no result is held back by more than the other items that were on the way.
        assert all(now <= done[0][0] + (i // 2 + 6) * 101 * MS for i, (now, _) in enumerate(done))
        pool.terminate()


def test_chunksize_is_obeyed() -> None:
    with virtual_pool(2) as (pool, crew):
        assert pool.map(abs, [S] * 20, chunksize=10) == [S] * 20
        assert crew.tasks == 2
        assert crew.now >= 10 * S
