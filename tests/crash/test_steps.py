"""Dying at every named step: what was committed arrives once, nobody waits for ever, and nothing stays behind."""

import pytest

from .conftest import Lab
from .scenarios import SCENARIOS
from .settling import FIRST

came_to: set[str] = set()


def check(lab: Lab, scenario: str, dense: bool) -> None:
    outcome = lab.ask(scenario, dense)
    assert "error" not in outcome, outcome["error"]
    came_to.update(outcome["steps"])
    assert outcome["deaths"] >= len(set(outcome["steps"])) > 2


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_death_at_every_step(lab: Lab, scenario: str) -> None:
    check(lab, scenario, dense=False)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_death_at_every_step_each_time(lab: Lab, scenario: str) -> None:
    check(lab, scenario, dense=True)


@pytest.mark.parametrize("first", FIRST)
def test_death_of_the_template_while_it_settles_another(own_lab: Lab, first: str) -> None:
    for step in FIRST[first]:
        outcome = own_lab.ask("settling", first, step)
        assert "error" not in outcome, f"the template died at {step}: {outcome['error']}"
        came_to.add(step)


def test_every_named_step_was_died_at(lab: Lab, request: pytest.FixtureRequest) -> None:
    """What the tests above came to, is all that there is. Comes last in this file."""
    if len([item for item in request.session.items if "death_at_every_step[" in item.name]) < len(SCENARIOS):
        pytest.skip("only some of the scenarios were selected")
    assert set(lab.names) - came_to == set()
