"""How processes start: by asking the template process, which forks them (template.py)."""

from __future__ import annotations

import array
import contextlib
import errno
import itertools
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from allcores import _native, segment, tracked
from allcores.protocol import (
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
    WATCH,
    end_of,
    two_ends,
)
from allcores.scarce import no_room
from allcores.spawn import spawn_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ("StartRequest", "end_parked", "entrust", "park", "send_signal", "stop_template", "template_pid")


class _Link:
    """This process's socket to the template, and, in the main process, the template's pid."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.socket: socket.socket | None = None
        self.pid: int | None = None
        self.owner = os.getpid()
        self.requests = itertools.count(1)
        self.has_forked = False  # by the user: those count on this template to hear of their death
        self.lost = False  # a template was killed: the next one settles what it left
        self.forking: int | None = None  # the thread that is forking by `fork` (forked.py), not by the user's os.fork()


_link = _Link()


def template_pid() -> int | None:
    """The pid of the template process that this process started; None if it has none."""
    return _link.pid


def prepare() -> None:
    """Start the template, if this program has none, and do not wait for it: it imports while this process goes on."""
    with _link.lock:
        _connected()


# Called before a process is asked for; what has nothing to do any more takes itself away.
before_start: list[Callable[[], object]] = []


class StartRequest:
    """Asks the template to fork a child. Once only.

    Ctrl-C may come between any two lines. What was sent and what has come is kept by calls that it cannot split
    (``extend`` of a ``map``: no line of Python between the system call and the list), so that ``cancel`` knows.

    Args:
        mailbox: offset of the channel with the child's job.
        crew: offset of the channel that its pool is told of its death by; 0 if it works for none.
        shape: of the pool: a worker that a pool of the same shape has left will do. 0: only a new process will.
        fds: descriptors that the child has too, as the job names them by their places: see ``standard.Inherited``.
    """

    def __init__(self, mailbox: int, crew: int = 0, shape: int = 0, fds: Sequence[int] = ()) -> None:
        self._where, self._fds = (mailbox, crew, shape), fds
        self._number = 0
        self._socket: socket.socket | None = None
        self._sent: list[int] = []
        self._come: list[tuple[Any, ...]] = []

    def run(self) -> tuple[int, int]:
        """Have the child forked. Blocks for that: a millisecond or two; a tenth of it for one that was parked.

        Returns:
            The child's pid, and a file descriptor that becomes readable when it has ended and its death is settled; or
            when it has parked itself, which is the end of this life.

        Raises:
            OSError: no process or file descriptor is to be had.
        """
        with _link.lock:
            for _attempt in (1, 2):
                try:
                    self._send(_connected())
                    pid, fds = self._answer()
                except (BrokenPipeError, ConnectionResetError):
                    pid, fds = 0, []
                if pid > 0 and fds:
                    return pid, fds[0]
                if pid > 0:
                    raise no_room(errno.EMFILE)  # and the caller cancels
                if pid < 0:
                    raise no_room(-pid)
                if _link.pid is None:
                    break
                _forget_template()  # killed, and its children with it: a new one starts
        raise RuntimeError(_ENDED)

    @property
    def life(self) -> int:
        """The number that names this life of the process that was started."""
        return self._number

    def cancel(self) -> None:
        """After an exception: what was started, if anything was, ends."""
        with _link.lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if self._sent and self._socket is _link.socket:
                # The mailbox must not become another's before the child is gone. Where that is not told, because this
                # was broken off once more or had no descriptor free, it stays.
                _native.pin(self._where[0])
                pid, fds = self._answer()
                if pid > 0:
                    send_signal(pid, signal.SIGKILL, self._number)
                for fd in fds:
                    os.read(fd, 1)  # until it has ended
                    os.close(fd)
                if fds or pid <= 0:
                    _native.unpin(self._where[0])

    def ask(self, sock: socket.socket, verb: int) -> int:
        """Ask for something else instead, and wait for the answer: a number."""
        self._socket = sock
        self._number = _next_number()
        sock.send(REQUEST.pack(verb, self._number, 0, 0, 0, 0))
        return self._answer()[0]

    def _send(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sent.clear()
        self._come.clear()
        standard = [fd for fd in (1, 2) if _is_open(fd)]
        self._number = _next_number()
        request = REQUEST.pack(START, self._number, len(self._fds) << 2 | len(standard), *self._where)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [*standard, *self._fds]))
        self._sent.extend(map(sock.sendmsg, ([request],), ([rights],)))

    def _answer(self) -> tuple[int, list[int]]:
        """The pid, or -errno, and the descriptors of the answer; (0, []) if the template is gone."""
        assert self._socket is not None
        while True:
            if not self._come:
                self._come.extend(map(self._socket.recvmsg, (REPLY.size,), (_FDS_SPACE,), (socket.MSG_CMSG_CLOEXEC,)))
            data, ancillary, _flags, _address = self._come[0]
            if not data:
                return 0, []
            number, pid = REPLY.unpack(data)
            fds = array.array("i", b"".join(bytes(rights) for _level, _kind, rights in ancillary)).tolist()
            if number == self._number:
                return pid, fds
            self._come.clear()  # of a request that nobody could cancel: Ctrl-C came twice
            for fd in fds:
                os.close(fd)
            if pid > 0:
                send_signal(pid, signal.SIGKILL, number)


_ENDED = "the template process of this program has died, and with it all workers; start anew"
_FDS_SPACE = socket.CMSG_SPACE(array.array("i", [0]).itemsize)


def _next_number() -> int:
    return next(_link.requests) & 0xFFFFFFFF


def send_signal(pid: int, signum: int, life: int) -> None:
    """Signal a child of the template, through it: it alone knows that the pid is still that child's, in that life."""
    with _link.lock:
        if _link.socket is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _link.socket.send(REQUEST.pack(SIGNAL, life, pid, signum, 0, 0))


def next_life() -> int:
    """A number for a life that is no START's."""
    return _next_number()


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Around the fork of a child that will be entrusted to the template: it need not be told of that fork otherwise."""
    with _link.lock:
        _connected()
        try:
            _link.forking = threading.get_ident()
            yield
        finally:
            _link.forking = None


def entrust(life: int, pid: int, crew: int, fds: list[int]) -> None:
    """Have the template watch a child that this process has forked as if it had done so itself. Does not wait for it.

    Args:
        life: the number that names the child's life.
        pid: of the child.
        crew: as in ``StartRequest``.
        fds: the writing end of the child's sentinel, and the template's end of its socket.

    Raises:
        OSError: the system refuses to send the descriptors.
        RuntimeError: the template that this process was started by has ended, and it ends, too.
    """
    request = REQUEST.pack(WATCH, life, pid, len(fds), crew, 0)
    with _link.lock:
        try:
            socket.send_fds(_connected(), [request], fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            if _link.pid is None:
                raise RuntimeError(_ENDED) from error
            _forget_template()  # killed: this child is none of those that died with it
            socket.send_fds(_connected(), [request], fds)


def park(nbytes: int) -> tuple[int, list[int]]:
    """In a worker whose pool has ended: wait for the job of the next one, asleep in a system call that nothing ends
    but that; this process dies with the template.

    Args:
        nbytes: of memory that this process alone has.

    Returns:
        The offset of the mailbox with the job, and the caller's standard descriptors. 0: there is none, end.
    """
    assert _link.socket is not None
    _link.socket.send(REQUEST.pack(PARK, 0, 0, nbytes, 0, 0))
    message, fds, _flags, _address = socket.recv_fds(_link.socket, JOB.size, 2)
    # Anything else answers a request that was broken off: what that has started is better found by this one's end.
    return (JOB.unpack(message)[0] if len(message) == JOB.size else 0), fds


def end_parked() -> bool:
    """End the workers that are parked for pools to come of this process, and wait until they have ended.

    False: there is no template that could do so, or it is just ending.
    """
    with _link.lock:
        if _link.socket is None or _link.owner != os.getpid():
            return False
        request = StartRequest(0)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            request.ask(_link.socket, END_PARKED)
        return bool(request._come and request._come[0][0])


def outlive_parent() -> None:
    """This process is not to be ended when its parent has: it will see to that itself. The template knows it then."""
    with _link.lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if _link.socket is not None and _link.owner == os.getpid():
            StartRequest(0).ask(_link.socket, OUTLIVE)


def end_family(pid: int, life: int) -> None:
    """Kill a child of the template, and all processes that it has started: by it, and by whatever else they used."""
    with _link.lock:
        if _link.socket is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _link.socket.send(REQUEST.pack(FAMILY, life, pid, 0, 0, 0))


def adopt_link(control: int) -> None:
    """In a child: its own socket to the template is ``control``."""
    if _link.socket is not None:  # its parent's
        _link.socket.close()
    _link.__init__()  # type: ignore[misc] # as new: what is there was the template's, or the parent's
    _link.socket = end_of(control)


def stop_template() -> None:
    """End the template, and with it every process still running. For the end of the program, and for tests."""
    with _link.lock:
        if _link.socket is not None and _link.pid is not None and _link.owner == os.getpid() and _forget_template():
            tracked.remove_left()  # which is the template's to do, and it was killed


def _forget_template() -> bool:
    """Whether it was killed."""
    assert _link.socket is not None
    assert _link.pid is not None
    _link.socket.close()
    status = 0
    with contextlib.suppress(ChildProcessError):
        status = os.waitpid(_link.pid, 0)[1]
    _link.socket = _link.pid = None
    _link.lost = True
    return status != 0


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# To be told that a template was killed, and its children with it; those that had not begun say nothing themselves.
when_lost: list[Callable[[], object]] = []


def _connected() -> socket.socket:
    if _link.socket is not None and _link.owner != os.getpid():
        # Forked by the user: this socket is the parent's, who would get our replies. A template of our own.
        _link.socket.close()
        _link.socket = _link.pid = None
    if _link.socket is None:
        segment.ensure()
        tracked.begin()
        _link.owner = os.getpid()
        try:
            ours, theirs = two_ends()
            with theirs:
                _link.pid = spawn_template(theirs.fileno(), _link.lost)
            if _link.lost:
                for tell in when_lost:
                    tell()
        except OSError as error:
            raise no_room(error.errno or 0) from error
        _link.socket = ours
    return _link.socket


def template_died(pid: int | None) -> None:
    """A sentinel was closed without a status: only the death of that template does that. A successor settles it."""
    if pid is not None and pid == _link.pid:
        _replace_template(0)


def check_template() -> None:
    """Called when a wait has lasted for seconds: has the template been killed? Its successor settles all deaths."""
    _replace_template(os.WNOHANG)


def _replace_template(how_to_wait: int) -> None:
    if _link.pid is None or _link.owner != os.getpid() or not _link.lock.acquire(blocking=False):
        return
    try:
        if _link.pid is None or os.waitpid(_link.pid, how_to_wait)[0] == 0:
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


# What is to be looked at when a wait of this process has lasted for seconds.
during_long_waits: list[Callable[[], object]] = [check_template]


def _look_around() -> None:
    for look in during_long_waits:
        look()


_native.on_long_wait(_look_around)


def _forked() -> None:
    """In a fork of the user's: the template is to hear of its death too, over the socket of its parent."""
    _link.lock = threading.RLock()  # a thread that is not here may have held it
    if _link.socket is not None and not is_forking():
        with contextlib.suppress(OSError):
            _link.socket.send(REQUEST.pack(FORKED, 0, os.getpid(), 0, 0, 0), socket.MSG_DONTWAIT)


def _has_forked() -> None:
    _link.has_forked |= not is_forking()


def is_forking() -> bool:
    """Whether this thread is in ``forking``; in the child too."""
    return _link.forking == threading.get_ident()


os.register_at_fork(after_in_parent=_has_forked, after_in_child=_forked)
