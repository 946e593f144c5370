"""Pool.dump(): the stacks of all workers, whatever they are at; and SIGUSR1, which prints them."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from .kit import PATIENCE, Context, Handle


def hold_on(begun: Handle, go_on: Handle, _x: object = None) -> None:
    begun.release()
    assert go_on.wait(PATIENCE)


def within_c(begun: Handle) -> None:
    import re

    begun.release()
    re.match("(a+)+$", "a" * 40 + "b")  # for hours, and it keeps the GIL


def part_of(text: str, name: str) -> str:
    """What a dump says of one worker."""
    start = text.index(f"{name} (pid ")
    end = text.find("\nPoolWorker-", start + 1)
    return text[start:] if end < 0 else text[start:end]


@pytest.mark.needs("parallel")
def test_who_is_at_what(mp: Context) -> None:
    begun, go_on, both = mp.Semaphore(0), mp.Event(), mp.Barrier(2)
    with mp.Pool(2) as pool:
        pool.map(lambda _: both.wait(PATIENCE), range(2), chunksize=1)  # a cluster's that has not begun is not heard of
        result = pool.apply_async(hold_on, (begun, go_on, "the argument"))
        begun.acquire()
        text = pool.dump(timeout=PATIENCE)
        (busy,) = [part for part in text.split("PoolWorker-")[1:] if ": in " in part]
        assert "in a call of hold_on with (" in busy
        assert " in hold_on\n    " in busy
        assert "most recent call first" in busy
        assert "template.py" not in busy
        assert text.count("PoolWorker-") == 2
        go_on.set()
        result.get()
        go_on.clear()
        parts = pool.starmap_async(hold_on, [(begun, go_on, "first"), (begun, go_on, "second")], chunksize=1)
        for _ in range(2):
            begun.acquire()
        file = io.StringIO()
        text = pool.dump(file, timeout=PATIENCE)
        assert file.getvalue() == text
        assert "hold_on: item 0 of the input, " in text
        assert "hold_on: item 1 of the input, " in text
        go_on.set()
        parts.get()


def test_idle(mp: Context) -> None:
    with mp.Pool(1) as pool:
        pool.apply(int)
        assert ": idle, for 0." in pool.dump(timeout=PATIENCE)
    assert pool.dump(timeout=PATIENCE) == "" or mp.name != "process"


@pytest.mark.lacks("parallel")
def test_from_within_a_task(mp: Context) -> None:
    with mp.Pool(1) as pool:
        text = pool.apply(lambda: pool.dump())
    assert "in a call of test_from_within_a_task.<locals>.<lambda>" in text or "in a task" in text
    assert "pool.apply(lambda: pool.dump())" in text


# A worker of a cluster says itself what it is at, if it can.


@pytest.mark.needs("kills", "owns")
def test_stuck_in_c_with_the_gil(mp: Context) -> None:
    begun = mp.Semaphore(0)
    pool = mp.Pool(2)
    pool.apply_async(within_c, (begun,))
    begun.acquire()
    while "re.match(" not in pool.dump(timeout=PATIENCE):  # it has yet to come there
        pass
    for _ in range(20):
        text = pool.dump(timeout=PATIENCE)
        assert 're.match("(a+)+$", "a" * 40 + "b")' in text
        assert "does not answer" not in text
    pool.terminate()


@pytest.mark.needs("kills", "owns")
def test_all_its_threads(mp: Context) -> None:
    def with_thread(begun: Handle, go_on: Handle) -> None:
        def in_a_thread() -> None:
            begun.release()
            go_on.wait(PATIENCE)

        thread = threading.Thread(target=in_a_thread)
        thread.start()
        thread.join()

    begun, go_on = mp.Semaphore(0), mp.Event()
    with mp.Pool(1) as pool:
        pool.apply_async(with_thread, (begun, go_on))
        begun.acquire()
        text = pool.dump(timeout=PATIENCE)
        assert "in in_a_thread" in text
        assert "in with_thread" in text
        go_on.set()


def stop(mp: Context, pool: Handle) -> int:
    """Stop one of two workers, and which."""
    begun, go_on = mp.Semaphore(0), mp.Event()
    pool.apply_async(hold_on, (begun, go_on))
    begun.acquire()
    pid: int = next(w.pid for w in pool.statistics().workers if w.state == "busy")
    os.kill(pid, signal.SIGSTOP)
    return pid


@pytest.mark.needs("kills", "owns")
def test_who_is_stopped_does_not_answer(mp: Context) -> None:
    pool = mp.Pool(2)
    for _ in range(2):
        pool.map(hold_on_briefly, [0.05, 0.05], chunksize=1)  # both have begun
    pid = stop(mp, pool)
    for timeout in (0.2, 0):
        text = pool.dump(timeout=timeout)
        assert f"(pid {pid}): in a call of hold_on" in text
        assert "is stopped, and does not answer" in text
    os.kill(pid, signal.SIGCONT)  # and then answers, late: that disturbs no later one
    for _ in range(3):
        text = pool.dump(timeout=PATIENCE)
        assert "does not answer" not in text
        assert text.count("in hold_on") == 1
    pool.terminate()


def hold_on_briefly(seconds: float) -> None:
    threading.Event().wait(seconds)


@pytest.mark.needs("kills", "owns")
@pytest.mark.parametrize("how", ["killed", "terminated"])
def test_a_worker_that_dies_meanwhile(mp: Context, how: str) -> None:
    pool = mp.Pool(2)
    pid = stop(mp, pool)
    told: list[str] = []
    asking = threading.Thread(target=lambda: told.append(pool.dump(timeout=None)))
    asking.start()
    asking.join(0.1)
    assert asking.is_alive()  # it waits for the one that is stopped
    if how == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        pool.terminate()
    asking.join(PATIENCE)
    assert not asking.is_alive()
    assert "it has ended" in told[0]
    pool.terminate()


@pytest.mark.needs("kills", "owns")
def test_dumps_and_kills_at_random(mp: Context) -> None:
    """Every dump ends, and so does the work."""
    with mp.Pool(2) as pool:
        result = pool.map_async(hold_on_briefly, [0.002] * 100, chunksize=1, retries=100)
        kills = 0
        while not result.ready():
            pool.dump(timeout=PATIENCE)
            workers = [w.pid for w in pool.statistics().workers if w.state == "busy"]
            if workers and kills < 10:
                kills += 1
                os.kill(workers[0], signal.SIGKILL)
            pool.dump(timeout=PATIENCE)
        assert result.get() == [None] * 100


PROGRAM = """
import faulthandler, os, signal, sys, threading
import allcores
def pause(done): done.release(); threading.Event().wait(30)
def nested(done):
    with allcores.Pool(1) as inner: inner.apply(pause, (done,))
def ask():
    os.kill(os.getpid(), signal.SIGUSR1)
def wait_for_the_signal(): signal.sigwait([signal.SIGUSR2])
"""

ASKS = """
done = allcores.Semaphore(0)
pool = allcores.Pool(2)
for job in (pause, nested):
    pool.apply_async(job, (done,))
    done.acquire()
def here():
    ask()
    threading.Event().wait(30)
here()
"""

OTHERS = {
    "one of its own": "signal.signal(signal.SIGUSR1, lambda *_: print('mine'))\npool = allcores.Pool(1)\nask()",
    "a later one": "pool = allcores.Pool(1)\nsignal.signal(signal.SIGUSR1, lambda *_: print('mine'))\n"
    "allcores.Pool(1).terminate()\nask()",
    "faulthandler": "faulthandler.register(signal.SIGUSR1, sys.stdout)\npool = allcores.Pool(1)\nask()\nprint('mine')",
    "ignored": "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\npool = allcores.Pool(1)\nask()\nprint('mine')",
    "another thread": "t = threading.Thread(target=allcores.Pool, args=(1,)); t.start(); t.join()\n"
    "signal.signal(signal.SIGUSR1, lambda *_: print('mine'))\nask()",
}


def test_sigusr1_prints_all() -> None:
    command = [sys.executable, "-c", PROGRAM + ASKS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        lines: list[str] = []
        wanted: list[Callable[[str], bool]] = [
            lambda text: "MainThread of the program" in text and "in here" in text,
            lambda text: "in a call of pause with" in text and "in pause" in text,
            lambda text: "in a call of nested with" in text,
            lambda text: "of a pool in a worker" in text and text.count("in pause") == 2,
        ]
        try:
            for line in program.stderr:
                lines.append(line)
                if all(there("".join(lines)) for there in wanted):
                    break
        finally:
            program.kill()
    assert all(there("".join(lines)) for there in wanted), "".join(lines)


@pytest.mark.parametrize("what", OTHERS)
def test_sigusr1_of_the_users_own(what: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + OTHERS[what]], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1], done.stderr) == (0, "mine", "")
