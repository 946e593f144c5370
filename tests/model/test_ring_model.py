"""The ring's protocol holds in every interleaving of these cases, and the check finds each of the flaws.

After a change of the protocol run `pytest -m slow tests/model` too: millions of states, some minutes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from .explore import Report, explore
from .recovery import RingModel
from .ring import Config, Flaw

CASES = {
    "ring: no deaths": Config((1,), producers=(1, 1), consumers=2),
    "ring: a producer dies": Config((1,), producers=(1, 1), consumers=1, kills=1, monitor_kills=1),
    "ring: any one dies": Config((2,), producers=(2,), consumers=2, kills=1),
    "ring: any two die": Config((1,), producers=(1,), consumers=2, kills=2, monitor_kills=1),
    "ring: full": Config((1,), producers=(2,), consumers=2, kills=1),
    "ring: order": Config((2,), producers=(3,), consumers=1, in_order=True),
    "ring: order after a death": Config(
        (2,), producers=(3,), consumers=1, heirs=1, kills=1, monitor_kills=1, in_order=True
    ),
    "chain: no deaths": Config((1, 1), producers=(1, 1), consumers=1),
    "chain: any one dies": Config((1, 1), producers=(1, 1), consumers=1, kills=1),
    "chain: a consumer dies": Config((1, 1), producers=(2,), consumers=2, kills=1, mortal=(2,)),
    "chain: a reader left behind": Config((2, 1), producers=(3,), consumers=2, loaded=2, kills=1, mortal=(2,)),
    "chain: a late producer": Config((1, 1), producers=(1, 1, 1), consumers=1),
    "chain: order": Config((1, 1, 1), producers=(3,), consumers=1, kills=1, in_order=True),
    "chain: order after a death": Config(
        (2, 1), producers=(3,), consumers=1, heirs=1, kills=1, monitor_kills=1, in_order=True
    ),
    "pool: no deaths": Config((2, 1), workers=2, loaded=2),
    "pool: a worker dies": Config((1, 1), workers=2, loaded=1, kills=1, monitor_kills=1),
    "pool: between two tasks": Config((2, 1), workers=1, loaded=2, kills=1, monitor_kills=1),
}
LARGER = {
    "ring: any one dies": Config((2,), producers=(2,), consumers=2, kills=1, monitor_kills=1),
    "chain: a consumer dies": Config((1, 1), producers=(2,), consumers=2, kills=1, monitor_kills=1),
    "ring: two and two": Config((2,), producers=(1, 1), consumers=2, kills=1, monitor_kills=1),
    "ring: wraps around": Config((2,), producers=(2, 1), consumers=1, kills=1, monitor_kills=1),
    "ring: one cell": Config((1,), producers=(1, 1), consumers=2, kills=1, monitor_kills=1),
    "ring: three consumers": Config((1,), producers=(1,), consumers=3, kills=2, monitor_kills=1),
    "ring: put back twice": Config((2,), producers=(2,), consumers=3, kills=2),
    "chain: any two die": Config((1, 1), producers=(1, 1), consumers=1, kills=2, monitor_kills=1),
    "chain: two and two": Config((1, 1), producers=(1, 1), consumers=2, kills=1),
    "chain: grows": Config((1, 2), producers=(2, 1), consumers=1, kills=1),
    "chain: of three": Config((1, 1, 1), producers=(3,), consumers=2, kills=1),
    "chain: a reader left behind": Config((2, 1), producers=(3,), consumers=2, loaded=2, kills=1, monitor_kills=1),
    "chain: a late producer": Config((1, 1), producers=(1, 1, 1), consumers=1, kills=1),
    "pool: two tasks": Config((2, 1), workers=2, loaded=2, kills=1, monitor_kills=1),
    "pool: any two die": Config((1, 1), workers=3, loaded=1, kills=2, monitor_kills=1),
}
ONE = Config((1,), producers=(1,), consumers=2, kills=1)  # the smallest case where something can be put back
TASK = Config((1, 1), workers=2, loaded=1, kills=1)
FLAWED = [
    (Flaw.CLAIM_BY_TAIL, Config((1,), producers=(1, 1), consumers=1, kills=1), "stuck"),
    (Flaw.TOMB_COMMITTING, ONE, "lost"),
    (Flaw.FREE_READING, ONE, "lost"),
    (Flaw.HEAD_STAYS, ONE, "stuck"),
    (Flaw.NO_VERSION, ONE, "stuck"),
    (Flaw.VERSION_ONLY_IF_LOWERED, ONE, "stuck"),
    (Flaw.PUT_BACK_ONLY_OWN, replace(ONE, monitor_kills=1), "stuck"),
    (Flaw.FREE_BEFORE_COPY, Config((1,), producers=(2,), consumers=1), "garbage"),
    (Flaw.NO_SEAL, CASES["chain: a late producer"], "stuck"),
    (Flaw.RETIRE_WITH_READERS, CASES["chain: a reader left behind"], "stuck"),
    (Flaw.PUT_BACK_BEFORE_CLEAR, CASES["pool: a worker dies"], "both result and death"),
    (Flaw.COMMITTING_STAYS_NAMED, TASK, "both result and death"),
    (Flaw.CLEAR_AFTER_PUBLISH, TASK, "both result and death"),
    (Flaw.CLEAR_BEFORE_COMMIT, TASK, "no result, no death"),
    (Flaw.TOMB_COMMITTING, TASK, "no result, no death"),
]


@cache
def explored(config: Config) -> Report:
    return explore(RingModel(config))


def assert_holds(config: Config) -> None:
    report = explored(config)
    assert not report.failure, str(report)
    assert report.finished, "a model in which nothing ends would hold too"


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    report = explored(replace(config, flaw=flaw))
    assert finding in report.failure, str(report)
    assert report.trace
    assert_holds(config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
