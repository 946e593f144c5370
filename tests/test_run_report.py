"""``allcores run --report``: what all processes of the program have used, and that nothing of it is lost by a death."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 45


def run(script: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    command = [sys.executable, "-m", "allcores", "run", "--report", *options, "script.py"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=folder)


USES_ALL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pipe, Pool, Process, Queue, Value
import multiprocessing.pool

def child(queue, n):
    for i in range(n):
        queue.put(i)
    with Pool(1) as pool:
        pool.map(abs, range(5))

def make(n):
    return bytes(1000)

queue = Queue()
children = [Process(target=child, args=(queue, 10)) for _ in range(2)]
for each in children:
    each.start()
for each in children:
    each.join()
for _ in range(20):
    queue.get()
with ProcessPoolExecutor(2) as executor:
    print(sum(map(len, executor.map(make, range(100)))))
with multiprocessing.pool.Pool(1) as pool:
    pool.apply(abs, (1,))
a, b = Pipe()
a.send(1)
b.recv()
value = Value("i")
"""


@pytest.mark.parametrize("context", ["process", "fork", "thread", "serial"])
def test_the_report_counts_all_processes(context: str, tmp_path: Path) -> None:
    done = run(USES_ALL, tmp_path, "--context", context)
    assert (done.stdout, done.returncode) == ("100000\n", 0)
    lines = done.stderr.splitlines()
    assert re.fullmatch(rf"allcores run: \d+\.\d\d s in the {context} context", lines[0])
    assert lines[1].split(maxsplit=2)[2] == "Executor 1, Pipe 1, Pool 3, Process 2, Queue 1, Value 1"
    rest = "\n".join(lines[2:])
    if context in ("process", "fork"):
        assert re.search(r"processes   2 started, [\d.]+ m?s each; 5 workers of pools, [\d.]+ \w+ each\n", rest)
        assert re.search(r"[1-9][\d.]+ kB sent, 10\d\.\d kB received", rest)
    assert re.search(r"tasks       111 calls in \d+ tasks of 4 pools", rest)
    assert re.search(r"messages    21 put, [\d.]+ \w+ each; 21 got, [\d.]+ \w+ each, with the wait for them$", rest)


def test_what_a_killed_process_used_is_counted(tmp_path: Path) -> None:
    script = """
import multiprocessing, os, signal
def child(queue):
    multiprocessing.Lock()
    queue.put(1)
    os.kill(os.getpid(), signal.SIGKILL)
queue = multiprocessing.Queue()
process = multiprocessing.Process(target=child, args=(queue,))
process.start()
process.join()
queue.get()
try:
    with multiprocessing.Pool(1) as pool:
        pool.apply(os._exit, (3,))
except Exception as error:
    print(type(error).__name__)
raise SystemExit(5)
"""
    done = run(script, tmp_path)
    assert (done.stdout, done.returncode) == ("WorkerDied\n", 5)
    assert "Lock 1, Pool 1, Process 1, Queue 1\n" in done.stderr
    assert "; 1 workers died\n" in done.stderr
    assert "1 put" in done.stderr


def test_a_program_that_uses_nothing(tmp_path: Path) -> None:
    done = run("import os\nif os.fork() == 0:\n    raise SystemExit(0)\nos.wait()\n1 / 0", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("ZeroDivisionError") == 1
    assert done.stderr.count("allcores run: ") == 1
    assert done.stderr.endswith("  asked for   nothing of multiprocessing\n")
