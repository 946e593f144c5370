"""The ring's protocol holds in every interleaving of these cases, and the check finds each of the flaws.

Run `pytest -m slow tests/model` after any change of the protocol: millions of states, some minutes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from .explore import explore
from .recovery import RingModel
from .ring import Config, Flaw

RING = {
    "no_deaths": Config((1,), producers=(1, 1), consumers=2),
    "producer_dies": Config((1,), producers=(1, 1), consumers=1, kills=1, monitor_kills=1),
    "any_dies": Config((2,), producers=(2,), consumers=2, kills=1, monitor_kills=1),
    "any_two_die": Config((1,), producers=(1,), consumers=2, kills=2, monitor_kills=1),
    "full": Config((1,), producers=(2,), consumers=2, kills=1),
    "order": Config((2,), producers=(3,), consumers=1, in_order=True),
    "order_after_putting_back": Config(
        (2,), producers=(3,), consumers=1, heirs=1, kills=1, monitor_kills=1, in_order=True
    ),
}
CHAIN = {
    "no_deaths": Config((1, 1), producers=(1, 1), consumers=1),
    "any_dies": Config((1, 1), producers=(1, 1), consumers=1, kills=1, monitor_kills=1),
    "two_consumers": Config((1, 1), producers=(2,), consumers=2, kills=1),
    "readers_left_behind": Config((2, 1), producers=(3,), consumers=2, loaded=2, kills=1, monitor_kills=1),
    "late_producer": Config((1, 1), producers=(1, 1, 1), consumers=1),
    "order": Config((1, 1, 1), producers=(3,), consumers=1, kills=1, in_order=True),
    "order_after_putting_back": Config(
        (2, 1), producers=(3,), consumers=1, heirs=1, kills=1, monitor_kills=1, in_order=True
    ),
}
POOL = {
    "no_deaths": Config((2, 1), workers=2, loaded=2),
    "worker_dies": Config((1, 1), workers=2, loaded=1, kills=1, monitor_kills=1),
    "one_worker_two_tasks": Config((2, 1), workers=1, loaded=2, kills=1, monitor_kills=1),
}
SLOW = {
    "ring_two_and_two": Config((2,), producers=(1, 1), consumers=2, kills=1, monitor_kills=1),
    "ring_wraps_around": Config((2,), producers=(2, 1), consumers=1, kills=1, monitor_kills=1),
    "ring_one_cell": Config((1,), producers=(1, 1), consumers=2, kills=1, monitor_kills=1),
    "ring_three_consumers": Config((1,), producers=(1,), consumers=3, kills=2, monitor_kills=1),
    "chain_any_two_die": Config((1, 1), producers=(1, 1), consumers=1, kills=2),
    "chain_two_and_two": Config((1, 1), producers=(1, 1), consumers=2, kills=1),
    "chain_grows": Config((1, 2), producers=(2, 1), consumers=1, kills=1),
    "chain_of_two_cells": Config((2, 1), producers=(3,), consumers=2, kills=1),
    "chain_of_three": Config((1, 1, 1), producers=(3,), consumers=2, kills=1),
    "chain_late_producer": Config((1, 1), producers=(2, 1, 1), consumers=1, loaded=1, kills=1),
    "pool_two_tasks": Config((2, 1), workers=2, loaded=2, kills=1, monitor_kills=1),
    "pool_any_two_die": Config((1, 1), workers=3, loaded=1, kills=2, monitor_kills=1),
}
ONE = Config((1,), producers=(1,), consumers=2, kills=1)  # the smallest case where something can be put back
TASK = Config((1, 1), workers=2, loaded=1, kills=1)
STUCK, LOST = "stuck", "lost"
FLAWED = [
    (Flaw.CLAIM_BY_TAIL, Config((1,), producers=(1, 1), consumers=1, kills=1), STUCK),
    (Flaw.TOMB_COMMITTING, ONE, LOST),
    (Flaw.FREE_READING, ONE, LOST),
    (Flaw.HEAD_STAYS, ONE, STUCK),
    (Flaw.NO_VERSION, ONE, STUCK),
    (Flaw.VERSION_ONLY_IF_LOWERED, ONE, STUCK),
    (Flaw.PUT_BACK_ONLY_OWN, replace(ONE, monitor_kills=1), STUCK),
    (Flaw.FREE_BEFORE_COPY, Config((1,), producers=(2,), consumers=1), "garbage"),
    (Flaw.NO_SEAL, CHAIN["late_producer"], STUCK),
    (Flaw.RETIRE_WITH_READERS, CHAIN["readers_left_behind"], STUCK),
    (Flaw.PUT_BACK_BEFORE_CLEAR, replace(TASK, monitor_kills=1), "both result and death"),
    (Flaw.COMMITTING_STAYS_NAMED, TASK, "both result and death"),
    (Flaw.CLEAR_AFTER_PUBLISH, TASK, "both result and death"),
    (Flaw.CLEAR_BEFORE_COMMIT, TASK, "no result, no death"),
    (Flaw.TOMB_COMMITTING, TASK, "no result, no death"),
]


def assert_holds(config: Config) -> None:
    report = explore(RingModel(config))
    assert not report.failure, str(report)
    assert report.finished, "a model in which nothing ends would hold too"


@pytest.mark.parametrize("name", RING)
def test_ring(name: str) -> None:
    assert_holds(RING[name])


@pytest.mark.parametrize("name", CHAIN)
def test_chain(name: str) -> None:
    assert_holds(CHAIN[name])


@pytest.mark.parametrize("name", POOL)
def test_pool(name: str) -> None:
    assert_holds(POOL[name])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SLOW)
def test_larger(name: str) -> None:
    assert_holds(SLOW[name])


@pytest.mark.parametrize(
    ("flaw", "config", "finding"), FLAWED, ids=lambda value: getattr(value, "name", None)
)
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    report = explore(RingModel(replace(config, flaw=flaw)))
    assert finding in report.failure, str(report)
    assert report.trace


@pytest.mark.parametrize("config", dict.fromkeys(config for _, config, _ in FLAWED), ids=str)
def test_flaw_is_what_was_found(config: Config) -> None:
    """Without its flaw the same case holds: it was not found for another reason."""
    assert_holds(config)
