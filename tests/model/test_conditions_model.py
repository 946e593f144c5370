"""No notify is lost in any interleaving of these cases, and the check finds each of the flaws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .conditions import ConditionModel, Config, Flaw

CASES = {
    "no deaths": Config(consumers=2, producers=2),
    "a timeout": Config(consumers=2, breaks=1),
    "any one dies": Config(consumers=2, kills=1, monitor_kills=1),
    "any two die": Config(consumers=2, kills=2),
    "one of three dies": Config(consumers=3, kills=1, mortal=(1,), breaks=1),
    "released at death": Config(consumers=2, kills=1, monitor_kills=1, release_mode=True),
}
LARGER = {
    "two producers": Config(consumers=2, producers=2, kills=1, monitor_kills=1, breaks=1),
    "any two die": Config(consumers=3, kills=2, monitor_kills=1),
    "three consumers": Config(consumers=3, producers=2, kills=1, breaks=1),
    "released at death": Config(consumers=3, kills=2, monitor_kills=1, release_mode=True),
}
DIES = CASES["any one dies"]
FLAWED = [
    (Flaw.TIMEOUT_SWALLOWS, CASES["a timeout"], "stuck"),
    (Flaw.TAKE_BACK_BY_STORE, CASES["one of three dies"], "stuck"),
    (Flaw.MARK_BY_STORE, DIES, "are not free"),
    (Flaw.RECOVER_BY_STORE, DIES, "stuck"),
    (Flaw.NOT_PASSED_ON, DIES, "stuck"),
    (Flaw.FREE_BEFORE_PASS_ON, DIES, "stuck"),
    (Flaw.CLAIM_AFTER_UNLOCK, Config(consumers=1), "stuck"),
    (Flaw.POISON_UNSEEN, DIES, "stuck"),
    (Flaw.FREES_ONLY, CASES["released at death"], "stuck"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(ConditionModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(ConditionModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(ConditionModel, replace(config, flaw=flaw), finding)
    assert_holds(ConditionModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
