"""SIGSTOP and SIGCONT: stopped is not dead. Others go on or wait; after SIGCONT nothing is lost."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from .kit import PATIENCE, started


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:  # not our child: nothing tells, so a bounded poll
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


@pytest.mark.parametrize("case", ["worker", "idle_worker", "lock_holder", "consumer", "template"])
def test_stopped_is_not_dead(tmp_path: Path, case: str) -> None:
    with started(tmp_path / "stderr", "stopped", case) as program:
        pid = int(program.line())
        stop(pid)
        program.tell("it is stopped")
        program.expect("others work")
        os.kill(pid, signal.SIGCONT)
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")


def test_the_program_and_all_its_processes(tmp_path: Path) -> None:
    """Ctrl-Z and fg, in the middle of work."""
    with started(tmp_path / "stderr", "forks", "fork_in_a_worker") as program:
        for _ in range(20):
            os.killpg(program.pid, signal.SIGSTOP)
            os.killpg(program.pid, signal.SIGCONT)
            threading.Event().wait(0.01)
        out = program.rest()
        assert (program.end(), out, program.stderr()) == (0, "sound\n", "")
