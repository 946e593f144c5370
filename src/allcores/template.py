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

from allcores import _native, lastwords, limits, tracked
from allcores.children import Child, Foster, Job
from allcores.deaths import Death, OomWatch
from allcores.family import end_family
from allcores.lot import Lot
from allcores.newborn import become_child
from allcores.protocol import (
    DIED,
    END_PARKED,
    FAMILY,
    FORKED,
    JOB,
    OUTLIVE,
    PARK,
    REPLY,
    REQUEST,
    SIGNAL,
    START,
    STARTING,
    WATCH,
    end_of,
    two_ends,
)
from allcores.scarce import NOT_WATCHED
from allcores.spawn import CONTROL_FD, SEGMENT_FD
from allcores.standard import MOST_FDS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("serve",)

# With nothing to do for so many milliseconds, or after so many forks, the template imports what workers may need later:
# the first starts are not kept waiting for what only some functions need, and of many each would import it.
_IDLE_MS = 100
_FORKS = 8


class _Template:
    def __init__(self, main_pid: int) -> None:
        self.main_pid = main_pid
        self.control = end_of(CONTROL_FD)
        self.children: dict[int, Child] = {}
        self.forks = 0
        self.strangers: set[int] = set()  # pidfds of the user's forks
        self.lot: Lot[Child] = Lot()
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
            ready = self.poller.poll(self.lot.patience_ms() if idle_ms is None else idle_ms)
            if not ready:
                for child in self.lot.overdue():
                    child.signal(signal.SIGKILL)
            if idle_ms is not None and (not ready or self.forks >= _FORKS):
                with contextlib.suppress(OSError, ImportError):  # no descriptor free: then each worker does it
                    import allcores.byvalue  # noqa: F401 - once here instead of once in every worker

                idle_ms = None
            # What one of them ends, another may open under the same number: the event was none of that.
            for fd, action in [(fd, self.actions[fd]) for fd, _events in ready]:
                if self.actions.get(fd) is action:
                    action()
            for pid in _native.dead_pids(all=False):
                if pid not in self.children:  # forked by the user; nobody's status to report
                    _native.recover_process(pid=pid, body=(pid, None), died=DIED)

    def serve_request(self, sock: socket.socket, client: int) -> None:
        try:
            request, fds, _flags, _addr = socket.recv_fds(sock, REQUEST.size, 2 + MOST_FDS)
        except ConnectionResetError:
            request, fds = b"", []
        if not request:
            self.client_gone(sock, client)
            return
        if len(request) != REQUEST.size:  # somebody wrote to a descriptor that is not his
            return
        verb, asked, number, argument, crew, shape = REQUEST.unpack(request)
        try:
            self.do(sock, client, verb, asked, number, argument, Job(asked, argument, crew, shape, fds, number))
        finally:
            for fd in fds:
                os.close(fd)

    def do(self, sock: socket.socket, client: int, verb: int, asked: int, number: int, argument: int, job: Job) -> None:
        if verb == START:
            self.serve_start(sock, client, job)
        elif verb == SIGNAL:
            child = self.children.get(number)
            if child is not None and child.life == asked:
                child.signal(argument)
        elif verb == FAMILY:
            end_family(self.family_of(number, asked))
        elif verb == FORKED:
            self.watch_fork(number)
        elif verb == WATCH:
            self.adopt(client, number, job)
        elif verb == PARK:
            self.park(self.children[client], argument)
        elif verb == END_PARKED:
            self.end_parked(self.lot.all_of(client))
            _reply(sock, asked, len(self.children))
        elif verb == OUTLIVE:
            self.children[client].outlives = True
            _reply(sock, asked, client)

    def serve_start(self, sock: socket.socket, client: int, job: Job) -> None:
        if client in self.children and self.children[client].ended:
            return  # whoever has asked for it would end it
        while True:
            try:
                if not job.is_whole():
                    raise OSError(errno.EMFILE, "no descriptor is free to receive the caller's with")
                self.start(sock, client, job)
                return
            except OSError as error:
                if not self.end_parked(self.lot.all_of()):  # else what they had may be enough
                    _reply(sock, job.asked, -(error.errno or 1))
                    return

    def start(self, sock: socket.socket, client: int, job: Job) -> None:
        """Wake a parked worker or fork a child. Should anything fail, nothing of it stays."""
        self.oom.look()
        with contextlib.ExitStack() as anyhow, contextlib.ExitStack() as failed:
            sentinel_read, sentinel_write = os.pipe()
            anyhow.callback(os.close, sentinel_read)
            failed.callback(os.close, sentinel_write)
            child = self.wake(client, job) if job.shape and not job.named else None
            if child is None:
                child = self.fork(client, job, failed)
            child.begin(job, sentinel_write)
            failed.pop_all()
            _reply(sock, job.asked, child.pid, sentinel_read)

    def fork(self, client: int, job: Job, failed: contextlib.ExitStack) -> Child:
        ours, theirs = two_ends()
        failed.callback(ours.close)
        with theirs:
            words = self.words.reserve()
            failed.callback(self.words.release, words)
            template = os.getpid()
            pid = os.fork()
            if pid == 0:
                become_child(template, client, job, theirs, words)
            failed.callback(_unmake, pid)
        # `theirs` is closed before the next descriptor is wanted.
        self.forks += 1
        return self.register(Child(pid, client, job, ours, words))

    def register(self, child: Child) -> Child:
        self.children[child.pid] = child
        self.watch(child.pidfd, lambda: self.settle(child))
        self.listen(child.control, child.pid)
        return child

    def adopt(self, client: int, pid: int, job: Job) -> None:
        """Watch a process that a client has forked itself. Where that fails, the end of its sentinel is its end."""
        self.oom.look()
        try:
            sentinel, control, *words = job.fds  # fewer, where no descriptor was free to receive them with
            child = Foster(pid, client, job, control, words[0] if words else None)
        except ProcessLookupError:  # the program has waited for just any child: this one is dead, and how nobody knows
            death = Death(pid, None)
            if not _native.recover_process(pid=pid, body=tuple(death), died=DIED):
                _tell_crew(job.crew, death)
            with contextlib.suppress(BrokenPipeError):
                os.write(job.fds[0], death.packed())
            return
        except (OSError, ValueError):
            _tell_crew(job.crew, Death(pid, -signal.SIGKILL, stderr=NOT_WATCHED))
            return
        job.fds.clear()
        child.begin(job, sentinel)
        self.register(child)

    def wake(self, client: int, job: Job) -> Child | None:
        """Hand the job to a parked worker. None: there is none, or it has just been killed, which `settle` hears of."""
        child = self.lot.take(client, job.shape)
        if child is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(child.control, [JOB.pack(job.mailbox, 0)], job.fds)
                return child
        return None

    def park(self, child: Child, nbytes: int) -> None:
        """A worker has done all that its pool wanted, and offers to wait for another."""
        if not self.lot.add(child, nbytes):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                child.control.send(JOB.pack(0, 0))
            return
        self.kill_children_of(child.pid)  # which it has parked
        self.words.clear(child.words)
        child.tell(Death(child.pid, 0))

    def end_parked(self, children: list[Child]) -> bool:
        """End them, and wait until they have. False if there is nobody."""
        for child in children:
            child.signal(signal.SIGKILL)
        for child in children:
            self.settle(child)
        return bool(children)

    def settle(self, child: Child) -> None:
        """A child has died: repair what it left in the segment, end its own children, then say so."""
        child.wait()
        child.ended = True
        self.hear_out(child)
        exitcode, peak_memory = child.outcome()
        words = child.last_words(self.words)
        death = Death(child.pid, exitcode, peak_memory, self.oom.explains(exitcode), stderr=words)
        reported = _native.recover_process(pid=child.pid, body=tuple(death), died=DIED)
        if not reported and child.parent in (*self.children, self.main_pid):
            _tell_crew(child.crew, death)
        child.bury()
        del self.children[child.pid]
        self.lot.discard(child)
        self.kill_children_of(child.pid)
        self.forget(child.pidfd)
        self.forget(child.control.fileno())
        os.close(child.pidfd)
        child.control.close()
        child.tell(death)

    def hear_out(self, child: Child) -> None:
        """Do what it had asked for before it died: a fork of its own that it has handed over is to end with it."""
        poller = select.poll()
        poller.register(child.control, select.POLLIN)
        while child.control.fileno() in self.actions and poller.poll(0):
            self.serve_request(child.control, child.pid)

    def watch_fork(self, pid: int) -> None:
        """A fork of the user's: nobody's status to report, but what it leaves in the segment is settled (by `run`)."""
        with contextlib.suppress(
            OSError
        ):  # it has ended meanwhile, or there is no descriptor: some other event will do
            pidfd = os.pidfd_open(pid)

            def ended() -> None:
                self.strangers.discard(pidfd)
                self.forget(pidfd)
                os.close(pidfd)

            self.strangers.add(pidfd)
            self.watch(pidfd, ended)

    def family_of(self, pid: int, life: int) -> list[int]:
        """The child, and those that it has started by the template, and those that they have."""
        child = self.children.get(pid)
        family = [pid] if child is not None and child.life == life else []
        for each in family:
            family += [child.pid for child in self.children.values() if child.parent == each]
        return family

    def forget(self, fd: int) -> None:
        if self.actions.pop(fd, None) is not None:
            self.poller.unregister(fd)

    def client_gone(self, sock: socket.socket, client: int) -> None:
        if client == self.main_pid:
            self.end()
        self.forget(sock.fileno())  # its death, if it is one, comes by its pidfd

    def kill_children_of(self, pid: int) -> None:
        """All but those that see to themselves: they are the main process's from now on, which all end with."""
        for child in self.children.values():
            if child.parent == pid and child.outlives:
                child.parent = self.main_pid
            elif child.parent == pid:
                child.signal(signal.SIGKILL)

    def end(self) -> NoReturn:
        """The main process has ended: nobody is left behind."""
        for child in self.children.values():
            child.signal(signal.SIGKILL)
        for child in self.children.values():
            child.wait()
        _exit(self.main_pid, alone=not self.strangers)


def serve(main_pid: int, with_numpy: bool, take_over: bool, names: list[str], lines: tuple[int, int]) -> NoReturn:
    """Be the template of the process ``main_pid``. Never returns.

    Args:
        main_pid: whose end is the template's own, and of all that it has forked.
        with_numpy: import NumPy, once here instead of once in every worker.
        take_over: a template before this one was killed, and its children with it: settle their deaths.
        names: modules to import, likewise, and to say when they are there.
        lines: where ``tracked`` has its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.closerange(lastwords.FD, os.sysconf("SC_OPEN_MAX"))
    for fd in (SEGMENT_FD, CONTROL_FD):
        os.set_inheritable(fd, False)
    _native.set_title("allcores-template")
    if names:
        from allcores.imported import import_all

        import_all(CONTROL_FD, names)
    _native.attach(fd=SEGMENT_FD, worker=False)
    tracked.adopt(lines)
    if take_over:
        for pid in _native.dead_pids(all=True):
            _native.recover_process(pid=pid, body=(pid, -signal.SIGKILL), died=DIED)
    try:
        template = _Template(main_pid)
    except ProcessLookupError:  # it has ended meanwhile
        _exit(main_pid, alone=True)
    if os.getppid() != main_pid:
        template.end()
    _import_for_the_children(with_numpy)
    template.run()


def _import_for_the_children(with_numpy: bool) -> None:
    if with_numpy:
        with limits.restrained():
            import numpy as np  # noqa: F401
        limits.learn()
    import resource  # noqa: F401

    import allcores.child
    import allcores.pool.plan  # what comes with a worker's job
    import allcores.pool.worker  # noqa: F401


def _exit(main_pid: int, alone: bool) -> NoReturn:
    """The program has ended, if that was the process it began in and its forks have ended too."""
    try:
        if alone and main_pid == _native.creator()[0]:
            tracked.remove_left()
    finally:
        os._exit(0)


def _reply(sock: socket.socket, asked: int, pid: int, *fds: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        socket.send_fds(sock, [REPLY.pack(asked, pid)], fds)


def _tell_crew(crew: int, death: Death) -> None:
    """Its pool, if it has one, waits for this worker's end, which died before it could say whom it works for."""
    if crew:
        _native.report_death(crew=crew, task=STARTING, item=0, body=tuple(death), died=DIED)


def _unmake(pid: int) -> None:
    """End a child that was forked, and cannot be watched."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    _native.recover_process(pid=pid, body=(pid, -signal.SIGKILL), died=DIED)
    os.waitpid(pid, 0)
