"""The start method `fork` at the ends of processes: what holds for the template's children holds for these."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from . import test_end, test_interrupt
from .kit import gone, started


@pytest.fixture(autouse=True)
def by_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts' programs name no context: this is theirs."""
    monkeypatch.setenv("ALLCORES_CONTEXT", "fork")


@pytest.mark.parametrize("way", ["join", "acquire", "pool", "again"])
def test_template_killed(tmp_path: Path, way: str) -> None:
    with started(tmp_path / "stderr", "template_killed", way) as program:
        out = program.rest()
        assert (program.end(), out, program.stderr()) == (0, "sound\n", "")


def test_the_program_is_killed(tmp_path: Path) -> None:
    test_end.test_killed(tmp_path)


def test_killed_together_with_the_template(tmp_path: Path) -> None:
    """In which order they die is chance; no process of the two is left that could kill the others."""
    with started(tmp_path / "stderr", "family", "killed") as program:
        family = test_end.everybody(program)
        (template,) = (each for each in family if each.cmdline()[0] == "allcores-template")
        for pid in (template.pid, program.pid):
            os.kill(pid, signal.SIGKILL)
        assert gone(family)


@pytest.mark.parametrize("way", ["map", "join", "queue get"])
def test_interrupted(tmp_path: Path, way: str) -> None:
    test_interrupt.test_uncaught(tmp_path, way)


@pytest.mark.parametrize("way", ["map", "join"])
def test_interrupted_and_all_is_right(tmp_path: Path, way: str) -> None:
    test_interrupt.test_caught_twice_and_all_is_right(tmp_path, way)


UNWATCHED = """
import os, resource, allcores
from allcores import start

def limit_template(most):
    resource.prlimit(start.template_pid(), resource.RLIMIT_NOFILE, most)

first = allcores.get_context("forkserver").Process(target=int)
first.start()
first.join()  # by now the template has imported all that it does
pool = allcores.Pool(1)
assert pool.apply(abs, (-1,)) == 1
before = resource.prlimit(start.template_pid(), resource.RLIMIT_NOFILE)
used = len(os.listdir(f"/proc/{start.template_pid()}/fd"))
for free in range(3):  # it wants four, and the first three to receive what it is sent
    limit_template((used + free, before[1]))
    lock = allcores.Lock()
    child = allcores.Process(target=lambda: (lock.acquire(), allcores.Event().wait()))
    child.start()
    try:
        child.result(30)
    except allcores.WorkerDied as error:
        assert "ulimit -n" in str(error), error
    else:
        raise AssertionError("nobody watched it")
    try:
        lock.acquire(timeout=30)  # its death is settled
    except allcores.OwnerDied:
        pass
    child.close()
limit_template(before)
child = allcores.Process(target=abs, args=(-3,))
child.start()
assert child.result(30) == 3
assert pool.apply(abs, (-2,)) == 2
pool.close()
pool.join()
print("sound")
"""


def test_a_template_without_a_free_descriptor(tmp_path: Path) -> None:
    """Nobody would hear of the child's death: so it is ended, and says why."""
    with started(tmp_path / "stderr", "", text=UNWATCHED) as program:
        out = program.rest()
        assert (program.end(), out, program.stderr()) == (0, "sound\n", "")


def test_no_child_outlives_the_program_for_its_thread(tmp_path: Path) -> None:
    """Forked by a thread that has ended since; the program is stopped when it is killed."""
    text = """
import threading, allcores
children = [allcores.Process(target=allcores.Event().wait) for _ in range(3)]
for child in children:
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
print(*(child.pid for child in children), flush=True)
allcores.Event().wait()
"""
    with started(tmp_path / "stderr", "", text=text) as program:
        family = [psutil.Process(int(pid)) for pid in program.line().split()]
        os.kill(program.pid, signal.SIGSTOP)
        os.kill(program.pid, signal.SIGKILL)
        assert gone(family)
