"""Every block has one owner in every interleaving of these cases, and the check finds each of the flaws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .blocks import BlockModel, Config, Flaw
from .cases import assert_finds, assert_holds

CASES = {
    "no deaths": Config(senders=2, receivers=2),
    "any one dies": Config(receivers=2, kills=1, monitor_kills=1),
    "any two die": Config(receivers=2, kills=2),
    "two senders": Config(senders=2, receivers=2, kills=1),
    "an heir": Config(heirs=1, blocks=3, kills=1),
    "a trimmer": Config(senders=2, trimmers=1, blocks=3),
    "a trimmer dies": Config(trimmers=1, blocks=3, kills=1, monitor_kills=1),
    "two trimmers": Config(trimmers=2, kills=1),
}
LARGER = {
    "any two die": Config(senders=2, receivers=2, kills=2, monitor_kills=1),
    "two senders": Config(senders=2, blocks=3, kills=1, monitor_kills=1),
    "two cells": Config(senders=2, cells=2, blocks=4, kills=1),
    "an heir": Config(heirs=1, receivers=2, blocks=3, kills=2),
    "two trimmers": Config(senders=2, trimmers=2, blocks=3, kills=1),
    "a trimmer dies": Config(senders=2, trimmers=1, kills=2),
}
DIES = Config(kills=1)
FOUR = CASES["two senders"]
FLAWED = [
    (Flaw.HAND_OVER_BEFORE_COMMIT, DIES, "nobody has"),
    (Flaw.HAND_OVER_AFTER_PUBLISH, Config(), "IN_FLIGHT"),
    (Flaw.ACCEPT_AFTER_FREE, DIES, "nobody has"),
    (Flaw.ROOT_FIRST, CASES["an heir"], "OWNED of 1"),
    (Flaw.ARENA_FIRST, FOUR, "uses block"),
    (Flaw.FINISH_BLOCKS_STAY, FOUR, "uses block"),
    (Flaw.PUT_BACK_BLOCKS_STAY, FOUR, "uses block"),
    (Flaw.PUT_BACK_LATE, replace(DIES, receivers=2), "IN_FLIGHT"),
    (Flaw.SLOT_FIRST, replace(DIES, heirs=1), "uses block"),
    (Flaw.ONLY_IF_HELD, DIES, "stuck"),
    (Flaw.NOT_FREED, DIES, "nobody has"),
    (Flaw.TRIM_UNCLAIMED, Config(trimmers=1), "is not its message"),
    (Flaw.TRIM_RENEWS_LATE, replace(DIES, trimmers=1), "memory is gone"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(BlockModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(BlockModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(BlockModel, replace(config, flaw=flaw), finding)
    assert_holds(BlockModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
