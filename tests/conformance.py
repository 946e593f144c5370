"""What CPython's own tests say, as a table: reads what a harness wrote that runs them against allcores.

    python -m conformance 3.11:fork=results.json=baseline.json ...      from within tests/

Each file is JSON with ``tests``: id -> {"status": "pass" or another word}. The baseline is the standard library's own
outcome. Prints a row for each run, and each test that the standard library passes and allcores does not: with a mark
where docs/conformance.md does not name it. The exit status is the number of those.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parent.parent / "docs" / "conformance.md"


class Run(NamedTuple):
    """One run of the suite on one Python with one start method."""

    python: str
    method: str
    ours: dict[str, str]  # the status of each test, by class and name
    theirs: dict[str, str]  # of the standard library

    def worse(self) -> list[str]:
        """What passes with the standard library, and not with allcores."""
        return [name for name, status in self.theirs.items() if status == "pass" and self.ours.get(name) != "pass"]

    def row(self) -> str:
        """Of the table."""
        ran = [name for name, status in self.theirs.items() if status == "pass"]
        passed = len(ran) - len(self.worse())
        return f"| {self.python} | {self.method} | {len(self.ours)} | {len(ran)} | {passed} | {len(self.worse())} |"


HEAD = """| Python | start method | tests | pass with the standard library | of these with allcores | not |
|---|---|---|---|---|---|"""


def read(path: str) -> dict[str, str]:
    """The statuses, by ``Class.test``."""
    tests: dict[str, dict[str, str]] = json.loads(Path(path).read_text())["tests"]
    return {name.rpartition(":")[2]: test["status"] for name, test in tests.items()}


def run_of(argument: str) -> Run:
    """``3.11:fork=results.json=baseline.json``. Of the baseline what was run."""
    which, ours, theirs = argument.split("=")
    python, method = which.split(":")
    found = read(ours)
    return Run(python, method, found, {name: status for name, status in read(theirs).items() if name in found})


def main(arguments: list[str]) -> int:
    """Print the table, and what is not in it."""
    runs = [run_of(argument) for argument in arguments]
    print(HEAD)
    for run in runs:
        print(run.row())
    where: dict[str, list[str]] = {}
    for run in runs:
        for name in run.worse():
            where.setdefault(name, []).append(f"{run.python} {run.method} ({run.ours[name]})")
    said = DOCUMENT.read_text()
    unsaid = [name for name in where if f"`{name}`" not in said]
    for name in sorted(where):
        print(f"{'NOT LISTED ' if name in unsaid else ''}{name}: {', '.join(where[name])}")
    return len(unsaid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
