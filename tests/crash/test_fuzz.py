"""Damaged bytes in shared memory give an error or another value, never a crash, a hang, or the loss of others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def fuzz(env: dict[str, str], rounds: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crash.fuzz", str(rounds)], env=env, stdout=subprocess.PIPE, text=True, timeout=1000
    )
    assert done.returncode == 0, f"it ended with {done.returncode}; what it said is on stderr"
    report = json.loads(done.stdout)
    print(report)
    assert min(report.values()) > rounds / 5, "damage was never found out, or always"


def test_damage(crash_env: dict[str, str]) -> None:
    fuzz(crash_env, 100)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_much_damage(crash_env: dict[str, str]) -> None:
    fuzz(crash_env, 20_000)


def test_a_damaged_queue_is_refused(crash_env: dict[str, str], root: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "crash.damaged_queue"], env=crash_env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "refused\n" * 4), done.stderr
