"""How processes start, and who watches them: the template process.

    main ──(socket: start, signal)──▶ template ──fork──▶ child
                                         │  ▲
                                         │  └── the kernel says that a child died (pidfd)
                                         └── settles its death in the segment, then reports its exit status

The template is a fresh interpreter that has imported allcores and nothing of the user's: it never sees ``__main__``.
It has one thread, so forking it is safe whatever threads the program has; a fork costs a millisecond or two. It is
the parent of every process of the program, those that workers start included: so it hears of each death from the
kernel, and settles it (``_native.recover_process``) before anyone is told. A child of a process that died is killed;
when the main process ends, in whatever way, all are.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from allcores import _native, segment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("request_start", "send_signal", "stop_template", "template_pid")

# File descriptors of the template and of every child: the segment, and the socket to the template.
_SEGMENT_FD, _CONTROL_FD, _FIRST_FREE_FD = 3, 4, 5

_START, _SIGNAL = 1, 2
_REQUEST = struct.Struct("<BiQQ")  # verb, pid or count of descriptors, signal number or mailbox, pool or 0
_REPLY = struct.Struct("<i")  # pid, or -errno
_STATUS = struct.Struct("<i")  # exit code as Process.exitcode has it

# With nothing to do for so long, the template imports what workers may need later.
_IDLE_MS = 100

# The task number of a pool worker that has not begun: it is starting, or in its initializer.
STARTING = (1 << 64) - 1
# b & 0xff of the message to a pool whose worker died; the pool's outcomes (pool/worker.py) are the others.
DIED = 3


# In every process: asking the template.


class _Link:
    """This process's socket to the template, and, in the main process, the template's pid."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.socket: socket.socket | None = None
        self.pid: int | None = None
        self.owner = os.getpid()
        self.lost = False  # a template was killed: the next one settles what it left


_link = _Link()


def template_pid() -> int | None:
    """The pid of the template process that this process started; None if it has none."""
    return _link.pid


def prepare() -> None:
    """Start the template, if this program has none, and do not wait for it: it imports while this process goes on."""
    with _link.lock:
        _connected()


def request_start(mailbox: int, crew: int = 0) -> tuple[int, int]:
    """Fork a child that takes its job from the channel at ``mailbox``. Blocks for the fork: a millisecond or two.

    Args:
        mailbox: offset of the channel with the child's job.
        crew: offset of the answer channel of the pool it will work for, which is told of its death; 0 for none.

    Returns:
        The child's pid, and a file descriptor that becomes readable when it has ended and its death is settled.

    Raises:
        OSError: no process or file descriptor is to be had.
    """
    with _link.lock:
        for attempt in (1, 2):
            sock = _connected()
            try:
                standard = [fd for fd in (1, 2) if _is_open(fd)]
                socket.send_fds(sock, [_REQUEST.pack(_START, len(standard), mailbox, crew)], standard)
                reply, fds, _flags, _addr = socket.recv_fds(sock, _REPLY.size, 1)
            except (BrokenPipeError, ConnectionResetError):
                reply, fds = b"", []
            if reply:
                (pid,) = _REPLY.unpack(reply)
                if pid > 0:
                    os.set_inheritable(fds[0], False)
                    return pid, fds[0]
                raise OSError(-pid, f"cannot start a process: {os.strerror(-pid)}")
            if attempt == 2 or _link.pid is None:
                break
            _forget_template()  # somebody killed it: its children are gone with it; a new one starts
    raise RuntimeError("the template process of this program has died, and with it all workers; start anew")


def send_signal(pid: int, signum: int) -> None:
    """Signal a child of the template, through it: it alone knows that the pid is still that child's."""
    with _link.lock:
        if _link.socket is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _link.socket.send(_REQUEST.pack(_SIGNAL, pid, signum, 0))


def stop_template() -> None:
    """End the template, and with it every process still running. For the end of the program, and for tests."""
    with _link.lock:
        if _link.socket is not None and _link.pid is not None and _link.owner == os.getpid():
            _forget_template()


def _forget_template() -> None:
    assert _link.socket is not None
    assert _link.pid is not None
    _link.socket.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(_link.pid, 0)
    _link.socket = _link.pid = None
    _link.lost = True


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _connected() -> socket.socket:
    if _link.socket is not None and _link.owner != os.getpid():
        # Forked by the user: this socket is the parent's, who would get our replies. A template of our own.
        _link.socket.close()
        _link.socket = _link.pid = None
    if _link.socket is None:
        segment.ensure()
        _link.owner = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _link.pid = _spawn_template(theirs.fileno())
        _link.socket = ours
    return _link.socket


def _spawn_template(control: int) -> int:
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        f"from allcores.start import serve; serve({os.getpid()}, {'numpy' in sys.modules!r}, {_link.lost!r})"
    )
    # Past the two it is given, the template inherits nothing that is not meant for everybody: Python's descriptors
    # close on exec. Copies first: were the socket 3 itself, giving it the segment would close it.
    high = [fcntl_dup(_native.segment_fd()), fcntl_dup(control)]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, high[0], _SEGMENT_FD), (os.POSIX_SPAWN_DUP2, high[1], _CONTROL_FD)]
        argv = [sys.executable, *_interpreter_flags(), "-c", code]
        # Ctrl-C goes to all processes of the terminal: held back until the template ignores it.
        return os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsigmask=[signal.SIGINT])
    finally:
        for fd in high:
            os.close(fd)


def fcntl_dup(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64)


def _interpreter_flags() -> list[str]:
    if not (sys.warnoptions or sys._xoptions or any(sys.flags)):
        return []
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    flags: list[str] = _args_from_interpreter_flags()
    return flags


def _check_template() -> None:
    """Called when a wait has lasted for seconds: has the template been killed? Its successor settles all deaths."""
    if _link.pid is None or _link.owner != os.getpid() or not _link.lock.acquire(blocking=False):
        return
    try:
        if os.waitpid(_link.pid, os.WNOHANG)[0] == 0:
            return
        assert _link.socket is not None
        _link.socket.close()
        _link.socket = _link.pid = None
        _link.lost = True
        _connected()
    except ChildProcessError:
        _link.pid = None
    finally:
        _link.lock.release()


_native.on_long_wait(_check_template)


# In the template.


class _Child:
    """A process that the template forked."""

    def __init__(self, pid: int, parent: int, crew: int, control: socket.socket, sentinel: int) -> None:
        self.pid = pid
        self.parent = parent
        self.crew = crew
        self.control = control
        self.sentinel = sentinel
        self.pidfd = os.pidfd_open(pid)


class _Template:
    def __init__(self, main_pid: int) -> None:
        self.main_pid = main_pid
        self.control = socket.socket(fileno=_CONTROL_FD)
        self.children: dict[int, _Child] = {}
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
                import allcores.byvalue  # noqa: F401 - once here instead of once in every worker

                idle_ms = None
            for fd, _events in ready:
                action = self.actions.get(fd)
                if action is not None:
                    action()
            for pid in _native.dead_pids(all=False):
                if pid not in self.children:  # forked by the user; nobody's status to report
                    _native.recover_process(pid=pid, status=0, died=DIED)

    def serve_request(self, sock: socket.socket, client: int) -> None:
        try:
            request, fds, _flags, _addr = socket.recv_fds(sock, _REQUEST.size, 2)
        except ConnectionResetError:
            request, fds = b"", []
        if not request:
            self.client_gone(sock, client)
            return
        verb, number, argument, crew = _REQUEST.unpack(request)
        if verb == _SIGNAL:
            if number in self.children:
                os.kill(number, argument)
            return
        try:
            self.start(sock, client, argument, crew, fds)
        except OSError as error:
            sock.send(_REPLY.pack(-(error.errno or 1)))
        finally:
            for fd in fds:
                os.close(fd)

    def start(self, sock: socket.socket, client: int, mailbox: int, crew: int, standard: list[int]) -> None:
        sentinel_read, sentinel_write = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        template = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become_child(template, client, mailbox, theirs, standard)
        theirs.close()
        child = _Child(pid, client, crew, ours, sentinel_write)
        self.children[pid] = child
        self.watch(child.pidfd, lambda: self.settle(child))
        self.listen(ours, pid)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            socket.send_fds(sock, [_REPLY.pack(pid)], [sentinel_read])
        os.close(sentinel_read)

    def settle(self, child: _Child) -> None:
        """A child has died: repair what it left in the segment, end its own children, then say so."""
        info = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert info is not None
        exitcode = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        status = exitcode & 0xFFFFFFFF
        reported = _native.recover_process(pid=child.pid, status=status, died=DIED)
        if child.crew and exitcode and not reported and child.parent in (*self.children, self.main_pid):
            # It died before it could say whom it works for. Its pool is there: it waits for this worker's end.
            _native.report_death(crew=child.crew, task=STARTING, item=0, pid=child.pid, status=status, died=DIED)
        os.waitpid(child.pid, 0)
        del self.children[child.pid]
        self.kill_children_of(child.pid)
        self.forget(child.pidfd)
        self.forget(child.control.fileno())
        os.close(child.pidfd)
        child.control.close()
        with contextlib.suppress(BrokenPipeError):
            os.write(child.sentinel, _STATUS.pack(exitcode))
        os.close(child.sentinel)

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
    os.closerange(_FIRST_FREE_FD, os.sysconf("SC_OPEN_MAX"))
    for fd in (_SEGMENT_FD, _CONTROL_FD):
        os.set_inheritable(fd, False)
    _native.attach(fd=_SEGMENT_FD, worker=False)
    if take_over:
        for pid in _native.dead_pids(all=True):
            _native.recover_process(pid=pid, status=-signal.SIGKILL & 0xFFFFFFFF, died=DIED, take_over=True)
    template = _Template(main_pid)
    if os.getppid() != main_pid:
        template.end()
    if with_numpy:
        import numpy as np  # noqa: F401 - for the children
    import allcores.child
    import allcores.pool.worker  # noqa: F401 - likewise

    template.run()


def _become_child(template: int, parent: int, mailbox: int, control: socket.socket, standard: list[int]) -> NoReturn:
    """In the fork: keep nothing of the template but its modules, then do the job in the mailbox."""
    code = 1
    try:
        _native.die_with(template)
        for fd, target in zip(standard, (1, 2), strict=False):
            os.dup2(fd, target)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(control.fileno(), _CONTROL_FD, inheritable=False)
        control.detach()
        os.closerange(_FIRST_FREE_FD, os.sysconf("SC_OPEN_MAX"))
        _link.socket, _link.pid, _link.owner = socket.socket(fileno=_CONTROL_FD), None, os.getpid()
        _link.lock = threading.RLock()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from allcores.child import run_child

        code = run_child(mailbox, parent)
    finally:
        os._exit(code)
