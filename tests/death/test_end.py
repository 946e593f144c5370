"""The program ends, by itself or by SIGKILL, at the top or in the middle: nobody is left behind."""

import contextlib
import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from .kit import PATIENCE, PROMPT, Program, gone, started


def everybody(program: Program) -> list[psutil.Process]:
    """The template and all others, those that sit deep in C and those that workers started."""
    told = {int(pid) for pid in program.line().split()}
    assert len(told) == 11, program.stderr()
    family = program.family()
    assert told <= {process.pid for process in family}
    return family


def template_of(program: Program) -> int:
    (template,) = psutil.Process(program.pid).children()
    return template.pid


def test_killed(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "family", "killed") as program:
        family = everybody(program)
        os.kill(program.pid, signal.SIGKILL)
        assert gone(family)
        assert program.end() == -signal.SIGKILL
        assert program.stderr() == ""


def test_killed_together_with_the_template(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "family", "killed") as program:
        family = everybody(program)
        for pid in (template_of(program), program.pid):
            os.kill(pid, signal.SIGKILL)
        assert gone(family)
        assert program.stderr() == ""


def test_the_template_alone_is_killed(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "family", "killed") as program:
        family = everybody(program)
        template = template_of(program)
        os.kill(template, signal.SIGKILL)
        assert gone([process for process in family if process.pid != template])  # which the program has yet to reap
        assert psutil.pid_exists(program.pid)


def test_terminated(tmp_path: Path) -> None:
    """SIGTERM, which Python does not handle: as in the standard library, nobody is joined; but nobody stays either."""
    with started(tmp_path / "stderr", "family", "terminated") as program:
        family = everybody(program)
        os.kill(program.pid, signal.SIGTERM)
        assert gone(family)
        assert program.end() == -signal.SIGTERM
        assert program.stderr() == ""


@pytest.mark.parametrize(("how", "code"), [("normal", 0), ("exit", 7), ("error", 1)])
def test_of_itself(tmp_path: Path, how: str, code: int) -> None:
    with started(tmp_path / "stderr", "family", how) as program:
        family = everybody(program)
        at = time.monotonic()
        program.tell("end")
        assert program.end() == code
        assert gone(family)
        assert time.monotonic() - at < PROMPT
        assert program.stderr().count("Traceback") == (how == "error")


@pytest.mark.parametrize(("how", "code"), [("normal", 0), ("exit", 7), ("error", 1)])
def test_who_is_no_daemon_is_waited_for(tmp_path: Path, how: str, code: int) -> None:
    with started(tmp_path / "stderr", "joined", how) as program:
        program.expect("ends")
        program.until_asleep()
        family = program.family()
        assert program.process.poll() is None
        program.tell("go on")
        assert program.end() == code
        assert program.rest() == "done\n"
        assert gone(family)


@pytest.mark.parametrize(
    ("seed", "times"), [(0, 5), *(pytest.param(seed, 40, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_killed_at_any_moment(tmp_path: Path, seed: int, times: int) -> None:
    moments = random.Random(seed)
    for _ in range(times):
        with started(tmp_path / "stderr", "family", "killed") as program:
            threading.Event().wait(moments.uniform(0, 0.5))
            program.process.kill()
            program.process.wait(PATIENCE)
            deadline = time.monotonic() + PROMPT
            while members := session(program.pid):  # of processes not known to us yet, nothing tells: a bounded poll
                assert time.monotonic() < deadline, members
                threading.Event().wait(0.01)


def session(leader: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) == leader and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found
