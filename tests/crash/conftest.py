"""The test build of allcores, in build/crash; `make crash-build` makes it, and `make test` does that first."""

import faulthandler
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .dying import PATIENCE

BUILDS = Path(os.environ.get("ALLCORES_BUILDS", Path(__file__).parents[2] / "build"))
# Set by the Makefile, which has made the build: then its absence is a failure.
ASKED_FOR = "ALLCORES_CRASH" in os.environ


@pytest.fixture(autouse=True)
def stacks_of_a_hang(request: pytest.FixtureRequest, stacks_of_a_hang: None) -> None:
    """The suite's own limit for a test is not for those that say how long they take."""
    if request.node.get_closest_marker("timeout") is not None:
        faulthandler.cancel_dump_traceback_later()


def newest(files: Iterator[Path]) -> float:
    return max((file.stat().st_mtime for file in files), default=0.0)


@pytest.fixture(scope="session")
def crash_build(root: Path) -> Path:
    """Where the test build is, for PYTHONPATH."""
    build = BUILDS / "crash"
    made = newest(build.glob("built"))
    files = (f for place in ("native/include", "native/bindings", "src") for f in (root / place).rglob("*"))
    sources = newest(f for f in files if f.suffix in (".hpp", ".cpp", ".py"))
    why = "is not there" if made == 0 else "is older than the sources" if made < sources else ""
    if why:
        said = f"the test build of the core {why} ({build}): `make test` makes it, or `make crash-build`"
        pytest.fail(said, pytrace=False) if ASKED_FOR else pytest.skip(said)
    return build


@pytest.fixture(scope="session")
def crash_env(crash_build: Path, root: Path) -> dict[str, str]:
    """The environment for a script that is to run on the test build."""
    return {**os.environ, "PYTHONPATH": f"{crash_build}:{root / 'tests'}"}


class Lab:
    """A running ``crash.lab``."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "crash.lab"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=self.env, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.names: list[str] = self.answer()["names"]

    def ask(self, *what: Any) -> Any:
        if self.process is None:
            self.start()  # again, after a test that ended it
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        return self.answer()

    def answer(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            pytest.fail("the lab has ended; what it said is on stderr")
        return json.loads(line)

    def close(self) -> None:
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process.wait(PATIENCE)
            self.process = None


@pytest.fixture(scope="module")
def lab(crash_env: dict[str, str]) -> Iterator[Lab]:
    lab = Lab(crash_env)
    yield lab
    lab.close()


@pytest.fixture
def own_lab(crash_env: dict[str, str]) -> Iterator[Lab]:
    """A lab for one test, whose template may be another in the end."""
    lab = Lab(crash_env)
    yield lab
    lab.close()
