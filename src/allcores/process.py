"""Process: start a function in a process of its own, wait for it, and have what it returned."""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from allcores import _native, chosen, codec, cores, installed, limits, standard, start
from allcores.base import BaseProcess, ChildProcess, MainProcess, current_process, parent_process
from allcores.deaths import MOST, Death
from allcores.faces import face
from allcores.forked import ForkRequest, death_of
from allcores.start import StartRequest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "BaseProcess",
    "ForkProcess",
    "ForkServerProcess",
    "Process",
    "SpawnProcess",
    "active_children",
    "current_process",
    "parent_process",
)

__getattr__ = face(__name__)

# What a message in a mailbox is: the job (from the parent), or how it ended (from the child).
JOB, RETURNED, RAISED = 0, 1, 2
_UNTOLD = -255  # no exit status came: the template died with the child


class Process(ChildProcess):
    """A function in a process of its own, as ``multiprocessing.Process``; and ``result()`` has what it returned.

    The function, its arguments and its result travel by value, lambdas and functions of ``__main__`` included;
    ``__main__`` is not imported again. Locks, queues, values and arrays travel by handle.

    Started by the start method of the program (``set_start_method``); ``get_context(method).Process`` by that method.
    """

    _start_method: str | None = None
    _crew = 0  # for a pool's worker: offset of the channel that is told of its death
    _place: Any = None  # likewise: what it has that the others have not (pool/places.py)
    _shape = 0  # likewise: of its pool, if it may be one that another pool has left
    _life = 0  # which of the lives of that pid is meant

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pid: int | None = None
        self._parent_pid = os.getpid()
        self._sentinel: int | None = None
        self._exitcode: int | None = None
        self._death: Death | None = None
        self._mailbox: _native.Channel | None = None
        self._outcome: tuple[int, Any] | None = None
        self._closed = False
        self._reaping = threading.Lock()
        self._template: int | None = None
        self._forked = False  # by this very process
        self._status: list[bytes] = []  # as read from the sentinel
        self._told: list[Any] = []  # as taken from the mailbox
        self._kept: list[Any] = []  # what the child cannot do without, and is not the child's alone

    def __getstate__(self) -> dict[str, Any]:
        left_here = ("_authkey", "_mailbox", "_sentinel", "_reaping", "_outcome", "_status", "_told")
        return {k: v for k, v in self.__dict__.items() if k not in left_here}

    def start(self) -> None:
        """Start the process. Returns when it has a pid.

        Raises:
            UnpicklableError: the function or an argument cannot travel.
            OSError: the system has no process or file descriptor left.
        """
        self._check_open()
        if self._pid is not None:
            raise AssertionError("a process can be started once: make a new Process")
        if self._parent_pid != os.getpid():
            raise AssertionError("a process is started by the process that made it")
        _reap_all()
        self._mailbox = _native.Channel(bound=2)  # two messages at most: these, and at the end the outcome
        request = self._request(self._mailbox)
        try:
            self._pid, self._sentinel = request.run()
            self._forked = isinstance(request, ForkRequest)
            self._life = request.life
            self._template = start.template_pid()
            _children.add(self)
        except BaseException:
            request.cancel()  # Ctrl-C: then it was not started
            _children.discard(self)
            self._pid = self._sentinel = None
            raise
        # As the standard does: the arguments need not live here as long as the process.
        del self._target, self._args, self._kwargs

    def _descent(self) -> tuple[int, ...]:
        identity: tuple[int, ...] = current_process()._identity
        return identity

    def _request(self, mailbox: _native.Channel) -> StartRequest | ForkRequest:
        context = self._start_method or chosen.fix()
        if chosen.method(context) == "fork":
            self._kept = standard.proxies((*self._args, *self._kwargs.values()))
            return ForkRequest(self, mailbox, context, self._crew)
        for prepare in list(start.before_start):
            prepare()
        mailbox.send(JOB, 0, self._surroundings(context) | (self._place.surroundings() if self._place else {}))
        with standard.Spawning() as spawning:
            mailbox.send(JOB, 0, self)
        self._kept = spawning.met
        return StartRequest(mailbox.offset, self._crew, self._shape, spawning.fds)

    def _surroundings(self, context: str) -> dict[str, Any]:
        """What the child must find as it is here: the template was started earlier, perhaps elsewhere.

        Args:
            context: that of the child, where it names none.
        """
        return {
            "context": context,
            "authkey": standard.key() if self._authkey is None else self._authkey,
            "cwd": os.getcwd(),
            "environ": dict(os.environ),
            "path": list(sys.path),
            "argv": list(sys.argv),
            "parent": current_process().name,
            "cpus": frozenset(os.sched_getaffinity(0)),
            "cores": cores.share(),
            "threads": limits.inherited(),
            "installed": installed.surroundings(),
            "logger": standard.logger(),
            "main": standard.main_for(self._target),
        }

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, at most ``timeout`` seconds. Never depends on anybody reading a queue."""
        self._check_started()
        if self._exitcode is None and self._has_ended(timeout):
            with self._reaping:
                self._reap()

    def _has_ended(self, timeout: float | None) -> bool:
        assert self._sentinel is not None
        poller = select.poll()
        poller.register(self._sentinel, select.POLLIN)
        forever = timeout is None or timeout > 1e6  # a timeout of weeks is as good as none, and fits every call
        return bool(poller.poll(None if forever else max(timeout or 0, 0) * 1000))

    def _reap(self) -> None:
        """Take what it left. Ctrl-C may come between any two lines, and nothing is lost: calls that it cannot split."""
        if self._exitcode is not None:  # another thread was faster
            return
        assert self._sentinel is not None
        if not self._status:
            self._status.extend(map(os.read, (self._sentinel,), (MOST,)))
        if self._mailbox is not None and not self._told:
            # A child that died before taking its job has left it here: that is not for this process to unpack.
            self._told.extend(map(self._mailbox.take_beyond, (JOB,)))
        if self._told and self._told[0] is not None:
            kind, broken, body = self._told[0]
            self._outcome = (RAISED if broken else kind, body)
        self._mailbox = None
        _children.discard(self)
        self._told.clear()
        self._death = self._death_as_told(self._status[0])
        self._exitcode = _UNTOLD if self._death.exitcode is None else self._death.exitcode
        self._kept = []

    def _death_as_told(self, told: bytes) -> Death:
        assert self._pid is not None
        if self._forked:
            return death_of(self._pid, told, self._template)
        if told:
            return Death.unpack(self._pid, told)
        start.template_died(self._template)
        return Death(self._pid, None)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return what the function returned, or raise what it raised.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
            WorkerDied: it was killed, or ended without returning (``os._exit``).
            BaseException: whatever the function raised; the remote traceback is its cause.
        """
        self.join(timeout)
        if self._exitcode is None:
            from allcores.errors import TimeoutError

            raise TimeoutError(f"{self._name} has not ended within {timeout} s; it goes on")
        if self._outcome is None:
            assert self._death is not None
            raise self._death.error()
        kind, body = self._outcome
        if kind == RETURNED:
            return body
        if isinstance(body, BaseException):
            raise body
        raise codec.unpack_error(body)

    def is_alive(self) -> bool:
        """Whether the process has been started and has not ended."""
        self._check_open()
        if self is current_process():
            return True
        if self._pid is None:
            return False
        self.join(0)
        return self._exitcode is None

    def terminate(self) -> None:
        """Ask the process to end, by SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process at once, by SIGKILL. What it had put into queues arrives."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        self._check_started()
        if self._exitcode is None:
            assert self._pid is not None
            start.send_signal(self._pid, signum, self._life)

    def close(self) -> None:
        """Let go of what the process holds here. Only after it has ended; afterwards it cannot be used.

        Raises:
            ValueError: it is still running: ``join()`` it first.
        """
        if self._closed:
            return
        if self._pid is not None:
            self.join(0)
            if self._exitcode is None:
                raise ValueError("the process is still running: join() or terminate() it before close()")
            assert self._sentinel is not None
            os.close(self._sentinel)
            self._sentinel = None
        self._closed = True

    @property
    def exitcode(self) -> int | None:
        self._check_open()
        if self._pid is not None and self._exitcode is None and self is not current_process():
            self.join(0)
        return 255 if self._exitcode == _UNTOLD else self._exitcode

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable when the process has ended, for ``select`` and its kin."""
        self._check_open()
        if self._sentinel is None:
            raise ValueError("the process is not started: start() it first")
        return self._sentinel

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # bound early: the very exit clears modules
        sentinel = getattr(self, "_sentinel", None)
        if sentinel is not None:
            close(sentinel)


class ForkProcess(Process):
    """A process that is a fork of who starts it."""

    _start_method = "fork"


class SpawnProcess(Process):
    """A process that has nothing of who starts it but what it is given."""

    _start_method = "spawn"


class ForkServerProcess(Process):
    """The same: both are forked by the template process."""

    _start_method = "forkserver"


_children: set[Process] = set()
# A forked child has the parent's children in its memory; they are not its own.
os.register_at_fork(after_in_child=_children.clear)


def active_children() -> list[Process]:
    """The processes that this one started and that have not ended."""
    _reap_all()
    return list(_children)


def _reap_all() -> None:
    for child in list(_children):
        try:
            child.join(0)
        except ValueError:  # another thread, such as a pool's keeper, has reaped and closed it meanwhile
            continue


def end_children() -> None:
    """As the standard does at exit: end the daemonic children, wait for the others."""
    standard.end()
    for child in active_children():
        if child.daemon:
            child.terminate()
    for child in active_children():
        child.join()


def _at_exit() -> None:
    if not isinstance(current_process(), MainProcess):
        return
    try:
        end_children()
    except KeyboardInterrupt:
        # One more Ctrl-C, while waiting for who did not end by the first: all end now. One traceback is enough.
        if getattr(sys, "last_type", None) is not KeyboardInterrupt:
            raise
    finally:
        start.stop_template()


atexit.register(_at_exit)
