"""The Python stacks of other processes of the program, also of one that is stuck in C code or keeps the GIL.

    asks     a signal ──▶ our handler raises another, at which faulthandler writes to a memory file, without the GIL;
                          and then counts up a word in the worker's record
    waits    for that word, like who waits for several things; reads the file by /proc/PID/fd

Signals of its own, and not SIGUSR1, whose meaning is the user's. Only a process that has said that it answers is sent
it: others would end by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import time
from typing import TYPE_CHECKING

from allcores import _native

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ("Listed", "answer", "ask")

# Far from those that programs and libraries take first.
_SIGNAL, _WRITES = signal.SIGRTMAX - 3, signal.SIGRTMAX - 4
# More than a hundred threads with a hundred frames each, which is all that faulthandler writes.
_MOST = 4 << 20

_WHOLE = re.compile("\x1e([^\x1e\x1f]*)\x1f")

# What _native.workers() says of one.
Listed = tuple[int, str, int, int, int, int, float, float, float, int, int]

_answers = False


def answer() -> None:
    """In a worker: from now on it answers, whatever it is at. Where no memory file is to be had, it never does."""
    global _answers
    if _answers:
        return
    import faulthandler

    try:
        fd = os.memfd_create("allcores-stacks")
    except OSError:
        return
    # Who asks has emptied it: the file's position does not count.
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    faulthandler.register(_WRITES, fd, all_threads=True)
    _native.offer_stacks(_SIGNAL, _WRITES, fd)
    _answers = True


def _forget() -> None:
    """In a fork: the file is its parent's."""
    global _answers
    _answers = False


os.register_at_fork(after_in_child=_forget)


def ask(whom: Collection[Listed], timeout: float | None) -> dict[int, str | None]:
    """The stacks of these processes, by pid; None for one that does not answer in time, or has ended.

    Args:
        whom: as they are listed.
        timeout: seconds to wait for all of them together. One that is stopped never answers.
    """
    found: dict[int, str | None] = {each[0]: None for each in whom}
    deadline = None if timeout is None else time.monotonic() + timeout
    with contextlib.ExitStack() as files:
        asked: dict[int, tuple[int, int]] = {}  # pid -> its file, how often it had answered
        for pid, *_rest, dumps, fd in whom:
            with contextlib.suppress(OSError):  # it has ended
                file = _signal_one(pid, fd) if fd else None
                if file is not None:
                    files.callback(os.close, file)
                    asked[pid] = file, dumps
        while asked:
            seen = _native.several_announce([])
            there = _answered()
            for pid, (file, dumps) in list(asked.items()):
                now = there.get(pid)
                if now is not None and now != dumps:
                    found[pid] = _read(file)
                    asked[pid] = file, now
                if now is None or found[pid] is not None:
                    del asked[pid]
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not asked or left == 0:
                break
            _native.several_sleep(seen, left)
    return found


def _answered() -> dict[int, int]:
    """How often each worker of the program has answered, by pid."""
    return {each[0]: each[-2] for each in _native.workers(0)}


def _signal_one(pid: int, fd: int) -> int | None:
    """Signal a worker, and open the file that it writes to; None if it is no worker any more."""
    pidfd = os.pidfd_open(pid)
    try:
        if pid not in _answered():  # or else the pid was still its, and so this is the right process
            return None
        file = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(file, 0)
            signal.pidfd_send_signal(pidfd, _SIGNAL)
        except BaseException:
            os.close(file)
            raise
        return file
    finally:
        os.close(pidfd)


def _read(file: int) -> str | None:
    """The last answer that is whole; None if there is none, since it was an earlier one that was told."""
    whole = _WHOLE.findall(os.pread(file, _MOST, 0).decode(errors="replace"))
    if not whole:
        return None
    os.ftruncate(file, 0)
    return str(whole[-1])
