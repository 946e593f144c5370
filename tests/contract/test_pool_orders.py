"""Pool: options that a task carries with it change nothing else, on every method."""

from typing import Any

import pytest

from . import jobs
from .kit import PATIENCE, Context

SQUARES = [x * x for x in range(100)]


OPTIONS: list[dict[str, Any]] = [{"timeout": PATIENCE}, {"timeout": PATIENCE, "retries": 1, "errors": "return"}]


@pytest.mark.parametrize("chunksize", [None, 1, 7])
@pytest.mark.parametrize("options", OPTIONS)
def test_orders_on_every_method(mp: Context, options: dict[str, Any], chunksize: int | None) -> None:
    pool: Any
    with mp.Pool(2) as pool:
        for method in (pool.map, pool.imap, pool.imap_unordered):
            assert sorted(method(jobs.square, range(100), chunksize, **options)) == SQUARES
        pairs = [(x, 2) for x in range(100)]
        assert pool.starmap(jobs.power, pairs, chunksize, **options) == SQUARES
        assert pool.starmap_async(jobs.power, pairs, chunksize, **options).get(PATIENCE) == SQUARES
        assert pool.map_async(jobs.square, range(100), chunksize, **options).get(PATIENCE) == SQUARES


@pytest.mark.parametrize("options", [{"timeout": PATIENCE}, {"timeout": PATIENCE, "retries": 1}])
def test_orders_of_single_calls(mp: Context, options: dict[str, Any]) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(jobs.power, (2, 3), **options) == 8
        assert pool.apply(jobs.power, (2,), {"exponent": 4}, **options) == 16
        assert pool.apply_async(jobs.power, kwds={"base": 3}, **options).get(PATIENCE) == 9
