"""No wake-up is lost in any interleaving of these cases, and the check finds each of the flaws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from .cases import assert_finds, assert_holds
from .disturb import ParkingModel
from .parking import Config, Flaw

CASES = {
    "two items at once": Config(2, changes=(2,), asleep=1),
    "two changers": Config(2, changes=(1, 1), asleep=2, spins=False),
    "a timeout or signal": Config(2, changes=(1,), breaks=1, spins=False),
    "any one dies": Config(2, changes=(2,), asleep=2, spins=False, kills=1),
    "a spinner dies": Config(2, changes=(1,), kills=1),
    "a changer dies": Config(1, changes=(1, 1), spins=False, kills=1, mortal=(2,)),
    "any two die": Config(2, changes=(1,), asleep=1, spins=False, kills=2, monitor_kills=1),
    "workers of a pool": Config(2, changes=(2,), asleep=1, promises=True, spins=False),
    "threads of one process": Config(2, changes=(2,), asleep=1, one_process=True),
    "an event": Config(2, changes=(1,), event=True, spins=False, kills=1),
    "several": Config(1, changes=(1, 1), asleep=1, several=1, spins=False),
    "several, beside a spinner": Config(1, changes=(2,), several=1),
    "several, any one dies": Config(1, changes=(1,), asleep=1, several=1, spins=False, kills=1),
    "several, an event": Config(1, changes=(1,), event=True, several=1, spins=False, kills=1, monitor_kills=1),
    # The Linux futex tells who was woken from who was interrupted, and whoever was counted on looks: so passing a
    # wake-up on when leaving without the thing, as the code does, is more than is needed.
    "who leaves tells nobody": Config(2, changes=(1,), breaks=1, spins=False, keeps=True),
}
LARGER = {
    "several, awake": Config(1, changes=(1, 1), several=1, spins=False),
    "several, of two changers": Config(1, changes=(1, 1), asleep=1, several=2, spins=False),
    "several, beside a spinner": Config(1, changes=(2,), several=1, breaks=1, kills=1),
    "several, any two die": Config(1, changes=(1,), asleep=1, several=1, spins=False, kills=2, monitor_kills=1),
    "two items at once": Config(2, changes=(2,), breaks=1, kills=1),
    "timeouts and signals": Config(2, changes=(1,), breaks=2),
    "two changers": Config(2, changes=(1, 1)),
    "the changers die": Config(1, changes=(1, 1), kills=2),
    "any one dies": Config(2, changes=(2,), kills=1, monitor_kills=1),
    "any two die": Config(2, changes=(2,), asleep=2, spins=False, kills=2, monitor_kills=1),
    "three waiters": Config(3, changes=(2,), asleep=2),
    "three sleepers": Config(3, changes=(3,), asleep=3, spins=False),
    "workers of a pool": Config(2, changes=(2,), promises=True, kills=1),
    "threads of one process": Config(2, changes=(2,), one_process=True, promises=True, spins=False, kills=1),
    "an event": Config(3, changes=(1,), event=True, spins=False, breaks=1, kills=1),
    "who leaves tells nobody": Config(2, changes=(2,), breaks=2, keeps=True),
    "of three, who leaves tells nobody": Config(3, changes=(2,), asleep=3, breaks=1, spins=False, keeps=True),
}
ONE = Config(1, changes=(1,))
TWO = Config(2, changes=(2,), asleep=1)
DIES = Config(2, changes=(1,), kills=1)
SEVERAL = Config(1, changes=(2,), several=1, spins=False)
FLAWED = [
    (Flaw.LOOK_BEFORE_ANNOUNCE, ONE),
    (Flaw.NOTIFY_BEFORE_CHANGE, ONE),
    (Flaw.NO_COUNT, ONE),
    (Flaw.SLEEP_WITHOUT_LOOK, ONE),
    (Flaw.NO_MORE, replace(TWO, spins=False)),
    (Flaw.MORE_BEFORE_LOOKED, TWO),
    (Flaw.FORGET_AFTER_LOOK, replace(TWO, spins=False)),
    (Flaw.WAKING_NOBODY, replace(ONE, breaks=1)),
    (Flaw.PROMISE_BROKEN, CASES["workers of a pool"]),
    (Flaw.PROMISE_NO_MORE, CASES["workers of a pool"]),
    (Flaw.NOT_DISTURBED, DIES),
    (Flaw.SPINNER_STAYS, DIES),
    (Flaw.WAKING_STAYS, CASES["a changer dies"]),
    (Flaw.SPINNER_LAST, DIES),
    (Flaw.SETTLE_LAST, DIES),
    (Flaw.SEVERAL_AFTER_WAKING, SEVERAL),
    (Flaw.SEVERAL_READ_LATE, SEVERAL),
    (Flaw.SEVERAL_ANNOUNCED_LATE, SEVERAL),
    (Flaw.SEVERAL_TOLD_FIRST, CASES["several"]),
    (Flaw.SEVERAL_NOT_TOLD, replace(SEVERAL, changes=(1,), kills=1)),
]


@pytest.mark.parametrize("case", CASES)
def test_protocol_holds(case: str) -> None:
    assert_holds(ParkingModel, CASES[case])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGER)
def test_protocol_holds_in_larger_cases(case: str) -> None:
    assert_holds(ParkingModel, LARGER[case])


@pytest.mark.parametrize(("flaw", "config"), FLAWED, ids=[flaw.name for flaw, _ in FLAWED])
def test_flaw_is_found(flaw: Flaw, config: Config) -> None:
    """And without it the same case holds: it is the flaw that was found."""
    assert_finds(ParkingModel, replace(config, flaw=flaw), "stuck")
    assert_holds(ParkingModel, config)


def test_every_flaw_is_tried() -> None:
    assert {flaw for flaw, _ in FLAWED} == set(Flaw)
