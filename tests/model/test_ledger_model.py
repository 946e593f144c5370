"""A join ends when all is done or says who died with what, in any interleaving; the check finds each of the flaws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .ledger import Config, Flaw, LedgerModel

CASES = {
    "no deaths": Config(items=2, producers=1, consumers=2),
    "any one dies": Config(producers=1, consumers=1, kills=1),
    "one of two dies": Config(consumers=2, kills=1),
    "one consumer": Config(items=2, kills=1),
    "with no handle left": Config(items=2, consumers=2, kills=1, holds=False),
    "both die": Config(consumers=2, kills=2),
}
LARGER = {
    "any one of three dies": Config(producers=1, consumers=2, kills=1),
    "any two die": Config(items=2, producers=1, consumers=2, kills=2),
    "of three": Config(items=2, consumers=3, kills=2),
}
ONE = CASES["one consumer"]
FLAWED = [
    (Flaw.NOT_MENDED, ONE, "stuck"),
    (Flaw.TAKE_IS_A_SUM, Config(kills=1), "are not done"),
    (Flaw.DONE_IS_MISSING, ONE, "is not what it had"),
    (Flaw.READING_NOT_COUNTED, ONE, "is not what it had"),
    (Flaw.COMMITTING_NOT_COUNTED, Config(producers=1, kills=1), "are not done"),
    (Flaw.DIRT_NOT_LOOKED_AT, Config(kills=1), "stuck"),
    (Flaw.DEAD_NOT_LOOKED_AT, ONE, "stuck"),
    (Flaw.NOT_DISTURBED, ONE, "stuck"),
    (Flaw.MENDED_IN_SILENCE, CASES["one of two dies"], "stuck"),
    (Flaw.NOT_TOLD, CASES["with no handle left"], "stuck"),
    (Flaw.SLEEP_WITHOUT_LOOK, CASES["no deaths"], "stuck"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(LedgerModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(LedgerModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(LedgerModel, replace(config, flaw=flaw), finding)
    assert_holds(LedgerModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
