"""What every model's tests do with a case: explore it once, and say what was found."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache
from typing import Any

from .explore import Model, Report, explore


@cache
def explored(model: Callable[[Any], Model[Any]], config: Hashable) -> Report:
    """The case, explored at most once in a test run."""
    return explore(model(config))


def assert_holds(model: Callable[[Any], Model[Any]], config: Hashable) -> None:
    report = explored(model, config)
    assert not report.failure, str(report)
    assert report.finished, "a model in which nothing ends would hold too"


def assert_finds(model: Callable[[Any], Model[Any]], flawed: Hashable, finding: str) -> None:
    report = explored(model, flawed)
    assert finding in report.failure, str(report)
    assert report.trace
