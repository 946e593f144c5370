"""What Process and Thread have in common, and which of them this process is."""

from __future__ import annotations

import itertools
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from allcores import _native, codec, standard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = (
    "BaseProcess",
    "ChildProcess",
    "ParentProcess",
    "check_call",
    "current_process",
    "here",
    "parent_process",
    "running",
    "titled",
)

# Called in a child of the start method `fork`, for what its parent was and it is not: a pool's worker.
in_fork: list[Callable[[], object]] = []

# Of each thread: the Thread object of ours that runs in it, as ``thread``.
running = threading.local()


def here() -> Any:
    """The Thread object that runs here; None in the program itself."""
    return getattr(running, "thread", None)


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
    _authkey: bytes | None = None  # where it is another than that of its parent

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
        self._identity: tuple[int, ...] = (*self._descent(), next(type(self)._count))
        self._name = name or f"{type(self).__name__}-{':'.join(map(str, self._identity))}"
        self._daemon = bool(current_process().daemon if daemon is None else daemon)

    @property
    def name(self) -> str:
        """A name for people; not unique."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        if not isinstance(name, str):
            raise AssertionError(f"name must be a string, not {codec.short_repr(name)}")
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

    @property
    def authkey(self) -> bytes:
        """The key by which managers, ``Listener`` and ``Client`` of the standard's know each other.

        One for all processes of a program, made at random. Set before ``start``, it is that of this process and of
        those that it starts; so is one that is set for ``current_process()``, from then on.
        """
        return standard.authentication(standard.key() if self._authkey is None else self._authkey)

    @authkey.setter
    def authkey(self, key: bytes) -> None:
        if self is _current:
            standard.set_key(bytes(key))
        else:
            self._authkey = bytes(key)

    def _descent(self) -> tuple[int, ...]:
        """The numbers of its ancestors, which it has before its own: none where the program is one process."""
        return ()

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


class ChildProcess(BaseProcess):
    """A process that this one has started: its pid, its state, and who may ask."""

    _pid: int | None
    _parent_pid: int
    _closed: bool

    @property
    def pid(self) -> int | None:
        """Process id, on the machine where it runs; None before ``start``."""
        self._check_open()
        return self._pid

    @property
    def ident(self) -> int | None:
        """The same as ``pid``."""
        return self.pid

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

    def __repr__(self) -> str:
        pid = "" if self._pid is None else f" pid={self._pid}"
        parent, daemon = self._parent_pid, " daemon" if self._daemon else ""
        return f"<{type(self).__name__} name={self._name!r}{pid} parent={parent} {self._state()}{daemon}>"

    def _state(self) -> str:
        if self is _current:
            return "started"
        if self._closed:
            return "closed"
        if self._parent_pid != os.getpid():
            return "unknown"
        if self._pid is None:
            return "initial"
        code = self.exitcode
        if code is None:
            return "started"
        name = next((f"-{signum.name}" for signum in signal.Signals if signum == -code), code)
        return f"stopped exitcode={name}"


class MainProcess(BaseProcess):
    """The process that the program began in."""

    def __init__(self) -> None:
        self._name, self._daemon, self._identity = "MainProcess", False, ()

    @property
    def pid(self) -> int:
        return os.getpid()

    ident = pid

    @property
    def exitcode(self) -> None:
        return None

    @property
    def sentinel(self) -> int:
        raise ValueError("the main process has no sentinel: it was not started by another one")

    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing, as the standard does."""

    def _started(self) -> bool:
        return True


class ParentProcess(BaseProcess):
    """The process that started this one, as its child sees it.

    A child is ended with its parent. But one that is not daemonic and has looked whether its parent lives, or waits for
    its end, sees to itself: it goes on, at the longest until the program ends.
    """

    def __init__(self, pid: int, name: str, outlive: Callable[[], object]) -> None:
        self._pid = pid
        self._name, self._daemon, self._identity = name, False, ()
        self._outlive = outlive
        self._ended: int | None = None

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def ident(self) -> int:
        """The same as ``pid``."""
        return self._pid

    @property
    def exitcode(self) -> int | None:
        return None

    @property
    def sentinel(self) -> int:
        if self._ended is None:
            if not _current.daemon:
                self._outlive()
            try:
                self._ended = os.pidfd_open(self._pid)  # its number is nobody else's: it would be our end as well
            except ProcessLookupError:
                self._ended = os.eventfd(1, os.EFD_CLOEXEC)
        return self._ended

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most ``timeout`` seconds."""
        poll = select.poll()
        poll.register(self.sentinel, select.POLLIN)
        poll.poll(None if timeout is None else max(timeout, 0) * 1000)

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        poll = select.poll()
        poll.register(self.sentinel, select.POLLIN)
        return not poll.poll(0)

    def _started(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self._name!r} pid={self._pid}>"


_current: Any = MainProcess()
_parent: Any = None


def become(process: BaseProcess, parent: Any) -> None:
    """In a child: this process is the one that this object, just arrived, describes."""
    global _current, _parent
    running.thread = None
    process.__dict__.update(_pid=os.getpid(), _mailbox=None, _sentinel=None, _reaping=threading.Lock(), _outcome=None)
    _current, _parent = process, parent
    standard.introduce(process, parent)
    BaseProcess._count = itertools.count(1)  # the children of this life
    _native.set_name(process.name)
    _native.set_title(titled(process.name))


def titled(name: str) -> str:
    """What ``ps`` is to show for a process of this name: whose it is, too. ``top`` shows 15 letters, _ for a blank."""
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    return f"{name} of {script}" if script not in ("", "-c") else f"{name} of python"


def current_process() -> Any:
    """The Process object of this process: name, pid, daemon."""
    return _current


def parent_process() -> Any:
    """A Process-like object of the process that started this one; None in the main process."""
    return _parent
