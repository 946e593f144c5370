"""What holds for every test: it leaves nothing behind, and a hang ends with every thread's stack.

A test fails if, after it, there is a process, an entry in /dev/shm or an open file descriptor that was not
there before. What a program opens once for its whole life (the segment, the template process and its
socket) is opened by `warm` before the first comparison, so that nothing has to be excused afterwards.
"""

import contextlib
import ctypes
import faulthandler
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

# Seconds for what a test started to be gone. Longer hides nothing: what stays, stays for ever.
GRACE = 5.0
# Seconds after which the whole run is given up. pytest-timeout's alarm (60 s) comes first, but needs the main
# thread to return to Python; this one needs nothing from it.
GIVE_UP = 100.0
PR_SET_CHILD_SUBREAPER = 36

# What this process imports in the course of its tests is not to bring a new template, with a descriptor of its own.
os.environ["ALLCORES_PRELOAD"] = "0"

stderr_key = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*capabilities): only in contexts that have them all")
    config.addinivalue_line("markers", "lacks(*capabilities): only in contexts that have none of them")
    # Capture has not begun here: this is the terminal's own stderr.
    config.stash[stderr_key] = os.dup(2)
    # Orphans come to us instead of init: a process that a killed program left behind counts as ours.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def pytest_collection_finish() -> None:
    # What is there now stays; without it, looking for cycles after a test takes a tenth of a second.
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class Traces:
    """What a test could leave behind, at one moment."""

    processes: frozenset[psutil.Process]
    others: frozenset[str]


def child_processes() -> frozenset[psutil.Process]:
    """All descendants but the template process, whose own children do count."""
    children = psutil.Process().children(recursive=True)
    if "allcores" in sys.modules:
        import allcores.start

        template = allcores.start.template_pid()
        children = [child for child in children if child.pid != template]
    clusters: Any = sys.modules.get("contract.clusters")
    if clusters is not None:
        children = [child for child in children if not clusters.is_of_engine(child)]
    return frozenset(children)


def traces_but_processes() -> frozenset[str]:
    """Entries of /dev/shm, and open file descriptors with what they are open on."""
    found = {f"/dev/shm/{entry}" for entry in os.listdir("/dev/shm")}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{entry} -> {os.readlink(f'/proc/self/fd/{entry}')}")
        except FileNotFoundError:  # the one that listed the directory
            continue
    clusters: Any = sys.modules.get("contract.clusters")
    if clusters is not None and clusters.are_there():  # engines keep connections, as many as were needed at a time
        found = {trace for trace in found if "-> socket:" not in trace}
    return frozenset(found)


def end_parked() -> None:
    """Workers that wait for the next pool are there on purpose, and their pool is gone: no test finds another's."""
    if "allcores" in sys.modules:
        import allcores.start

        allcores.start.end_parked()


def describe(process: psutil.Process) -> str:
    try:
        return f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return f"process {process.pid}"


def used_elsewhere(trace: str) -> bool:
    """Whether this is an entry of /dev/shm that a program of somebody else made or has mapped: then it is not ours."""
    if not trace.startswith("/dev/shm/"):
        return False
    family = {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}
    if trace.startswith("/dev/shm/joblib_memmapping_folder_"):  # a folder, named by its maker: nobody maps that
        return int(trace.split("_")[3]) not in family
    for pid in set(psutil.pids()) - family:
        with contextlib.suppress(OSError):
            if trace in Path(f"/proc/{pid}/maps").read_text():
                return True
    return False


def left_behind(before: Traces) -> list[str]:
    """What is there now and was not there before, one line each; gives it GRACE seconds to go."""
    deadline = time.monotonic() + GRACE
    end_parked()
    started = child_processes() - before.processes
    if not started and traces_but_processes() <= before.others:
        return []
    gc.collect()  # an exception kept by pytest.raises keeps the frames, and those the handles
    if started:
        _, alive = psutil.wait_procs(started, timeout=GRACE)
        if alive:
            return [describe(process) for process in alive]
    while True:
        left = sorted(trace for trace in traces_but_processes() - before.others if not used_elsewhere(trace))
        if not left or time.monotonic() > deadline:
            return left
        # No event tells that a monitor thread has closed a descriptor, so this one wait is a bounded poll.
        threading.Event().wait(0.01)


@pytest.fixture(scope="session")
def warm() -> None:
    """Opens what a program opens once: by a first process, thread, queue and pool."""
    import allcores

    for kind in (allcores.Process, allcores.Thread):
        first = kind(target=int)
        first.start()
        first.join()
        first.close()
    with allcores.Pool(1) as pool:
        pool.apply_async(int, callback=bool).get()
    allcores.Queue().put(None)
    end_parked()


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    if "allcores" in sys.modules:  # tests of other parts run without a built core
        request.getfixturevalue("warm")
    if {"place", "before_all"} & set(request.fixturenames):
        request.getfixturevalue("before_all")
    before = Traces(child_processes(), traces_but_processes())
    yield
    left = left_behind(before)
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def stacks_of_a_hang(request: pytest.FixtureRequest) -> Iterator[None]:
    faulthandler.dump_traceback_later(GIVE_UP, exit=True, file=request.config.stash[stderr_key])
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parent.parent
