"""A whole program is killed, all its processes in any order or only some: nothing of it is left."""

import contextlib
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from .dying import PATIENCE

Processes = list[psutil.Process]


def everybody(main: psutil.Process, others: Processes, seed: int) -> Processes:
    """One after another; who dies with somebody else may be gone when its turn comes."""
    victims = [main, *others]
    random.Random(seed).shuffle(victims)
    return victims


def main_only(main: psutil.Process, others: Processes, seed: int) -> Processes:
    return [main]


def main_and_template(main: psutil.Process, others: Processes, seed: int) -> Processes:
    return [main, *main.children()]


def all_but_main_first(main: psutil.Process, others: Processes, seed: int) -> Processes:
    return [*others, main]


WAYS = (everybody, main_only, main_and_template, all_but_main_first)
Way = Callable[[psutil.Process, Processes, int], Processes]


def shared_memory() -> int:
    """Bytes of shared memory in the whole system."""
    shmem = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("Shmem:"))
    return int(shmem.split()[1]) << 10


def kill_a_program(root: Path, way: Way, seed: int) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(root / "tests")])}
    with subprocess.Popen([sys.executable, "-m", "crash.busy"], env=env, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "busy\n"
            main = psutil.Process(program.pid)
            others = main.children(recursive=True)
            assert len(others) >= 10
            for victim in way(main, others, seed):
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            program.wait(PATIENCE)
        finally:
            program.kill()
    _, alive = psutil.wait_procs(others, timeout=PATIENCE)
    assert not alive


def check_rounds(root: Path, rounds: int, ways: tuple[Way, ...]) -> None:
    places = ("/dev/shm", tempfile.gettempdir())
    before = [set(os.listdir(place)) for place in places]
    for n in range(rounds):
        kill_a_program(root, ways[n % len(ways)], n)
    left = [sorted(set(os.listdir(place)) - names) for place, names in zip(places, before, strict=True)]
    assert not any(name.startswith("allcores") or "sem." in name for names in left for name in names), left


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left(root: Path, way: Way) -> None:
    check_rounds(root, 1, (way,))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_left_200_times(root: Path) -> None:
    before = shared_memory()
    check_rounds(root, 200, WAYS)
    # What others on this machine do meanwhile shows too; 200 times the 16 MB and more of each program would be more.
    assert shared_memory() - before < 200 * (16 << 20) / 4
