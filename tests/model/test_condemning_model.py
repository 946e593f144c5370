"""No item is hit that has ended or is not over its time, in every interleaving of these cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .condemning import CondemningModel, Config, Flaw

CASES = {
    "a slow item, then a quick one": Config(),
    "quick, slow, quick": Config(slow=(False, True, False)),
    "all slow": Config(slow=(True, True, True), kills=1),
    "a kill by others": Config(slow=(True, False, True, False), kills=1),
}
FLAWED = [
    (Flaw.NO_CLAIM, CASES["a slow item, then a quick one"], "has ended, and is condemned"),
    (Flaw.WORD_FIRST, CASES["a slow item, then a quick one"], "not over its time"),
    (Flaw.ENDS_FROM_ANYTHING, CASES["a slow item, then a quick one"], "has ended, and is condemned"),
    (Flaw.ENDS_WITH_A_STORE, CASES["a slow item, then a quick one"], "has ended, and is condemned"),
    (Flaw.NO_NUMBER, CASES["a slow item, then a quick one"], "not over its time"),
    (Flaw.GOES_ON, CASES["a slow item, then a quick one"], "in the place of"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(CondemningModel, CASES[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(CondemningModel, replace(config, flaw=flaw), finding)
    assert_holds(CondemningModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
