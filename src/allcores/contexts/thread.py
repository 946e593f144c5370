"""The thread context: the same program in threads of this process. Objects are shared, not copied."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from allcores import cores, several
from allcores.base import BaseProcess, current_process, here, running
from allcores.connection import Connection
from allcores.context import Context
from allcores.contexts import local
from allcores.contexts.threadcrew import ThreadCrew
from allcores.errors import NotSupported
from allcores.localqueues import LocalJoinableQueue, LocalQueue, LocalSimpleQueue

if TYPE_CHECKING:
    from allcores.pool.plan import Plan

__all__ = ("Thread", "ThreadContext")

_alive: set[Thread] = set()


class Thread(BaseProcess):
    """A thread with the interface of ``Process``: start, join, result, exitcode.

    It cannot be killed: ``terminate`` and ``kill`` raise ``NotSupported``. ``pid`` is that of this process.
    """

    _count = itertools.count(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._thread: threading.Thread | None = None
        self._begun = False
        self._ended = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None
        self._exitcode: int | None = None
        self._closed = False
        self._joinable: set[LocalJoinableQueue] = set()  # it took items of them
        self._ends: list[Connection] = []

    def start(self) -> None:
        """Start the thread."""
        self._check_open()
        if self._started():
            raise AssertionError("a thread can be started once: make a new one")
        self._lend()
        self._thread = threading.Thread(
            target=self._run_with, args=(cores.share(),), name=self._name, daemon=self._daemon
        )
        self._begun = True
        _alive.add(self)
        self._thread.start()

    def _lend(self) -> None:
        """Connections among the arguments: the thread has ends of its own, as a process has, closed when it ends."""

        def lent(value: Any) -> Any:
            if isinstance(value, Connection) and value._is_local():
                self._ends.append(value._lend())
                return self._ends[-1]
            return value

        self._args = tuple(map(lent, self._args))
        self._kwargs = {name: lent(value) for name, value in self._kwargs.items()}

    def _run_with(self, share: int | None) -> None:
        cores.adopt_in_thread(share)
        self._run()

    def _run(self) -> None:
        running.thread = self
        try:
            self._value = self.run()
            self._exitcode = 0
        except SystemExit as error:
            self._error = error
            code = error.code
            self._exitcode = 0 if code is None else code & 0xFF if isinstance(code, int) else 1
        except BaseException as error:  # noqa: BLE001 - result() raises it
            self._error, self._exitcode = error, 1
            import traceback

            text = "".join(traceback.format_exception(error))
            print(f"Thread {self._name}:\n{text}", end="", file=sys.stderr)
        finally:
            for end in self._ends:
                end.close()
            _alive.discard(self)
            self._ended.set()
            for each in self._joinable:
                each.look_again()
            self._joinable.clear()
            several.tell()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, at most ``timeout`` seconds."""
        self._check_started()
        assert self._thread is not None
        self._thread.join(None if timeout is None else max(timeout, 0))

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return what the function returned, or raise what it raised.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
        """
        self.join(timeout)
        if not self._ended.is_set():
            from allcores.errors import TimeoutError

            raise TimeoutError(f"{self._name} has not ended within {timeout} s; it goes on")
        if self._error is not None:
            raise self._error
        return self._value

    def is_alive(self) -> bool:
        """Whether the thread has been started and has not ended."""
        self._check_open()
        return self._started() and not self._ended.is_set()

    def terminate(self) -> None:
        """Not possible: a thread cannot be ended from outside."""
        raise NotSupported(
            "a thread cannot be terminated: use the process context, or have the function look at an Event"
        )

    kill = terminate

    def close(self) -> None:
        """Let go of the thread after its end."""
        if not self._closed and self._started() and not self._ended.is_set():
            raise ValueError("the thread is still running: join() it before close()")
        self._closed = True

    @property
    def pid(self) -> int | None:
        """The id of this process; None before ``start``."""
        self._check_open()
        return os.getpid() if self._started() else None

    @property
    def ident(self) -> int | None:
        """The thread's own number; None before ``start``."""
        return self._thread.ident if self._thread else None

    @property
    def exitcode(self) -> int | None:
        """None while it runs, then 0, the code of ``sys.exit``, or 1 after an error."""
        self._check_open()
        return self._exitcode if self._ended.is_set() else None

    @property
    def sentinel(self) -> int:
        """Not possible: a thread has no file descriptor to wait for."""
        raise NotSupported("a thread has no sentinel: join() it, or use the process context")

    def _is_ready(self) -> bool:
        self._check_started()
        return self._ended.is_set()

    def _started(self) -> bool:
        return self._begun

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the thread object is closed")

    def _check_started(self) -> None:
        self._check_open()
        if not self._started():
            raise AssertionError("the thread is not started: start() it first")

    def __repr__(self) -> str:
        state = (
            "closed"
            if self._closed
            else "started"
            if not self._ended.is_set()
            else f"stopped exitcode={self._exitcode}"
        )
        return f"<{type(self).__name__} name={self._name!r} {state if self._started() else 'initial'}>"


class Process(Thread):
    """A ``Process`` that is a thread of this process."""

    _count = itertools.count(1)


class ThreadContext(Context):
    """Work runs in threads of this process."""

    name = "thread"
    Process = Process
    Thread = Thread
    _is_here = True

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> LocalQueue:  # noqa: N802
        return LocalQueue(maxsize, max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> LocalJoinableQueue:  # noqa: N802
        return LocalJoinableQueue(maxsize, max_bytes=max_bytes)

    def SimpleQueue(self) -> LocalSimpleQueue:  # noqa: N802
        return LocalSimpleQueue()

    def _pipe_ends(self) -> Any:
        return local.make_pipe()

    def _crew(self, plan: Plan) -> ThreadCrew:
        return ThreadCrew(plan)

    def current_process(self) -> Any:
        return here() or current_process()

    def active_children(self) -> list[Any]:
        return list(_alive)
