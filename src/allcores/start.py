"""How processes start: by asking the template process, which forks them (template.py)."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import socket
import struct
import sys
import threading

from allcores import _native, segment

__all__ = ("request_start", "send_signal", "stop_template", "template_pid")

# File descriptors of the template and of every child: the segment, and the socket to the template.
SEGMENT_FD, CONTROL_FD, FIRST_FREE_FD = 3, 4, 6  # 5: lastwords.py

START, SIGNAL = 1, 2
# Verb, running number, pid or count of descriptors, signal number or mailbox, pool or 0.
REQUEST = struct.Struct("<BIiQQ")
REPLY = struct.Struct("<Ii")  # number of the request, pid or -errno

# The task number of a pool worker that has not begun: it is starting, or in its initializer.
STARTING = (1 << 64) - 1
# b & 0xff of the message to a pool whose worker died; the pool's outcomes (pool/worker.py) are the others.
DIED = 3


class _Link:
    """This process's socket to the template, and, in the main process, the template's pid."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.socket: socket.socket | None = None
        self.pid: int | None = None
        self.owner = os.getpid()
        self.requests = itertools.count(1)
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
        crew: offset of the channel that its pool is told of its death by; 0 if it works for none.

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
                number = next(_link.requests) & 0xFFFFFFFF
                socket.send_fds(sock, [REQUEST.pack(START, number, len(standard), mailbox, crew)], standard)
                pid, fds = _reply_to(number, sock)
            except (BrokenPipeError, ConnectionResetError):
                pid, fds = 0, []
            if pid > 0 and not fds:  # it was sent, and no descriptor was free to receive it with
                # Until it is dead it may take a job: the mailbox must never be another's.
                _native.pin(mailbox)
                send_signal(pid, signal.SIGKILL)
                pid = -errno.EMFILE
            if pid > 0:
                os.set_inheritable(fds[0], False)
                return pid, fds[0]
            if pid < 0:
                raise OSError(-pid, f"cannot start a process: {os.strerror(-pid)}")
            if attempt == 2 or _link.pid is None:
                break
            _forget_template()  # somebody killed it: its children are gone with it; a new one starts
    raise RuntimeError("the template process of this program has died, and with it all workers; start anew")


def _reply_to(number: int, sock: socket.socket) -> tuple[int, list[int]]:
    """The answer to a request; (0, []) if the template is gone. What a request broken off by Ctrl-C started, ends."""
    while True:
        reply, fds, _flags, _addr = socket.recv_fds(sock, REPLY.size, 1)
        if not reply:
            return 0, []
        answered, pid = REPLY.unpack(reply)
        if answered == number:
            return pid, fds
        for fd in fds:
            os.close(fd)
        if pid > 0:
            send_signal(pid, signal.SIGKILL)


def send_signal(pid: int, signum: int) -> None:
    """Signal a child of the template, through it: it alone knows that the pid is still that child's."""
    with _link.lock:
        if _link.socket is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _link.socket.send(REQUEST.pack(SIGNAL, 0, pid, signum, 0))


def adopt_link(control: int) -> None:
    """In a child of the template: its own socket to it is ``control``."""
    _link.__init__()  # type: ignore[misc] # as new: what is there was the template's
    _link.socket = socket.socket(fileno=control)


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
        f"from allcores.template import serve; serve({os.getpid()}, {'numpy' in sys.modules!r}, {_link.lost!r})"
    )
    # Past the two it is given, the template inherits nothing that is not meant for everybody: Python's descriptors
    # close on exec. Copies first: were the socket 3 itself, giving it the segment would close it.
    high = [_high_copy(_native.segment_fd()), _high_copy(control)]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, high[0], SEGMENT_FD), (os.POSIX_SPAWN_DUP2, high[1], CONTROL_FD)]
        argv = [sys.executable, *_interpreter_flags(), "-c", code]
        # Ctrl-C goes to all processes of the terminal: held back until the template ignores it.
        return os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsigmask=[signal.SIGINT])
    finally:
        for fd in high:
            os.close(fd)


def _high_copy(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)


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
