"""Whole programs: a lock that only its own holder could release, and where a deadlock's locks were acquired."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PATIENCE = 45
SCRIPTS = Path(__file__).parent / "scripts"

START = """
import _thread, os, signal, subprocess, sys, threading, time
import allcores

def again(lock):
    begin = time.monotonic()
    try:
        lock.acquire()
    except allcores.DeadlockError as error:
        (me,) = error.members
        assert (me.pid, me.thread, me.waits_for) == (os.getpid(), threading.get_native_id(), lock.name)
        assert "by itself" in str(error) and "RLock" in str(error), error
        return "at once" if time.monotonic() - begin < 0.5 else "in time" if time.monotonic() - begin < 2.5 else "late"
    return "acquired"

lock = allcores.Lock()
lock.acquire()
"""


def run(code: str, **environ: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", START + code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **environ},
    )
    assert result.stderr == ""
    assert result.returncode == 0
    return result.stdout.strip()


ALONE = {
    "nobody else": "print(again(lock))",
    "with": """
try:
    with lock:
        pass
except allcores.DeadlockError:
    print("at once")
""",
    "the lock is still held, and usable": """
assert again(lock) == "at once" and lock.locked()
lock.release()
assert lock.acquire(timeout=1) and lock.acquire(timeout=0.05) is False and lock.acquire(False) is False
print(again(lock))
""",
    "a thread that has ended": """
thread = threading.Thread(target=print, args=("",), kwargs={"end": ""})
thread.start()
thread.join()
print(again(lock))
""",
    "a process that has no handle": """
gate = allcores.Event()
p = allcores.Process(target=gate.wait)
p.start()
print(again(lock))
gate.set()
p.join()
""",
    "a process that has ended": """
p = allcores.Process(target=lambda: lock.locked())
p.start()
p.result()
print(again(lock))
""",
    "in a process": """
def job():
    mine = allcores.Lock()
    mine.acquire()
    return again(mine)

p = allcores.Process(target=job)
p.start()
print(p.result())
""",
    "a pool that never saw it": """
with allcores.Pool(1) as pool:
    pool.map(abs, range(3))
    print(again(lock))
""",
}

RELEASED = {
    "a thread": """
thread = threading.Timer(0.2, lock.release)
thread.start()
print(again(lock))
thread.join()
""",
    "a thread unknown to threading": """
def release():
    begun.release()
    time.sleep(0.2)
    lock.release()

begun = allcores.Semaphore(0)
_thread.start_new_thread(release, ())
begun.acquire()
print(again(lock))
""",
    "a thread after a long time": """
thread = threading.Timer(1.5, lock.release)
thread.start()
print(again(lock))
thread.join()
""",
    "a signal handler": """
signal.signal(signal.SIGALRM, lambda *_: lock.release())
signal.setitimer(signal.ITIMER_REAL, 0.2)
print(again(lock))
""",
    "a handler of SIGINT": """
signal.signal(signal.SIGINT, lambda *_: lock.release())
p = subprocess.Popen(["sh", "-c", f"sleep 0.2; kill -INT {os.getpid()}"])
print(again(lock))
p.wait()
""",
    "a process": """
def release():
    time.sleep(0.2)
    lock.release()

p = allcores.Process(target=release)
p.start()
print(again(lock))
p.join()
""",
    "a process that gets it by a queue": """
queue = allcores.Queue()

def release():
    got = queue.get()
    time.sleep(0.2)
    got.release()

p = allcores.Process(target=release)
p.start()
queue.put(lock)
print(again(lock))
p.join()
""",
    "a worker of a pool": """
with allcores.Pool(1) as pool:
    pool.map(abs, range(3))
    result = pool.apply_async(lambda: lock.release())
    print(again(lock))
    result.get()
""",
    "a forked child": """
pid = os.fork()
if pid == 0:
    time.sleep(0.2)
    lock.release()
    os._exit(0)
print(again(lock))
os.waitpid(pid, 0)
""",
}

IN_THE_END = {
    "a thread": """
thread = threading.Timer(0.1, bool)
thread.start()
print(again(lock))
""",
    "a process": """
p = allcores.Process(target=lambda: time.sleep(0.1) or lock.locked())
p.start()
print(again(lock))
p.join()
""",
    "a forked child": """
pid = os.fork()
if pid == 0:
    time.sleep(0.1)
    os._exit(0)
print(again(lock))
os.waitpid(pid, 0)
""",
    "a process that is killed": """
p = allcores.Process(target=lambda: time.sleep(60) or lock.locked())
p.start()
threading.Timer(0.1, p.kill).start()
print(again(lock))
p.join()
""",
}


@pytest.mark.parametrize("code", ALONE.values(), ids=ALONE)
def test_nobody_could_release_it(code: str) -> None:
    # A lock that ever travelled may be about to be held by a process that is just being started: looked at later.
    assert run(code) in ("at once", "in time")


@pytest.mark.parametrize("code", RELEASED.values(), ids=RELEASED)
def test_somebody_does_release_it(code: str) -> None:
    assert run(code) == "acquired"


@pytest.mark.parametrize("code", IN_THE_END.values(), ids=IN_THE_END)
def test_the_last_who_could_have_released_it_ends(code: str) -> None:
    assert run(code) == "in time"


def line_with(path: Path, mark: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if line.endswith(mark))


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_with_tracing_the_error_has_files_and_lines(kind: str) -> None:
    script = SCRIPTS / "deadlocked.py"
    result = subprocess.run(
        [sys.executable, str(script), kind],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "ALLCORES_TRACE_LOCKS": "1"},
    )
    assert result.stderr == ""
    at = {mark: f"{script}:{line_with(script, '# ' + mark)}" for mark in ("holds a", "holds b", "wants a", "wants b")}
    first, second = re.findall(r"waits \((.*?)\) for .*? \((.*?)\)", result.stdout)
    assert {first, second} == {(at["wants a"], at["holds a"]), (at["wants b"], at["holds b"])}


def test_without_tracing_the_error_says_how_to_have_them() -> None:
    assert (
        run("""
try:
    lock.acquire()
except allcores.DeadlockError as error:
    assert error.members[0].waits_at == error.members[0].held_at == ""
    print("ALLCORES_TRACE_LOCKS=1 adds" in str(error))
""")
        == "True"
    )


def test_tracing_in_a_forked_child() -> None:
    """Its texts are its own: they do not end with the parent's, nor write over them."""
    assert (
        run(
            """
pid = os.fork()
if pid == 0:
    mine = allcores.Lock()
    mine.acquire()
    try:
        mine.acquire()
    except allcores.DeadlockError as error:
        os._exit(0 if error.members[0].waits_at.startswith("<string>:") else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
            ALLCORES_TRACE_LOCKS="1",
        )
        == "0"
    )
