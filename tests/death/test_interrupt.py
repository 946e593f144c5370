"""Ctrl-C: one SIGINT to every process of the program. One KeyboardInterrupt, one traceback, and nothing is broken."""

import contextlib
import random
import signal
import threading
import time
from pathlib import Path

import pytest

from .kit import PATIENCE, PROMPT, Program, gone, started

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


MANAGER = """
import time, allcores
from allcores import managers
def initialize():
    print("waits", flush=True)
    time.sleep(1000)
try:
    managers.SyncManager(ctx=allcores.get_context({method!r})).start(initialize)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_while_a_manager_starts(tmp_path: Path, method: str) -> None:
    """Its server ignores Ctrl-C: nobody else would end it, and the program waits for it."""
    with started(tmp_path / "stderr", "", text=MANAGER.format(method=method)) as program:
        interrupt_its_wait(program)
        program.expect("interrupted")
        assert program.end() == 0
        assert program.stderr() == ""


@pytest.mark.parametrize("times", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_at_any_moment(tmp_path: Path, times: int) -> None:
    """Wherever it comes, the next call works, and gives what it should."""
    moments = random.Random(times)
    with started(tmp_path / "stderr", "interrupted_often", times) as program:
        program.expect("ready")
        for i in range(times):
            threading.Event().wait(moments.uniform(0, 0.02))
            program.interrupt()
            program.expect(f"interrupted {i + 1}")
        program.expect("sound")
        assert program.end() == 0
        assert "Process Process-" not in program.stderr()


def test_once_more_ends_who_did_not_end_by_the_first(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "stubborn") as program:
        interrupt_its_wait(program)
        family = program.family()
        while "KeyboardInterrupt" not in program.stderr():  # then it waits again, at its exit
            threading.Event().wait(0.001)
        program.until_asleep()
        program.interrupt()
        assert program.end() == -signal.SIGINT
        assert gone(family)
        assert program.stderr().count("Traceback") == 1


def test_again_and_again_while_it_ends(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "impatient") as program:
        program.expect("waits")
        program.until_asleep()
        family = program.family()
        at = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            while program.process.poll() is None and time.monotonic() < at + PATIENCE:
                program.interrupt()
                threading.Event().wait(0.003)
        assert program.end() == -signal.SIGINT
        assert time.monotonic() - at < PROMPT
        assert gone(family)
        assert "PoolWorker" not in program.stderr()
