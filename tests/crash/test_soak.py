"""After any number of messages and tasks a program needs what it needed in the beginning."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What may come and go: the allocator's own pages, and blocks that are kept warm.
SLACK = {"own": 4 << 20, "segment": 4 << 20, "blocks": 0, "files": 0}


def check(root: Path, messages: int, tasks: int, patience: float) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(root / "tests")])}
    command = [sys.executable, "-m", "crash.soak", str(messages), str(tasks)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, timeout=patience)
    assert done.returncode == 0
    print(done.stdout)
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    early, late = looks[len(looks) // 3], looks[-1]
    for what, slack in SLACK.items():
        assert late[what] - early[what] <= slack, f"{what}: {[look[what] for look in looks]}"


def test_flat(root: Path) -> None:
    check(root, 100_000, 10_000, 60)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_flat_for_long(root: Path) -> None:
    check(root, 100_000_000, 1_000_000, 7000)
