"""The template process with too few descriptors, and calls that fail: whoever asked is told, and nothing stays."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import allcores

# Seconds for a program that must end.
PATIENCE = 30
PACKAGE = Path(allcores.__file__).parent.parent

# How many processes and descriptors the template has, and how many participants the segment: before and after.
COUNT = """
import os, signal, sys, time
import allcores as mp
from allcores import _native, start

def counted():
    template = start.template_pid()
    children = open(f"/proc/{template}/task/{template}/children").read().split()
    return len(children), len(os.listdir(f"/proc/{template}/fd")), len(os.listdir("/proc/self/fd")), _native.usage()[0]

def ended():
    first = mp.Process(target=int)
    first.start()
    first.join()
    first.close()
    counts = [counted()]
    while counts[-5:] != [counts[-1]] * 5:  # the template tells of an end first, and tidies up then
        time.sleep(0.01)
        counts.append(counted())
    return counts[-1]

def same_as(before):
    "Whether it is as before, soon."
    deadline = time.monotonic() + 5
    while counted()[:len(before)] != before and time.monotonic() < deadline:
        time.sleep(0.01)
    return counted()[:len(before)] == before or (before, counted())
"""


def run(script: str, folder: Path, patch: str = "", *, limit: int | None = None) -> str:
    """The output of a program; its template runs the patch when it begins, and may have so many descriptors."""
    (folder / "sitecustomize.py").write_text(
        f"import sys\nif 'serve(' in ' '.join(sys.orig_argv):\n    exec({patch!r})\n"
    )
    (folder / "script.py").write_text(COUNT + script)
    command = [sys.executable, str(folder / "script.py")]
    if limit:
        command = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command]
    env = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{PACKAGE}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


START_FAILING = """
before = ended()
errors = []
for _ in range(5):
    process = mp.Process(target=int)
    try:
        process.start()
    except OSError as error:
        errors.append(error.errno)
    else:
        process.join()
    del process
print(errors)
print(same_as(before))
ended()
print(same_as(before))
"""

# In the template: the call fails, so many times.
FAILING = """
import itertools
import {module} as module
real, calls = module.{name}, itertools.count()
def fail(*args, **kwargs):
    if {first} <= next(calls) < {first} + {times}:
        raise OSError(23, "none left")
    return real(*args, **kwargs)
module.{name} = fail
"""


@pytest.mark.parametrize(
    ("module", "name", "first"),
    [("os", "pidfd_open", 2), ("os", "fork", 1), ("os", "pipe", 1), ("socket", "socketpair", 1)],
    ids=lambda x: str(x),
)
def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path, module: str, name: str, first: int) -> None:
    out = run(START_FAILING, tmp_path, FAILING.format(module=module, name=name, first=first, times=5)).splitlines()
    assert out == [str([23] * 5), "True", "True"]


MANY = """
before = ended()
started, error = [], None
try:
    for _ in range(200):
        process = mp.Process(target=signal.pause)
        process.start()
        started.append(process)
except OSError as e:
    error = e
for process in started:
    process.kill()
    process.join()
    process.close()
print(len(started) > 5, error.errno, error)
del process, started, error  # the error has frames, and those the process that was not started
ended()
print(same_as(before))
with mp.Pool(2) as pool:
    print(pool.map(abs, [-1, -2]))
"""


@pytest.mark.parametrize("limit", [32, 64])
def test_as_many_processes_as_descriptors_allow(tmp_path: Path, limit: int) -> None:
    """The template runs out first; those that it has started live."""
    out = run(MANY, tmp_path, limit=limit).splitlines()
    assert out[0].startswith("True 24 [Errno 24] Too many open files: cannot start a process: it needs"), out
    assert out[1:] == ["True", "[1, 2]"]


HERE = """
before = ended()
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
used = len(os.listdir("/proc/self/fd")) - 1  # the listing had one itself
resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
process = mp.Process(target=int)
try:
    process.start()
    print("started")
except OSError as error:
    print(error.errno)
del process
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
for _ in range(5):
    ended()  # the one that was given up takes no job of theirs
print(same_as(before[:3]))  # its mailbox is kept, for it may yet come
"""


def test_no_descriptor_here_for_the_new_process(tmp_path: Path) -> None:
    """It was started, and its sentinel could not be received."""
    assert run(HERE, tmp_path).split() == ["24", "True"]


COUNTING_FORKS = """
import os
real = os.fork
def fork():
    pid = real()
    if pid:
        with open({file!r}, "a") as f:
            f.write("fork ")
    return pid
os.fork = fork
"""

ASKED_AND_DIED = """
import select
from allcores import protocol

def ask(asked):
    start._link.socket.send(protocol.REQUEST.pack(protocol.START, 1, 0, 0, 0, 0))
    asked.set()
    signal.pause()

before = ended()
asked = mp.Event()
process = mp.Process(target=ask, args=(asked,))
process.start()
os.kill(start.template_pid(), signal.SIGSTOP)
asked.wait()
os.kill(process.pid, signal.SIGKILL)
select.select([os.pidfd_open(process.pid)], [], [])
os.kill(start.template_pid(), signal.SIGCONT)
process.join()
print(process.exitcode, same_as(before[:2]))
"""


def test_what_a_dead_process_wanted_started_is_not(tmp_path: Path) -> None:
    """What it had asked for is still to be read, and done; but this would be killed as soon as it was there."""
    forks = tmp_path / "forks"
    out = run(ASKED_AND_DIED, tmp_path, COUNTING_FORKS.format(file=str(forks)))
    assert out.split() == ["-9", "True"]
    assert forks.read_text().split() == ["fork"] * 2  # of the one that counted before, and of it


def test_a_pool_whose_new_worker_cannot_be_started_goes_on_with_the_others(tmp_path: Path) -> None:
    patch = FAILING.format(module="os", name="fork", first=2, times=1)
    script = """
with mp.Pool(2) as pool:
    try:
        pool.apply(os._exit, (3,))
    except mp.WorkerDied as error:
        print(error.exitcode)
    print(pool.map(abs, [-1, -2]))
"""
    out = run(script, tmp_path, patch).splitlines()
    assert out == ["3", "[1, 2]"]


def test_a_pool_whose_last_worker_cannot_be_replaced_says_so(tmp_path: Path) -> None:
    patch = FAILING.format(module="os", name="fork", first=1, times=9)
    script = """
with mp.Pool(1) as pool:
    for _ in range(2):
        try:
            pool.apply(os._exit, (3,))
        except (mp.WorkerDied, mp.InitializerFailed) as error:
            print(type(error).__name__, "none can be started" in str(error))
"""
    out = run(script, tmp_path, patch).splitlines()
    assert out[-1] == "InitializerFailed True"
