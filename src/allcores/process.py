"""Process: start a function in a process of its own, wait for it, and have what it returned."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from allcores import _native, codec, start
from allcores.errors import WorkerDied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("Process", "active_children", "current_process", "parent_process")

_RETURNED, _RAISED = 0, 1
_UNTOLD = -255  # no exit status came: the template died with the child


def check_call(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of a call, refused with the cure if they are no tuple and dict."""
    if not isinstance(args, tuple | list):
        raise TypeError(f"args must be a tuple: write ({codec.short_repr(args)},) for one argument")
    if kwargs is not None and not hasattr(kwargs, "keys"):
        raise TypeError(f"kwargs must be a dict of named arguments, not {codec.short_repr(kwargs)}")
    return tuple(args), dict(kwargs or {})


class BaseProcess:
    """What Process and Thread have in common: a name, a call, and how it ended."""

    _count = itertools.count(1)

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        if group is not None:
            raise TypeError("group must be None: it is there for the standard's sake only")
        if target is not None and not callable(target):
            raise TypeError(
                f"target must be callable, not {codec.short_repr(target)}: write target=job, not target=job()"
            )
        self._target = target
        self._args, self._kwargs = check_call(args, kwargs)
        self._name = name or f"{type(self).__name__}-{next(type(self)._count)}"
        self._daemon = bool(current_process().daemon if daemon is None else daemon)

    @property
    def name(self) -> str:
        """A name for people; not unique."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def daemon(self) -> bool:
        """Whether it is ended with its parent instead of being waited for. To be set before ``start``."""
        return self._daemon

    @daemon.setter
    def daemon(self, daemon: bool) -> None:
        if self._started():
            raise AssertionError("daemon must be set before start()")
        self._daemon = bool(daemon)

    def run(self) -> Any:
        """What the new process does: call the target. A subclass may do something else."""
        return self._target(*self._args, **self._kwargs) if self._target else None

    def start(self) -> None:
        """Begin. Once only."""
        raise NotImplementedError

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most ``timeout`` seconds."""
        raise NotImplementedError

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return what the function returned, or raise what it raised."""
        raise NotImplementedError

    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        raise NotImplementedError

    def terminate(self) -> None:
        """Ask it to end."""
        raise NotImplementedError

    def kill(self) -> None:
        """End it at once."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what it holds here. Only after it has ended; afterwards it cannot be used."""
        raise NotImplementedError

    @property
    def pid(self) -> int | None:
        """Process id; None before ``start``."""
        raise NotImplementedError

    @property
    def exitcode(self) -> int | None:
        """None while it runs, then 0, the code of ``sys.exit``, 1 after an error, -N after signal N."""
        raise NotImplementedError

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable when it has ended."""
        raise NotImplementedError

    def _started(self) -> bool:
        raise NotImplementedError


class Process(BaseProcess):
    """A function in a process of its own, as ``multiprocessing.Process``; and ``result()`` has what it returned.

    The function, its arguments and its result travel by value, lambdas and functions of ``__main__`` included;
    ``__main__`` is not imported again. Locks, queues, values and arrays travel by handle.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pid: int | None = None
        self._parent_pid = os.getpid()
        self._sentinel: int | None = None
        self._exitcode: int | None = None
        self._mailbox: _native.Channel | None = None
        self._outcome: tuple[int, Any] | None = None
        self._closed = False
        self._reaping = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        left_here = ("_mailbox", "_sentinel", "_reaping", "_outcome")
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
        self._mailbox = _native.Channel(bound=2)
        self._mailbox.send(0, 0, (_surroundings(), self))
        self._pid, self._sentinel = start.request_start(self._mailbox.offset)
        _children.add(self)
        # As the standard does: the arguments need not live here as long as the process.
        del self._target, self._args, self._kwargs

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, at most ``timeout`` seconds. Never depends on anybody reading a queue."""
        self._check_started()
        deadline = None if timeout is None else time.monotonic() + max(timeout, 0)
        with _HeldUntil(self._reaping, deadline) as mine:
            if not mine or self._exitcode is not None:
                return
            assert self._sentinel is not None
            poller = select.poll()
            poller.register(self._sentinel, select.POLLIN)
            left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
            if poller.poll(left):
                self._reap()

    def _reap(self) -> None:
        assert self._sentinel is not None
        status = os.read(self._sentinel, start._STATUS.size)
        self._exitcode = start._STATUS.unpack(status)[0] if status else _UNTOLD
        _children.discard(self)
        self._take_outcome()

    def _take_outcome(self) -> None:
        if self._mailbox is None:
            return
        while (message := self._mailbox.receive(0)) is not None:
            _zero, kind, body = message
            if kind & _native.BROKEN:
                self._outcome = (_RAISED, body)
            elif kind != 0 or _zero != 0:
                self._outcome = (kind, body)
        self._mailbox = None

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
            assert self._pid is not None
            raise WorkerDied(self._pid, None if self._exitcode == _UNTOLD else self._exitcode)
        kind, body = self._outcome
        if kind == _RETURNED:
            return body
        if isinstance(body, BaseException):
            raise body
        raise codec.unpack_error(body)

    def is_alive(self) -> bool:
        """Whether the process has been started and has not ended."""
        self._check_open()
        if self is _current:
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
            start.send_signal(self._pid, signum)

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
    def pid(self) -> int | None:
        """Process id; None before ``start``."""
        self._check_open()
        return self._pid

    @property
    def ident(self) -> int | None:
        """The same as ``pid``."""
        return self.pid

    @property
    def exitcode(self) -> int | None:
        self._check_open()
        if self._pid is not None and self._exitcode is None and self is not _current:
            self.join(0)
        return 255 if self._exitcode == _UNTOLD else self._exitcode

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable when the process has ended, for ``select`` and its kin."""
        self._check_open()
        if self._sentinel is None:
            raise ValueError("the process is not started: start() it first")
        return self._sentinel

    @property
    def authkey(self) -> bytes:
        """The standard's key for its own connections; allcores has no use for it."""
        import multiprocessing

        return bytes(multiprocessing.current_process().authkey)

    def _started(self) -> bool:
        return self._pid is not None

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the process object is closed")

    def _check_started(self) -> None:
        self._check_open()
        if self._pid is None:
            raise AssertionError("the process is not started: start() it first")
        if self._parent_pid != os.getpid():
            raise AssertionError("only the process that started it can do that")

    def __del__(self) -> None:
        sentinel = getattr(self, "_sentinel", None)
        if sentinel is not None:
            os.close(sentinel)

    def __repr__(self) -> str:
        if self._closed:
            state = "closed"
        elif self is _current or self._parent_pid != os.getpid():
            state = "started"
        else:
            code = self.exitcode
            state = "initial" if self._pid is None else "started" if code is None else f"stopped exitcode={code}"
        return f"<{type(self).__name__} name={self._name!r} pid={self._pid} {state}{' daemon' if self._daemon else ''}>"


class _MainProcess(BaseProcess):
    """The process that the program began in."""

    def __init__(self) -> None:
        self._name, self._daemon = "MainProcess", False

    @property
    def pid(self) -> int:
        return os.getpid()

    def is_alive(self) -> bool:
        return True

    def _started(self) -> bool:
        return True


_current: Any = _MainProcess()
_parent: Any = None
_children: set[Process] = set()


def current_process() -> Any:
    """The Process object of this process: name, pid, daemon."""
    return _current


def parent_process() -> Any:
    """A Process-like object of the process that started this one; None in the main process."""
    return _parent


def active_children() -> list[Process]:
    """The processes that this one started and that have not ended."""
    _reap_all()
    return list(_children)


def _reap_all() -> None:
    for child in list(_children):
        child.join(0)


class _HeldUntil:
    """Hold a lock, waiting for it until a deadline; tells whether it is held."""

    def __init__(self, lock: threading.Lock, deadline: float | None) -> None:
        self.lock = lock
        self.deadline = deadline
        self.held = False

    def __enter__(self) -> bool:
        left = -1 if self.deadline is None else max(self.deadline - time.monotonic(), 0)
        self.held = self.lock.acquire(timeout=left)
        return self.held

    def __exit__(self, *exc_info: object) -> None:
        if self.held:
            self.lock.release()


# In the child.


class _Parent:
    """The parent, as its child sees it."""

    def __init__(self, pid: int, name: str) -> None:
        self.pid = self.ident = pid
        self.name = name
        self.daemon = False

    def is_alive(self) -> bool:
        return True  # were it dead, this process would be as well


def _surroundings() -> dict[str, Any]:
    """What the child must find as it is here: the template was started earlier, perhaps elsewhere."""
    return {
        "cwd": os.getcwd(),
        "environ": dict(os.environ),
        "path": list(sys.path),
        "argv": list(sys.argv),
        "parent": current_process().name,
    }


def _settle_in(found: dict[str, Any], parent: int) -> None:
    global _parent
    with contextlib.suppress(OSError):  # a directory that is gone was no use to the parent either
        os.chdir(found["cwd"])
    if dict(os.environ) != found["environ"]:
        os.environ.clear()
        os.environ.update(found["environ"])
    sys.path[:], sys.argv[:] = found["path"], found["argv"]
    sys.stdin = open(os.devnull)  # noqa: SIM115 - for the life of the process
    _parent = _Parent(parent, found["parent"])
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # or all children would draw the template's numbers


def run_child(mailbox_at: int, parent: int) -> int:
    """Do the job in the mailbox and leave its outcome there. Returns the exit code."""
    global _current
    mailbox = _native.Channel(offset=mailbox_at)
    _zero, broken, body = mailbox.receive()
    code = 1
    try:
        if broken:
            raise body
        found, process = body
        _settle_in(found, parent)
        process.__dict__.update(
            _pid=os.getpid(), _mailbox=None, _sentinel=None, _reaping=threading.Lock(), _outcome=None
        )
        _current = process
        value = process.run()
        code = 0
        _post(mailbox, _RETURNED, value)
    except SystemExit as error:
        code = _exit_code(error)
        _post(mailbox, _RAISED, codec.pack_error(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's to handle
        packed = codec.pack_error(error)
        code = 1
        name = _current.name
        print(f"Process {name}:\n{packed[2]}", end="", file=sys.stderr)
        _post(mailbox, _RAISED, packed)
    finally:
        threading._shutdown()  # type: ignore[attr-defined] # what the interpreter's own exit does: join the threads
        end_children()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
    return code


def _post(mailbox: _native.Channel, kind: int, body: Any) -> None:
    mailbox.send(1, kind, body)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def end_children() -> None:
    """As the standard does at exit: end the daemonic children, wait for the others."""
    for child in active_children():
        if child.daemon:
            child.terminate()
    for child in active_children():
        child.join()


def _at_exit() -> None:
    if _current.pid == os.getpid() and isinstance(_current, _MainProcess):
        end_children()
        start.stop_template()


atexit.register(_at_exit)
