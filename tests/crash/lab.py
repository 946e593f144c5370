"""The program that test_steps.py experiments with: it runs on the test build, and does one scenario per line it reads.

Run by ``python -m crash.lab``; a line in is ``[scenario, dense]`` or
``["settling", first, step]``, a line out is what came of it, both as JSON.
"""

# ruff: noqa: E402 - the segment comes before those who use it

import faulthandler
import gc
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - before the template starts: it then has it for all children

from allcores import cores

from .dying import Run, native

# A warm limit of 4 MiB, so that large blocks give their memory back at once: that has a step of its own. What is idle
# stays, so that no step depends on the time. Here,
# before what comes next starts the template.
native.create(size=64 << 30, cpus=cores.usable(), program=1, warm=4 << 20, idle=0)

from .scenarios import SCENARIOS
from .settling import settle

# Below the 60 s of pytest-timeout, so that it is this program's stacks that are seen.
GIVE_UP = 50.0
# Of a scenario that comes to more steps than this, only some are died at.
MANY = 100


def left_open() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def points(steps: list[str], dense: bool) -> list[int]:
    """At which of the steps to die: of each name the first and the last time; ``dense``: all, or evenly among many."""
    ends = {i for i, step in enumerate(steps) if step not in steps[:i] or step not in steps[i + 1 :]}
    return sorted(ends | set(range(0, len(steps), 1 + len(steps) // MANY))) if dense else sorted(ends)


def experiment(name: str, dense: bool, note: Path) -> dict[str, Any]:
    """Let the scenario's victim go through to the end, then have it die at each step that it came to."""
    usage = settled_usage()
    files = left_open()
    SCENARIOS[name](Run(note))  # what it takes from the system, it has now
    whole = Run(note)
    SCENARIOS[name](whole)
    for i in points(whole.steps, dense):
        try:
            SCENARIOS[name](Run(note, whole.steps, i))
            assert settled_usage() == usage, f"blocks and bytes in use: {settled_usage()}, at the beginning {usage}"
            assert left_open() == files, "file descriptors are left open"
        except BaseException as error:
            error.add_note(f"the victim died at step {i} of {whole.steps}: {whole.steps[i]}")
            raise
    return {"steps": whole.steps, "deaths": len(points(whole.steps, dense))}


def settling(place: Path, first: str, step: str) -> dict[str, Any]:
    usage = settled_usage()
    files = left_open()
    settle(place, first, step)
    assert settled_usage() == usage
    assert left_open() == files
    return {"steps": [step]}


def settled_usage() -> tuple[int, int]:
    gc.collect()
    blocks, size, _free = native.usage()
    return blocks, size


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in ("putting inline", "pool calls"):  # what a program makes once
            SCENARIOS[name](Run(Path(place, "note")))
        print(json.dumps({"names": native.steps()}), flush=True)
        for line in sys.stdin:
            faulthandler.dump_traceback_later(GIVE_UP, exit=True)
            what = json.loads(line)
            try:
                outcome = (
                    settling(Path(place), *what[1:])
                    if what[0] == "settling"
                    else experiment(what[0], what[1], Path(place, "note"))
                )
            except BaseException:  # noqa: BLE001 - it is the test's to report
                outcome = {"error": traceback.format_exc()}
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
