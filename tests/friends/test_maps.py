"""A pool where the ecosystem takes something with a ``map``: the same results as without."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import allcores as mp


@pytest.fixture(scope="module", params=["process", "thread"])
def pool(request: pytest.FixtureRequest) -> Iterator[Any]:
    with mp.get_context(request.param).Pool(2) as made:
        yield made


def hills(x: Any) -> float:
    return float(np.sum(x**2 - 10 * np.cos(2 * np.pi * x)))


def test_scipy_differential_evolution(pool: Any) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    how = {"bounds": [(-5, 5)] * 2, "updating": "deferred", "rng": 1, "maxiter": 10, "polish": False}
    ours = optimize.differential_evolution(hills, workers=pool.map, **how)
    alone = optimize.differential_evolution(hills, **how)
    assert np.array_equal(ours.x, alone.x)
    assert ours.nfev == alone.nfev


def test_scipy_brute(pool: Any) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    ours = optimize.brute(hills, ((-5, 5), (-5, 5)), Ns=12, workers=pool.map)
    assert np.array_equal(ours, optimize.brute(hills, ((-5, 5), (-5, 5)), Ns=12))


def test_scipy_quad_vec(pool: Any) -> None:
    integrate = pytest.importorskip("scipy.integrate")
    ours, _ = integrate.quad_vec(lambda x: np.sin(x * np.arange(4)), 0, 2, workers=pool.map)
    alone, _ = integrate.quad_vec(lambda x: np.sin(x * np.arange(4)), 0, 2)
    assert np.allclose(ours, alone, rtol=1e-12)


def test_emcee(pool: Any) -> None:
    emcee = pytest.importorskip("emcee")

    def chain(**how: Any) -> Any:
        sampler = emcee.EnsembleSampler(8, 2, log_prob, args=(0.5,), **how)
        sampler.random_state = np.random.RandomState(0).get_state()
        sampler.run_mcmc(np.random.RandomState(1).randn(8, 2), 20)
        return sampler.get_chain()

    assert np.array_equal(chain(pool=pool), chain())


def log_prob(x: Any, width: float) -> float:
    return float(-np.sum(x**2) / width)
