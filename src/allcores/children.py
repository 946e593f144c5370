"""The processes that a template watches: those it has forked, and those that forked themselves (``forked.py``).

Of its own child the kernel tells the template everything. Of the others it tells when they die; how, it tells their
parent alone, but shows to everybody while that has not waited for them, which it does only after the template has said
that they are dead.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from typing import TYPE_CHECKING, NamedTuple

from allcores import _native, lastwords
from allcores.protocol import end_of

if TYPE_CHECKING:
    from allcores.deaths import Death

__all__ = ("Child", "Foster", "Job")


class Job(NamedTuple):
    """What a START asks for."""

    asked: int
    mailbox: int
    crew: int
    shape: int
    fds: list[int]  # as many as have come
    counts: int  # how many of either kind were sent with a START

    @property
    def standard(self) -> list[int]:
        """The caller's stdout and stderr, as far as they are open."""
        return self.fds[: self.counts & 3]

    @property
    def named(self) -> list[int]:
        """Those that what travels to the child names by their places."""
        return self.fds[self.counts & 3 :]

    def is_whole(self) -> bool:
        """Whether all have come: a process that has no number free receives less."""
        return len(self.fds) == (self.counts & 3) + (self.counts >> 2)


class Child:
    """A process that the template forked."""

    outlives = False  # its parent: it has asked to see that end, and to act on it
    ended = False  # its death is being settled

    def __init__(self, pid: int, parent: int, job: Job, control: socket.socket, words: int | None) -> None:
        self.pid = pid
        self.parent = parent
        self.shape = job.shape
        self.control = control
        self.words = words  # its region of the last words
        self.pidfd = os.pidfd_open(pid)
        self.sentinel: int | None = None

    def begin(self, job: Job, sentinel: int) -> None:
        """A life begins: it works for this job, and whoever asked for it reads from the other end of the sentinel."""
        self.life, self.crew, self.sentinel = job.asked, job.crew, sentinel

    def tell(self, death: Death) -> None:
        """The end of a life, to whoever asked for it."""
        self.life = self.crew = 0
        if self.sentinel is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.sentinel, death.packed())
            os.close(self.sentinel)
            self.sentinel = None

    def signal(self, signum: int) -> None:
        """Send it a signal: to it, and never to another that has got its number."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signum)

    def wait(self) -> None:
        """Until it has ended."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        poller.poll()

    def last_words(self, of_all: lastwords.LastWords) -> str:
        """It has ended: what it said last."""
        return of_all.release(self.words)

    def outcome(self) -> tuple[int | None, int | None]:
        """It has ended: its exit code, and the most memory it had, as far as they can be known."""
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert info is not None
        exitcode = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        return exitcode, _native.peak_memory(self.pid) or None

    def bury(self) -> None:
        """Let the kernel forget it."""
        os.waitpid(self.pid, 0)


class Foster(Child):
    """A process that was forked by its own parent, which buries it, too.

    Args:
        pid: of the process.
        parent: of it.
        job: as for a Child.
        control: the template's end of its socket, which is this object's from now on. Not if this raises.
        words: likewise the file of its last words, if it has one.
    """

    def __init__(self, pid: int, parent: int, job: Job, control: int, words: int | None) -> None:
        self.pid = pid
        self.parent = parent
        self.shape = 0
        self.words = words
        self.pidfd = os.pidfd_open(pid)
        self.control = end_of(control)
        self.sentinel = None

    def last_words(self, of_all: lastwords.LastWords) -> str:
        if self.words is None:
            return ""
        try:
            return lastwords.read(self.words)
        finally:
            os.close(self.words)

    def outcome(self) -> tuple[int | None, int | None]:
        """The exit code is not known where its parent's end, or somebody's wait for just any child, was faster."""
        try:
            with open(f"/proc/{self.pid}/stat") as f:
                words = f.read().rpartition(")")[2].split()
        except OSError:
            return None, None
        return (os.waitstatus_to_exitcode(int(words[49])) if words[0] == "Z" else None), None

    def bury(self) -> None:
        """Nothing to do."""
