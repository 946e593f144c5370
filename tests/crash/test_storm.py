"""Kill storms, and programs killed as a whole. Each runs as a program of its own: what it leaves behind shows here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# A storm of n seconds, and what it takes to begin and to end where the machine is busy.
SHORT, LONG = 4, 120


def run(root: Path, seconds: float, *args: str) -> Any:
    script = [sys.executable, "-m", "crash.storm", str(seconds), *args]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(root / "tests")])}
    done = subprocess.run(script, env=env, stdout=subprocess.PIPE, text=True, timeout=seconds + 100)
    assert done.returncode == 0, "the storm failed; what it said is on stderr"
    print(done.stdout)
    return json.loads(done.stdout)


def check(report: dict[str, int], seconds: float) -> None:
    assert report["kills"] >= 2 * seconds, "that was no storm"
    for what in ("arrived", "locked", "counted", "pool items"):
        assert report[what] > 0, f"nobody got on with anything: {what}"


@pytest.mark.parametrize("options", ["", "options"])
def test_storm(root: Path, options: str) -> None:
    check(run(root, SHORT, "0", options), SHORT)


@pytest.mark.slow
@pytest.mark.timeout(LONG + 120)
@pytest.mark.parametrize("kind", ["", "nested", "options"])
def test_long_storm(root: Path, kind: str) -> None:
    check(run(root, LONG, "0", kind), LONG)
