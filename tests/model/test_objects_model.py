"""An object ends once, with its last holder, in every interleaving of these cases; and the check finds each flaw."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .objects import Config, Flaw, ObjectModel

CASES = {
    "no deaths": Config(holders=3, makers=1),
    "a message": Config(holders=1, senders=1, receivers=1),
    "any one dies": Config(holders=2, kills=1, monitor_kills=1),
    "any two die": Config(holders=2, makers=1, kills=2),
    "two makers": Config(holders=1, makers=2, kills=1),
    "a message and a death": Config(senders=1, receivers=1, kills=1, monitor_kills=1),
}
LARGER = {
    "two messages": Config(senders=2, receivers=2),
    "any one dies": Config(holders=2, makers=1, kills=1, monitor_kills=1),
    "any two die": Config(holders=2, makers=1, kills=2, monitor_kills=1),
    "one of three dies": Config(holders=3, makers=1, kills=1),
    "a message and a death": Config(holders=1, senders=1, receivers=1, kills=1, monitor_kills=1),
}
TWO = Config(holders=2)
DIES = CASES["any one dies"]
FLAWED = [
    (Flaw.NO_CLAIM, TWO, "a second time"),
    (Flaw.LOOK_AFTER_CLEAR, replace(TWO, makers=1), "that [3] have"),
    (Flaw.NO_USES, replace(TWO, makers=1), "that [3] have"),
    (Flaw.HELD_BEFORE_CLEAR, TWO, "has not ended"),
    (Flaw.PINS_SEEN_ONCE, CASES["a message"], "in a message"),
    (Flaw.PINS_NOT_COUNTED, CASES["a message"], "that [3] have"),
    (Flaw.UNPIN_BEFORE_HOLD, Config(senders=1, receivers=1), "that [2] have"),
    (Flaw.PIN_AFTER_SEND, CASES["a message and a death"], "in a message"),
    (Flaw.CLAIM_AS_SEEN, DIES, "has not ended"),
    (Flaw.CLAIM_STAYS, DIES, "has not ended"),
    (Flaw.NO_LOOK_AFTER_CLAIM, DIES, "has not ended"),
    (Flaw.UNCLAIMED_RECOVERY, CASES["two makers"], "recovery writes"),
    (Flaw.HOLD_STAYS, DIES, "has not ended"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(ObjectModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(ObjectModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(ObjectModel, replace(config, flaw=flaw), finding)
    assert_holds(ObjectModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
