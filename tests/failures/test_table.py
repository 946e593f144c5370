"""docs/failures.md: what its script finds for us, in each of the nine ways to go wrong."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # pytest without `python -m` has only tests/ there

from bench import faults  # noqa: E402
from bench.failures import HANG, cell, run_one  # noqa: E402

# Seconds for a program that must end.
PATIENCE = 30

EXPECTED = {
    "worker SIGKILLed": "only it: WorkerDied",
    "sys.exit(1) in a task": "only it: SystemExit",
    "unpicklable function": "only it: UnpicklableError",
    "unpicklable argument": "only it: UnpicklableError",
    "argument fails to unpickle": "only it: UnpicklableError",
    "unpicklable result": "only it: UnpicklableError",
    "result fails to unpickle": "only it: UnpicklableError",
    "exception with a 2-argument __init__": "only it: TwoArguments",
    "initializer raises": "told: InitializerFailed",
}


def test_there_are_nine() -> None:
    assert list(EXPECTED) == list(faults.MODES)


@pytest.mark.parametrize("mode", EXPECTED)
def test_only_the_guilty_call_fails(mode: str) -> None:
    assert run_one("allcores", mode, PATIENCE) == EXPECTED[mode]


GOOD = [["value", 2 * i] for i in range(faults.CALLS)]


@pytest.mark.parametrize(
    ("error", "lost", "afterwards", "words"),
    [
        ("WorkerDied", 0, ["value", 42], "only it: WorkerDied"),
        ("KeyError", 0, ["value", 42], "only it: KeyError (not its own)"),
        ("WorkerDied", 2, ["value", 42], "2 of 7 others lost: WorkerDied"),
        ("WorkerDied", 1, ["error", "Broken"], "pool broken: WorkerDied, 1 of 7 others lost"),
        ("WorkerDied", 0, None, "pool broken: WorkerDied"),
    ],
)
def test_what_the_script_calls_it(error: str, lost: int, afterwards: list[object] | None, words: str) -> None:
    outcomes = [["error", "Other"] if i < lost else one for i, one in enumerate(GOOD)]
    outcomes[faults.BAD] = ["error", error]
    found = {"outcomes": outcomes, "afterwards": afterwards}
    assert cell("worker SIGKILLed", {**found, "outcomes": list(outcomes)}, True) == words
    assert cell("worker SIGKILLed", {**found, "outcomes": list(outcomes)}, False) == f"{words}, then {HANG} at its end"
    assert cell("worker SIGKILLed", None, False) == HANG
