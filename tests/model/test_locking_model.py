"""Locks keep their promise in every interleaving of these cases, and the check finds each of the flaws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .locking import Config, Flaw, LockModel

CASES = {
    "no deaths": Config(lockers=3),
    "any one dies": Config(lockers=2, kills=1, monitor_kills=1),
    "any two die": Config(lockers=3, kills=2, mortal=(1, 2)),
    "an heir": Config(lockers=2, heirs=1, kills=2),
    "atomic updates": Config(lockers=1, updaters=2, kills=1),
    "released at death": Config(lockers=2, heirs=1, kills=1, monitor_kills=1, release_mode=True),
    "a signal": Config(lockers=1, signaller=True, kills=1, mortal=(1, 2)),
    "a signal released at death": Config(lockers=2, signaller=True, kills=1, mortal=(3,), release_mode=True),
}
LARGER = {
    "any two die": Config(lockers=3, kills=2, monitor_kills=1),
    "heirs": Config(lockers=3, heirs=1, kills=2),
    "atomic updates": Config(lockers=2, updaters=2, kills=1),
    "released at death": Config(lockers=3, heirs=1, kills=2, release_mode=True),
    "a signal": Config(lockers=2, signaller=True, kills=1, mortal=(1, 2, 3)),
    "a signal and an heir": Config(lockers=1, signaller=True, kills=2, heirs=1, mortal=(1, 2), monitor_kills=1),
    "a signal released at death": Config(lockers=2, signaller=True, kills=2, mortal=(1, 3), release_mode=True),
}
DIES = Config(lockers=2, kills=1)
SIGNAL = CASES["a signal released at death"]
FLAWED = [
    (Flaw.RELEASE_BY_STORE, SIGNAL, "another has it too"),
    (Flaw.POISON_STAYS, CASES["a signal"], "whose signal was released"),
    (Flaw.SETTLE_BY_STORE, DIES, "wrong owner"),
    (Flaw.NO_THREAD, Config(lockers=2, heirs=1, kills=1, mortal=(1,)), "wrong owner"),
    (Flaw.PID_BESIDE, DIES, "wrong owner"),
    (Flaw.PID_AFTER_POISON, DIES, "wrong owner"),
    (Flaw.FREES_ALWAYS, DIES, "left half changed"),
    (Flaw.POISONS_ALWAYS, CASES["atomic updates"], "leaves nothing half changed"),
    (Flaw.SLOT_FIRST, DIES, "wrong owner"),
    (Flaw.ONLY_WITH_HANDLE, CASES["a signal"], "wrong owner"),
    (Flaw.SETTLE_WAKES_NOBODY, SIGNAL, "stuck"),
    (Flaw.NOT_DISTURBED, DIES, "stuck"),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(LockModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(LockModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config", "finding"), FLAWED, ids=[f"{f[0].name}: {f[2]}" for f in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config, finding: str) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(LockModel, replace(config, flaw=flaw), finding)
    assert_holds(LockModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _, _ in FLAWED} == set(Flaw)
