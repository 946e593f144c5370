"""Workers that wait for the next pool, in a program to which something happens. Prints `sound` if all is well.

usage: parked.py <case>
"""

import os
import signal
import sys
import threading

import psutil

import allcores as mp
from allcores import start


def square(x: int) -> int:
    return x * x


def use() -> set[int]:
    """The pids of two workers, which are parked now."""
    with mp.Pool(2) as pool:
        assert pool.map(square, range(100)) == [x * x for x in range(100)]
    return {child.pid for child in psutil.Process(start.template_pid()).children()}


def forked() -> None:
    """A fork by the user has a template, and so workers, of its own; and takes none away."""
    first = use()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            start.end_parked()  # of the fork: there are none
            assert not use() & first
            start.end_parked()
            start.stop_template()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert use() == first


def template_killed() -> None:
    """The parked die with it; the next pool has others."""
    first = use()
    template = start.template_pid()
    assert template is not None
    os.kill(template, signal.SIGKILL)
    assert not use() & first


def threads() -> None:
    """Pools that are made and left in several threads at once share what is parked, and nobody has a worker twice."""
    failed = []

    def many() -> None:
        try:
            for _ in range(10):
                use()
        except BaseException as error:
            failed.append(error)
            raise

    users = [threading.Thread(target=many) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert not failed


def killed() -> None:
    """By the test, when it has read who they are."""
    print(*use(), flush=True)
    signal.pause()


globals()[sys.argv[1]]()
print("sound")
