"""Ctrl-C: one SIGINT to every process of the program. One KeyboardInterrupt, one traceback, and nothing is broken."""

import signal
import time
from pathlib import Path

import pytest

from .kit import PROMPT, Program, gone, started

POOLED = ("map", "map of sleeps", "starmap", "apply", "get", "wait", "imap")
WAYS = (*POOLED, "join", "result", "lock", "rlock", "semaphore", "event", "queue get", "queue put")


def interrupt_its_wait(program: Program) -> float:
    """Ctrl-C as soon as it waits; when that was."""
    program.expect("waits")
    program.until_asleep()
    at = time.monotonic()
    program.interrupt()
    return at


@pytest.mark.parametrize("way", WAYS)
def test_uncaught(tmp_path: Path, way: str) -> None:
    with started(tmp_path / "stderr", "interrupted", way, "uncaught") as program:
        program.expect("waits")
        program.until_asleep()
        family = program.family()
        at = time.monotonic()
        program.interrupt()
        assert program.end() == -signal.SIGINT
        assert gone(family)
        assert time.monotonic() - at < PROMPT
        assert program.stderr().count("Traceback") == 1
        assert program.stderr().endswith("KeyboardInterrupt\n")
        assert "Process" not in program.stderr()


@pytest.mark.parametrize("way", WAYS)
def test_caught_twice_and_all_is_right(tmp_path: Path, way: str) -> None:
    with started(tmp_path / "stderr", "interrupted", way, "caught") as program:
        for _ in range(2):
            at = interrupt_its_wait(program)
            program.expect("interrupted")
            assert time.monotonic() - at < PROMPT
        program.expect("sound")
        assert program.end() == 0
        assert program.stderr() == ""
