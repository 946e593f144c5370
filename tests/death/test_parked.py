"""The program, its template or a fork of it ends while workers are parked: they end with whom they belong to."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from .kit import gone, started


@pytest.mark.parametrize("case", ["forked", "template_killed", "threads"])
def test_parked(tmp_path: Path, case: str) -> None:
    with started(tmp_path / "stderr", "parked", case) as program:
        out = program.rest()
        assert (program.end(), out, program.stderr()) == (0, "sound\n", "")


def test_the_program_is_killed(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "parked", "killed") as program:
        parked = {int(pid) for pid in program.line().split()}
        family = program.family()
        assert len(parked) == 2
        assert parked < {process.pid for process in family}
        os.kill(program.pid, signal.SIGKILL)
        assert gone(family)


def test_ctrl_c_does_not_wake_them(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "parked", "killed") as program:
        parked = [psutil.Process(int(pid)) for pid in program.line().split()]
        for process in parked:
            process.send_signal(signal.SIGINT)
        assert all(process.is_running() for process in parked)
        program.interrupt()
        assert program.end() == -signal.SIGINT
        assert gone(parked)
