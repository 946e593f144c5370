"""Tests with other libraries; where one is not installed, its tests are skipped."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def kept_workers() -> Iterator[None]:
    """Two workers of the joblib backend for all tests of a module: what takes their time is what the workers import."""
    joblib = pytest.importorskip("joblib")
    from allcores.integrations import joblib as backend

    with joblib.parallel_config(backend="allcores"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(i) for i in range(2))
    yield
    backend.shutdown()
