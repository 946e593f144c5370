"""allcores.compare itself: it runs every context, and what it refuses. No test depends on how fast it was."""

from __future__ import annotations

import math
import os
import random
import threading
from typing import Any

import numpy as np
import pytest

import allcores
from allcores.comparison.measure import compare
from allcores.errors import UsageError

# --- the real thing -------------------------------------------------------------------------------


def test_three_contexts_give_the_results_once() -> None:
    found = compare(lambda x, y: x * y, range(10), args=(3,), times=2, workers=2)
    assert found.results == [x * 3 for x in range(10)]
    assert [r.context for r in found.rows] == ["serial", "thread", "process"]
    assert [r.place for r in found.rows] == ["here", "threads", "processes"]
    assert [r.workers for r in found.rows] == [1, 2, 2]
    assert all(r.equal and len(r.rounds) == 2 and r.peak_memory > 0 for r in found.rows)
    for r in found.rows:
        parts = (r.phases.startup, r.phases.moving, r.phases.waiting, r.phases.computing)
        assert sum(parts) == pytest.approx(r.seconds, rel=1e-6)
        assert min(parts) >= 0
    assert found.row("serial").speedup == 1.0
    assert found.job.items == 10
    assert found.job.usable_cores == allcores.cpu_count()
    with pytest.raises(KeyError, match="'dask' was not compared"):
        found.row("dask")


def test_the_function_is_called_once_for_each_item_context_and_round() -> None:
    calls: list[int] = []

    def job(item: int) -> None:
        calls.append(item)

    compare(job, range(2000), contexts=("serial", "thread"), times=3, workers=2)
    assert sorted(calls) == sorted(list(range(2000)) * 6)


def test_rounds_take_turns() -> None:
    threads: list[bool] = []
    here = threading.get_ident()
    compare(
        lambda _: threads.append(threading.get_ident() != here),
        [0],
        contexts=("serial", "thread"),
        times=2,
        workers=1,
    )
    assert threads == [False, True, False, True]


def test_the_first_round_decides_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def four(first_seconds: float, budget: float) -> int:
        asked.append((first_seconds, budget))
        return 4

    monkeypatch.setattr("allcores.comparison.measure.rounds_for", four)
    found = compare(abs, [1], contexts=("serial",), budget=7.0)
    assert len(found.rows[0].rounds) == 4
    assert asked[-1][0] > 0
    assert asked[-1][1] == 7.0


def test_the_budget_limits_the_rounds() -> None:
    found = compare(abs, [1], contexts=("serial",), budget=1e-9)
    assert len(found.rows[0].rounds) == 1


def test_unequal_results_are_said_plainly() -> None:
    found = compare(lambda i: (i, os.getpid() if i == 2 else 0), range(4), times=1, workers=2)
    assert [r.unequal_at for r in found.rows] == [None, None, 2]
    assert "UNEQUAL at item 2" in found.table
    assert found.advice.startswith("Do not trust the speed-up yet: process gave results unequal")


def test_chance_is_told_from_error() -> None:
    found = compare(lambda _: random.random(), range(3), contexts=("serial",), times=2)
    assert found.rows[0].unequal_at == 0
    assert found.advice.startswith("The results differ from run to run even in serial")


def test_arrays_and_nan_are_equal() -> None:
    found = compare(lambda i: {"a": np.array([i, math.nan])}, range(3), times=1, workers=2)
    assert all(r.equal for r in found.rows)
    assert found.job.result_bytes is not None


# --- what it refuses ------------------------------------------------------------------------------


def inverse(item: int) -> float:
    return 1 / (item - 3)


class StrangeError(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and\n{two}")


def strange(item: int) -> None:
    raise StrangeError(item, 2)


@pytest.mark.parametrize("context", ["serial", "thread", "process"])
def test_a_failing_job_is_one_line_with_its_item(context: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare(inverse, range(10), contexts=(context,), times=1, workers=2)
    assert str(caught.value) == (
        f"the job failed at item 3 (3) in the {context} context: ZeroDivisionError: division by zero"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("context", ["serial", "thread", "process"])
def test_an_error_that_cannot_travel_says_the_same(context: str) -> None:
    with pytest.raises(UsageError, match=r"at item 0 \(1\) in the \w+ context: StrangeError: 1 and 2$"):
        compare(strange, [1], contexts=(context,), times=1, workers=1)


def test_stop_iteration_is_a_failure_too() -> None:
    def job(item: int) -> int:
        if item == 1:
            raise StopIteration
        return item

    with pytest.raises(UsageError, match=r"at item 1 \(1\).*StopIteration"):
        compare(job, range(3), contexts=("serial",), times=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fn": 3}, "fn must be a function, not 3"),
        ({"items": []}, "there are no items"),
        ({"items": 5}, r"items must be iterable, not 5: write range\(5\)"),
        ({"args": 2}, r"args must be a tuple, not 2: write \(2,\)"),
        ({"contexts": "serial"}, "contexts must be different names, not 'serial'"),
        ({"contexts": ()}, "contexts must be different names"),
        ({"contexts": ("serial", "serial")}, "contexts must be different names"),
        ({"contexts": ("nowhere",)}, "nowhere"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"times": 0}, "times must be at least 1, not 0"),
        ({"budget": 0}, "budget must be more than 0 seconds, not 0"),
    ],
)
def test_arguments_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        compare(**{"fn": abs, "items": [1], **changes})
    assert "\n" not in str(caught.value)
