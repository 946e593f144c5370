"""The start method ``fork``: the child is a copy of the process that starts it, and has its job already.

    parent ──fork──▶ child ─── killed by the kernel when the pipe ends ◀──┐
       │                                                                  │
       └── pid, writing end of the pipe, a socket ──▶ template ── holds it, watches the child by a pidfd

The reading end of the pipe is the sentinel, in the parent, and the child's lifeline. The template alone has the writing
end: so a child does not outlive it, as none that the template forked does. The template kills the children of who has
died, these too; and it says of none that it has ended before it has settled its death. The parent hands its child over
and does not wait for the template: until that has taken it over, the parent's own end closes the pipe.

**Threads.** The child has the thread that forked, and nothing of the others but their memory as it was, and locks that
they held stay locked. Of ours that is no harm: what a thread of ours may hold while another forks (the holds of shared
objects, the pages of the segment, the link to the template) is taken or made anew by hooks around the fork; what it has
claimed in shared memory names the parent, which lives; and the child uses no pool, crew or keeper of its parent: those
objects know that they were forked. What the user's threads hold, and libraries in C, is the price of ``fork``, as ever:
so nothing is forked this way by anybody who has not asked for it by name.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from itertools import chain, starmap
from typing import TYPE_CHECKING, NoReturn

from allcores import _native, lastwords, lineage, start
from allcores.deaths import Death
from allcores.protocol import DIED, two_ends
from allcores.scarce import NOT_WATCHED, no_room

if TYPE_CHECKING:
    from allcores.base import BaseProcess

__all__ = ("ForkRequest", "death_of")

# In a child: what its life hangs on, which must stay open.
_lifeline: int | None = None

# The one that has open what is for the template alone; there is none but under the lock of the link.
_open: ForkRequest | None = None


class ForkRequest:
    """Forks this process. Once only. Does what a ``StartRequest`` does, and is broken off as that is.

    Args:
        process: whose ``run`` is the child's job.
        mailbox: where the child leaves what comes of it.
        context: of the child, where it names none.
        crew: offset of the channel that its pool is told of its death by; 0 if it works for none.
    """

    def __init__(self, process: BaseProcess, mailbox: _native.Channel, context: str, crew: int = 0) -> None:
        from allcores import child  # here, and not in each fork

        self._run_forked = child.run_forked
        self._job = process, mailbox, context
        self._crew = crew
        self.life = 0
        self._fds: list[int] = []  # the ends of the pipe, reading and writing, and the file of the child's last words
        self._closed: list[None] = []  # so many of them are, the last first
        self._sockets: list[socket.socket] = []
        self._forked: list[int] = []

    def run(self) -> tuple[int, int]:
        """Fork. The child's pid, and a file descriptor that is readable when it has ended and its death is settled.

        Raises:
            OSError: no process or file descriptor is to be had.
        """
        _flush()
        global _open
        try:
            with start.forking():
                _open = self
                lineage.remember()
                self.life = start.next_life()
                self._fds.extend(chain.from_iterable(starmap(os.pipe, ((),))))
                self._sockets.extend(two_ends())
                with contextlib.suppress(OSError):  # then there are no last words
                    self._fds.extend(map(os.memfd_create, (lastwords.NAME,)))
                parent = os.getpid()
                allowed = signal.pthread_sigmask(signal.SIG_BLOCK, ())
                self._forked.extend(starmap(_native.fork, ((),)))
                if self._forked[0] == 0:
                    self._be_child(parent, allowed)
                theirs = [self._fds[1], self._sockets[1].fileno(), *self._fds[2:]]
                start.entrust(self.life, self._forked[0], self._crew, theirs)
                self._close(but=1)
                _open = None
        except OSError as error:
            raise no_room(error.errno or 0) from error
        return self._forked[0], self._fds[0]

    def cancel(self) -> None:
        """After an exception: what was forked, if anything was, ends."""
        for pid in self._forked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            _bury(pid, 0)
            _settle(pid, -signal.SIGKILL)
        self._close(but=0)

    def _close(self, but: int) -> None:
        """Close all but so many of the first descriptors."""
        for each in self._sockets:
            each.close()
        while (left := len(self._fds) - len(self._closed)) > but:
            self._closed.extend(map(os.close, (self._fds[left - 1],)))

    def _be_child(self, parent: int, allowed: set[int | signal.Signals]) -> NoReturn:
        global _lifeline, _open
        code = 1
        try:
            _open = None
            if _lifeline is not None:  # the parent's
                os.close(_lifeline)
            _lifeline, writing, *words = self._fds
            os.close(writing)
            _native.die_with_pipe(_lifeline)
            mine, theirs = self._sockets
            theirs.close()
            start.adopt_link(mine.detach())
            for file in words:
                lastwords.keep_in(file)
            signal.set_wakeup_fd(-1)  # it is the parent's event loop that would wake up
            signal.pthread_sigmask(signal.SIG_SETMASK, allowed)
            code = self._run_forked(*self._job, parent)
        finally:
            os._exit(code)


def _forked() -> None:
    """In a fork of the user's, by another thread meanwhile: none but the template may keep the writing end."""
    global _open
    if _open is not None and not start.is_forking():
        _open._close(but=0)
        _open = None


os.register_at_fork(after_in_child=_forked)


def _flush() -> None:
    """What is still in a buffer here is not to be written there, too."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # none, closed, or something of the user's
            stream.flush()


def death_of(pid: int, told: bytes, template: int | None) -> Death:
    """The death of a child that was forked here.

    Args:
        pid: of the child.
        told: by its sentinel, which is readable. Nothing: the template has ended, or could not watch it; then the child
            has ended by that.
        template: the pid of the template then.
    """
    code, peak = _bury(pid, os.WNOHANG if told else 0)
    if told:
        death = Death.unpack(pid, told)
        return death if code is None else death._replace(exitcode=code, peak_memory=peak)
    # Which of the two it is does not show: one that is killed closes this before the rest, and is alive till the end.
    # So it is asked for something, and that gives it descriptors, of which it then had none.
    lives = start.end_parked() and start.template_pid() == template
    if not lives:
        start.template_died(template)
    _settle(pid, code)
    return Death(pid, code, peak, stderr=NOT_WATCHED if lives else "")


def _settle(pid: int, code: int | None) -> None:
    """What no template does: each of the two can be done again."""
    _native.recover_process(pid=pid, body=(pid, code), died=DIED)


def _bury(pid: int, how: int) -> tuple[int | None, int | None]:
    """The exit code of a child, and the most memory it had; None if somebody else has waited for it."""
    try:
        ended, status, usage = os.wait4(pid, how)
    except ChildProcessError:
        return None, None
    return (os.waitstatus_to_exitcode(status), usage.ru_maxrss << 10) if ended else (None, None)
