"""One process at a time recovers, and all deaths are recovered, in every interleaving of these cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .deaths import Config, DeathModel, Flaw

CASES = {
    "any one dies": Config(kills=1),
    "any two die": Config(kills=2),
    "any three die": Config(watchers=2, kills=3),
    "died in the middle": Config(watchers=3, begun=True, kills=1),
    "an heir": Config(watchers=3, begun=True, heirs=1),
}
LARGER = {
    "two of five die": Config(watchers=3, kills=2),
    "an heir": Config(heirs=1, kills=2),
    "died in the middle": Config(watchers=3, begun=True, heirs=1, kills=1),
}
BEGUN = Config(watchers=3, begun=True)
FLAWED = [
    (Flaw.NO_WORD, BEGUN, "uses a block"),
    (Flaw.TAKES_OVER_THE_LIVING, CASES["any two die"], "recovers, and"),
    (Flaw.NO_VERSION, CASES["an heir"], "recovers, and"),
    (Flaw.NEVER_TAKES_OVER, CASES["any two die"], "stuck"),
    (Flaw.NO_LOOK_AFTER_RELEASE, CASES["any two die"], "stuck"),
    (Flaw.SLOT_FIRST, CASES["any one dies"], "nobody has"),
    (Flaw.NOT_FROM_THE_BEGINNING, CASES["any two die"], "uses a block"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(DeathModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(DeathModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(DeathModel, replace(config, flaw=flaw), finding)
    assert_holds(DeathModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
