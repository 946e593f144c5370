"""The template process: forks every process of the program, and hears of their deaths.

    main ──(socket: start, signal)──▶ template ──fork──▶ child
                                         │  ▲
                                         │  └── the kernel says that a child died (pidfd)
                                         └── settles its death in the segment, then reports its exit status

A fresh interpreter that has imported allcores and nothing of the user's: it never sees ``__main__``. It has one
thread, so forking it is safe whatever threads the program has; a fork costs a millisecond or two. It is the parent of
every process of the program, those that workers start included: so it hears of each death from the kernel, and
settles it (``_native.recover_process``) before anyone is told. A child of a process that died is killed; when the
main process ends, in whatever way, all are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
from typing import TYPE_CHECKING, NoReturn

from allcores import _native, lastwords, limits
from allcores.deaths import Death, OomWatch
from allcores.start import (
    CONTROL_FD,
    DIED,
    FIRST_FREE_FD,
    FORKED,
    REPLY,
    REQUEST,
    SEGMENT_FD,
    SIGNAL,
    START,
    STARTING,
    adopt_link,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("serve",)

# With nothing to do for so long, the template imports what workers may need later.
_IDLE_MS = 100


class _Child:
    """A process that the template forked."""

    def __init__(
        self, pid: int, parent: int, crew: int, control: socket.socket, sentinel: int, words: int | None
    ) -> None:
        self.pid = pid
        self.parent = parent
        self.crew = crew
        self.control = control
        self.sentinel = sentinel
        self.words = words  # its region of the last words
        self.pidfd = os.pidfd_open(pid)


class _Template:
    def __init__(self, main_pid: int) -> None:
        self.main_pid = main_pid
        self.control = socket.socket(fileno=CONTROL_FD)
        self.children: dict[int, _Child] = {}
        self.words = lastwords.LastWords()
        self.oom = OomWatch()
        self.poller = select.poll()
        self.actions: dict[int, Callable[[], None]] = {}
        self.watch(os.pidfd_open(main_pid), self.end)
        self.listen(self.control, main_pid)

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        self.poller.register(fd, select.POLLIN)
        self.actions[fd] = action

    def listen(self, sock: socket.socket, client: int) -> None:
        self.watch(sock.fileno(), lambda: self.serve_request(sock, client))

    def run(self) -> NoReturn:
        idle_ms: int | None = _IDLE_MS
        while True:
            ready = self.poller.poll(idle_ms)
            if not ready:
                # The first starts are not kept waiting for what only some functions need.
                with contextlib.suppress(OSError, ImportError):  # no descriptor free: then each worker does it
                    import allcores.byvalue  # noqa: F401 - once here instead of once in every worker

                idle_ms = None
            for fd, _events in ready:
                action = self.actions.get(fd)
                if action is not None:
                    action()
            for pid in _native.dead_pids(all=False):
                if pid not in self.children:  # forked by the user; nobody's status to report
                    _native.recover_process(pid=pid, body=(pid, None), died=DIED)

    def serve_request(self, sock: socket.socket, client: int) -> None:
        try:
            request, fds, _flags, _addr = socket.recv_fds(sock, REQUEST.size, 2)
        except ConnectionResetError:
            request, fds = b"", []
        if not request:
            self.client_gone(sock, client)
            return
        verb, asked, number, argument, crew = REQUEST.unpack(request)
        if verb == FORKED:
            self.watch_fork(number)
            return
        if verb == SIGNAL:
            if number in self.children:
                os.kill(number, argument)
            return
        try:
            if verb == START and len(fds) < number:
                raise OSError(errno.EMFILE, "no descriptor is free to receive the caller's with")
            self.start(sock, client, asked, argument, crew, fds)
        except OSError as error:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.send(REPLY.pack(asked, -(error.errno or 1)))
        finally:
            for fd in fds:
                os.close(fd)

    def start(self, sock: socket.socket, client: int, asked: int, mailbox: int, crew: int, standard: list[int]) -> None:
        """Fork a child. Should anything fail, nothing of it stays."""
        self.oom.look()
        with contextlib.ExitStack() as anyhow, contextlib.ExitStack() as failed:
            sentinel_read, sentinel_write = os.pipe()
            anyhow.callback(os.close, sentinel_read)
            failed.callback(os.close, sentinel_write)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            anyhow.callback(theirs.close)
            failed.callback(ours.close)
            words = self.words.reserve()
            failed.callback(self.words.release, words)
            template = os.getpid()
            pid = os.fork()
            if pid == 0:
                _become_child(template, client, mailbox, theirs, standard, words)
            failed.callback(_unmake, pid)
            theirs.close()  # before the next descriptor is wanted
            child = _Child(pid, client, crew, ours, sentinel_write, words)
            failed.pop_all()
            self.children[pid] = child
            self.watch(child.pidfd, lambda: self.settle(child))
            self.listen(ours, pid)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(sock, [REPLY.pack(asked, pid)], [sentinel_read])

    def settle(self, child: _Child) -> None:
        """A child has died: repair what it left in the segment, end its own children, then say so."""
        info = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert info is not None
        exitcode = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        oom, peak_memory = self.oom.explains(exitcode), _native.peak_memory(child.pid) or None
        death = Death(child.pid, exitcode, peak_memory, oom, self.words.release(child.words))
        reported = _native.recover_process(pid=child.pid, body=tuple(death), died=DIED)
        if child.crew and not reported and child.parent in (*self.children, self.main_pid):
            # It died before it could say whom it works for. Its pool is there: it waits for this worker's end.
            _native.report_death(crew=child.crew, task=STARTING, item=0, body=tuple(death), died=DIED)
        os.waitpid(child.pid, 0)
        del self.children[child.pid]
        self.kill_children_of(child.pid)
        self.forget(child.pidfd)
        self.forget(child.control.fileno())
        os.close(child.pidfd)
        child.control.close()
        with contextlib.suppress(BrokenPipeError):
            os.write(child.sentinel, death.packed())
        os.close(child.sentinel)

    def watch_fork(self, pid: int) -> None:
        """A fork of the user's: nobody's status to report, but what it leaves in the segment is settled (by `run`)."""
        with contextlib.suppress(
            OSError
        ):  # it has ended meanwhile, or there is no descriptor: some other event will do
            pidfd = os.pidfd_open(pid)

            def ended() -> None:
                self.forget(pidfd)
                os.close(pidfd)

            self.watch(pidfd, ended)

    def forget(self, fd: int) -> None:
        if self.actions.pop(fd, None) is not None:
            self.poller.unregister(fd)

    def client_gone(self, sock: socket.socket, client: int) -> None:
        if client == self.main_pid:
            self.end()
        self.forget(sock.fileno())  # its death, if it is one, comes by its pidfd

    def kill_children_of(self, pid: int) -> None:
        for child in self.children.values():
            if child.parent == pid:
                os.kill(child.pid, signal.SIGKILL)

    def end(self) -> NoReturn:
        """The main process has ended: nobody is left behind."""
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        for pid in self.children:
            os.waitpid(pid, 0)
        os._exit(0)


def serve(main_pid: int, with_numpy: bool, take_over: bool) -> NoReturn:
    """Be the template of the process ``main_pid``. Never returns.

    Args:
        main_pid: whose end is the template's own, and of all that it has forked.
        with_numpy: import NumPy, once here instead of once in every worker.
        take_over: a template before this one was killed, and its children with it: settle their deaths.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.closerange(lastwords.FD, os.sysconf("SC_OPEN_MAX"))
    for fd in (SEGMENT_FD, CONTROL_FD):
        os.set_inheritable(fd, False)
    _native.attach(fd=SEGMENT_FD, worker=False)
    if take_over:
        for pid in _native.dead_pids(all=True):
            _native.recover_process(pid=pid, body=(pid, -signal.SIGKILL), died=DIED)
    try:
        template = _Template(main_pid)
    except ProcessLookupError:  # it has ended meanwhile
        os._exit(0)
    if os.getppid() != main_pid:
        template.end()
    if with_numpy:
        with limits.restrained():
            import numpy as np  # noqa: F401 - for the children
        limits.learn()
    import allcores.child
    import allcores.pool.worker  # noqa: F401 - likewise

    template.run()


def _unmake(pid: int) -> None:
    """End a child that was forked, and cannot be watched."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    _native.recover_process(pid=pid, body=(pid, -signal.SIGKILL), died=DIED)
    os.waitpid(pid, 0)


def _become_child(
    template: int, parent: int, mailbox: int, control: socket.socket, standard: list[int], words: int | None
) -> NoReturn:
    """In the fork: keep nothing of the template but its modules, then do the job in the mailbox."""
    code = 1
    try:
        _native.die_with(template)
        for fd, target in zip(standard, (1, 2), strict=False):
            os.dup2(fd, target)
        os.dup2(control.fileno(), CONTROL_FD, inheritable=False)
        control.detach()
        os.closerange(FIRST_FREE_FD if words is not None else lastwords.FD, os.sysconf("SC_OPEN_MAX"))
        # From here on there are descriptors to be had.
        nothing = os.open(os.devnull, os.O_RDONLY)
        if nothing != 0:
            os.dup2(nothing, 0)
            os.close(nothing)
        if words is not None and lastwords.adopt():
            lastwords.keep(words)
        adopt_link(CONTROL_FD)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from allcores.child import run_child

        code = run_child(mailbox, parent)
    finally:
        os._exit(code)
