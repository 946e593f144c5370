"""os.fork(), os._exit() and exec, each in a program of its own. Prints `sound` if all is as it should be.

usage: forks.py <case>
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

if sys.argv[1] == "killed_before_it_has_begun":  # what is registered first is called first in a child
    os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGKILL))

import allcores as mp
from allcores import _native

PATIENCE = 30
# Python 3.12 and newer warn of any thread, a pool's keeper too, which a fork does not need.
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*multi-threaded.*")


def square(x: int) -> int:
    return x * x


def fork(job: Callable[[], object], leave: Callable[[int], object] = os._exit) -> int:
    """The pid of a child that does the job and leaves; its exit code is 0 if the job has raised nothing."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job()
            code = 0
        finally:
            leave(code)
    return pid


def check_ends(pid: int, code: int = 0) -> None:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def death(wait: Callable[[], object]) -> Any:
    """The error of the wait that somebody's death ends."""
    try:
        wait()
    except (mp.OwnerDied, mp.WorkerDied) as error:
        return error
    raise AssertionError("nobody died")


queue, lock, total = mp.Queue(), mp.Lock(), mp.Value("i", 0)


def use_everything() -> None:
    with lock:
        total.value += 1
    queue.put(b"x" * 1_000_000)
    queue.put(os.getpid())
    own = mp.Queue()
    own.put(1)
    assert own.get() == 1
    child = mp.Process(target=square, args=(3,))
    child.start()
    assert child.result(PATIENCE) == 9
    with mp.Pool(2) as pool:
        assert pool.map(square, range(10)) == [x * x for x in range(10)]


def check_used(pid: int) -> None:
    check_ends(pid)
    assert len(queue.get(timeout=PATIENCE)) == 1_000_000
    assert queue.get(timeout=PATIENCE) == pid
    assert total.value == 1


def fork_in_the_program() -> None:
    check_used(fork(use_everything))


def fork_that_leaves_by_exit() -> None:
    check_used(fork(use_everything, sys.exit))


def fork_beside_a_pool() -> None:
    """The parent's pool is not the child's, and is none the worse for it."""
    with mp.Pool(2) as pool:
        pending = pool.apply_async(time.sleep, (0.05,))

        def job() -> None:
            with contextlib.suppress(RuntimeError):
                pool.map(square, range(3))
                raise AssertionError("a pool of the parent")
            use_everything()

        check_used(fork(job, sys.exit))
        assert pending.get(PATIENCE) is None
        assert pool.map(square, range(10)) == [x * x for x in range(10)]


def fork_of_a_fork() -> None:
    def job() -> None:
        check_used(fork(use_everything))

    check_ends(fork(job))


def fork_and_wait() -> int:
    pid = fork(use_everything)
    check_ends(pid)
    return pid


def check_used_by(pid: int) -> None:
    assert len(queue.get(timeout=PATIENCE)) == 1_000_000
    assert queue.get(timeout=PATIENCE) == pid


def fork_in_a_process() -> None:
    child = mp.Process(target=fork_and_wait)
    child.start()
    check_used_by(child.result(PATIENCE))


def fork_in_a_worker() -> None:
    with mp.Pool(1) as pool:
        for _ in range(3):
            check_used_by(pool.apply(fork_and_wait))


def killed_with_a_lock() -> None:
    held = mp.Event()

    def hold() -> None:
        lock.acquire()
        held.set()
        time.sleep(1000)

    pid = fork(hold)
    assert held.wait(PATIENCE)
    waiting = mp.Process(target=wait_for_owner_to_die, args=(lock,))
    waiting.start()
    os.kill(pid, signal.SIGKILL)
    assert death(lambda: lock.acquire(timeout=PATIENCE)).pid == pid
    assert waiting.result(PATIENCE) == pid
    os.waitpid(pid, 0)
    lock.recover()
    assert lock.acquire(timeout=PATIENCE)


def wait_for_owner_to_die(lock: Any) -> int:
    return int(death(lock.acquire).pid)


def one_after_the_other() -> None:
    """More forks than there are places for participants. The dead give theirs back."""
    numbers = mp.Queue()
    for i in range(1100):
        check_ends(fork(partial(numbers.put, i)))
    assert sorted(numbers.get() for _ in range(1100)) == list(range(1100))


def fork_that_fails() -> None:
    """CPython calls the same hooks then; what they kept for the child must not stay for ever."""
    before = _native.usage()[0]
    kept = mp.Queue()
    _native.before_fork()
    with contextlib.suppress(OSError):
        os.close(-1)  # as a failed fork leaves errno
    _native.after_fork_parent()
    del kept
    assert _native.usage()[0] == before
    kept = mp.Queue()
    check_ends(fork(partial(kept.put, 1)))
    assert kept.get(timeout=PATIENCE) == 1
    del kept
    deadline = time.monotonic() + PATIENCE
    while _native.usage()[0] != before:  # until the child's death is settled
        assert time.monotonic() < deadline


def exit_of_a_process() -> None:
    child = mp.Process(target=os._exit, args=(5,))
    child.start()
    assert death(lambda: child.result(PATIENCE)).exitcode == 5
    assert child.exitcode == 5


def exec_in_a_process() -> None:
    """The process is another program then: what it held is as if it had died. Its end and exit code are still told."""

    def become_another() -> None:
        lock.acquire()
        queue.put("last words")
        os.execv("/bin/sh", ["sh", "-c", "exit 6"])

    child = mp.Process(target=become_another)
    child.start()
    assert death(lambda: child.result(PATIENCE)).exitcode == 6
    assert queue.get(timeout=PATIENCE) == "last words"
    assert death(lambda: lock.acquire(timeout=PATIENCE)).pid == child.pid


def drop_what_the_parent_stored() -> None:
    """The parent has let go of it, and its memory is something of the child's by then."""
    size = 200_000
    block, _ = _native.store(([b"x" * 1000], [pickle.PickleBuffer(b"y" * size)]))
    inbox, go_on = os.pipe()

    def drop_it() -> None:
        os.close(go_on)
        os.read(inbox, 1)
        mine = mp.Queue()
        mine.put(np.ones(size, np.uint8))
        received = mine.get()
        _native.drop_stored(block)
        mine.put(np.zeros(size, np.uint8))
        assert received.all()

    pid = fork(drop_it)
    _native.drop_stored(block)
    os.write(go_on, b"x")
    check_ends(pid)


def fork_while_a_thread_receives() -> None:
    """The child has no such thread: where it closes the end, nobody is left who uses it."""
    a, b = mp.Pipe()

    def receive() -> None:
        with contextlib.suppress(OSError):
            b.recv()

    thread = threading.Thread(target=receive)
    thread.start()
    while (frame := sys._current_frames().get(thread.ident or 0)) is None or frame.f_code.co_name != "receive":
        pass
    time.sleep(0.1)  # most likely it waits by now; if not, nothing is tested and nothing fails
    inbox, go_on = os.pipe()

    def close_it() -> None:
        os.close(go_on)
        b.close()
        os.read(inbox, 1)

    pid = fork(close_it)
    b.close()
    thread.join(PATIENCE)
    assert a.poll(PATIENCE)  # the child has closed it too
    try:
        a.send("to nobody")
    except BrokenPipeError:
        pass
    else:
        raise AssertionError("somebody could receive it")
    os.write(go_on, b"x")
    check_ends(pid)


def killed_before_it_has_begun() -> None:
    """It has not come to hold its parent's ends of a pipe: they are the parent's alone again."""
    a, b = mp.Pipe()
    check_ends(os.fork(), -signal.SIGKILL)
    b.close()
    assert a.poll(PATIENCE)
    with contextlib.suppress(EOFError):
        raise AssertionError(a.recv())


globals()[sys.argv[1]]()
print("sound")
