"""dask on workers of ours: ``dask.config.set(pool=...)`` takes an Executor, and a Pool."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

import allcores as mp

dask = pytest.importorskip("dask")


@pytest.fixture(scope="module", params=["Executor", "Pool"])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with getattr(mp, request.param)(2) as made:
        yield made


@pytest.mark.parametrize("scheduler", ["processes", "threads"])
def test_a_graph_is_computed_in_the_workers(scheduler: str, pool: Any) -> None:
    squares = [dask.delayed(pow)(i, 2) for i in range(20)]
    total = dask.delayed(sum)(squares)
    with dask.config.set(pool=pool, scheduler=scheduler):
        assert total.compute() == sum(i * i for i in range(20))
        pids = set(dask.compute(*[dask.delayed(_pid)(i) for i in range(8)]))
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_an_error_is_raised_as_itself(pool: Any) -> None:
    with dask.config.set(pool=pool, scheduler="processes"), pytest.raises(ZeroDivisionError):
        dask.delayed(divmod)(1, 0).compute()


def _pid(_: int) -> int:
    return os.getpid()
