"""No permit is lost or doubled in any interleaving of these cases, and the check finds each of the flaws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .permits import Config, Flaw, PermitModel

CASES = {
    "no deaths": Config(permits=2, users=3),
    "any one dies": Config(users=2, kills=1, monitor_kills=1),
    "one of three dies": Config(permits=2, users=3, kills=1),
    "an heir": Config(permits=2, users=2, heirs=1, kills=1),
    "released for others": Config(permits=2, users=1, givers=2),
}
LARGER = {
    "any two die": Config(permits=2, users=3, kills=2, monitor_kills=1),
    "of four": Config(permits=2, users=4, kills=1),
    "heirs": Config(permits=2, users=3, heirs=1, kills=2),
    "released for others": Config(permits=2, users=2, givers=2),
}
ONE = CASES["any one dies"]
FLAWED = [
    (Flaw.RELEASE_BY_STORE, Config(permits=2, users=1, givers=1), "is lost"),
    (Flaw.ANY_FIRST, CASES["one of three dies"], "more than was acquired"),
    (Flaw.SLOT_FIRST, Config(users=2, heirs=1, kills=1), "are in use"),
    (Flaw.NOT_FREED, ONE, "is lost"),
    (Flaw.SLEEP_WITHOUT_LOOK, CASES["no deaths"], "stuck"),
    (Flaw.SLEEP_ANYWAY, CASES["no deaths"], "stuck"),
    (Flaw.NOT_DISTURBED, ONE, "stuck"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(PermitModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(PermitModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(PermitModel, replace(config, flaw=flaw), finding)
    assert_holds(PermitModel, config)


def test_a_death_beside_a_release_for_another_cannot_be_right() -> None:
    """The limit that the model's docstring tells of: should this hold one day, the limit is gone."""
    assert_finds(PermitModel, Config(permits=2, users=2, givers=1, kills=1), "a permit is lost")


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
