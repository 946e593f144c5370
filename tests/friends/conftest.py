"""Tests with other libraries; where one is not installed, its tests are skipped."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_kept_workers() -> Iterator[None]:
    """Ends the workers that the backend keeps for the next call, before the test is looked at for what it left."""
    yield
    import sys

    if "allcores.integrations.joblib" in sys.modules:
        from allcores.integrations import joblib

        joblib.shutdown()
