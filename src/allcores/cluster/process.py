"""Process of a cluster: a function in a process of its own, wherever the engine places it."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from allcores import codec
from allcores.base import BaseProcess, ChildProcess
from allcores.cluster import parcel
from allcores.cluster.objects import HostedObject, pack_noted, seconds
from allcores.deaths import Death
from allcores.errors import ClusterDied
from allcores.pool.shown import Shown

if TYPE_CHECKING:
    from allcores.cluster.context import ClusterContext
    from allcores.cluster.link import Origin

__all__ = ("ClusterProcess", "active_children", "end_children")

_children: set[ClusterProcess] = set()
os.register_at_fork(after_in_child=_children.clear)


class Ending(HostedObject):
    """The end of a process, which the hosts know."""

    _kind = "Ending"

    def __init__(self, origin: Origin, owner: str, handles: tuple[tuple[int, str], ...]) -> None:
        self._make(origin, owner, handles)


class ClusterProcess(ChildProcess):
    """A process of a cluster; see ``allcores.Process``.

    It runs beside a worker, on its machine, and ends with that worker, and with the process that started it. ``pid`` is
    that of the machine where it runs.
    """

    _context: ClassVar[Any] = None  # of the class that a context has

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parent_pid = os.getpid()
        self._pid: int | None = None
        self._ending: Ending | None = None
        self._outcome: tuple[int | None, bytes | None, str] | None = None
        self._shown: Shown | None = None
        self._closed = False

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_ending", "_outcome", "_shown")}

    def start(self) -> None:
        """Start it. Returns when it has a pid.

        Raises:
            UnpicklableError: the function or an argument cannot travel.
            ClusterDied: the cluster is gone.
        """
        self._check_open()
        if self._pid is not None:
            raise AssertionError("a process can be started once: make a new Process")
        if self._parent_pid != os.getpid():
            raise AssertionError("a process is started by the process that made it")
        context: ClusterContext = self._context
        made, handles = pack_noted(_Job(self))
        fleet, origin = context._fleet(), context._origin()
        self._ending = Ending(origin, fleet.link.node, handles)
        self._pid = fleet.launch(origin, self._ending._oid, self._name, list(sys.path), made)
        _children.add(self)
        del self._target, self._args, self._kwargs

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most ``timeout`` seconds."""
        self._check_started()
        if self._outcome is None:
            assert self._ending is not None
            self._outcome = self._ending._call("wait", timeout=seconds(True, timeout))
            if self._outcome is not None:
                _children.discard(self)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return what the function returned, or raise what it raised; see ``Process.result``."""
        self.join(timeout)
        if self._outcome is None:
            from allcores.errors import TimeoutError

            raise TimeoutError(f"{self._name} has not ended within {timeout} s; it goes on")
        code, told, stderr = self._outcome
        if told is None:
            assert self._pid is not None
            raise Death(self._pid, code, stderr=stderr).error()
        well, body = pickle.loads(told)
        if well:
            return parcel.unpack(body)
        raise codec.unpack_error(body)

    def is_alive(self) -> bool:
        """Whether it has been started and has not ended."""
        self._check_open()
        if self._pid is None:
            return False
        self.join(0)
        return self._outcome is None

    def terminate(self) -> None:
        """Ask it to end, by SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, signum: int) -> None:
        self._check_started()
        if self._outcome is None:
            assert self._ending is not None
            self._ending._call("signal", int(signum))

    def close(self) -> None:
        """Let go of what it holds here. Only after it has ended."""
        if self._closed:
            return
        if self._pid is not None:
            self.join(0)
            if self._outcome is None:
                raise ValueError("the process is still running: join() or terminate() it before close()")
        self._shown = None
        self._closed = True

    @property
    def exitcode(self) -> int | None:
        """None while it runs, then as of ``Process``; 255 if its worker has ended, and nobody knows."""
        self._check_open()
        if self._pid is not None:
            self.join(0)
        if self._outcome is None:
            return None
        return 255 if self._outcome[0] is None else self._outcome[0]

    @property
    def sentinel(self) -> int:
        """A file descriptor that is readable when it has ended."""
        self._check_open()
        if self._ending is None:
            raise ValueError("the process is not started: start() it first")
        if self._shown is None:
            shown = self._shown = Shown()
            link = self._ending._link
            asked = link._ask(link.request(self._ending._oid, "wait"))
            asked.add_done_callback(lambda _reply: shown.show())  # it has ended, or nobody will know
        return self._shown.fd


class _Job:
    """What goes to the process: of a class of ours the call, of a subclass the object; and where it was started.

    The environment stays the machine's own, and the directory where there is none of that name.
    """

    def __init__(self, process: ClusterProcess) -> None:
        self._directory, self._argv = os.getcwd(), list(sys.argv)
        plain = type(process).run is BaseProcess.run
        self._process = None if plain else process
        self._call = (process._target, process._args, process._kwargs) if plain else None

    def run(self) -> Any:
        """Do it."""
        sys.argv[:] = self._argv
        with contextlib.suppress(OSError):
            os.chdir(self._directory)
        if self._process is not None:
            return self._process.run()
        assert self._call is not None
        target, args, kwargs = self._call
        return target(*args, **kwargs) if target else None


def active_children() -> list[Any]:
    """The processes that this one started and that have not ended."""
    return [child for child in list(_children) if child.is_alive()]


def end_children(kind: Any) -> None:
    """The program ends: of the processes of that class, the daemonic ones are ended, the others waited for."""
    mine = [child for child in list(_children) if isinstance(child, kind)]
    with contextlib.suppress(ClusterDied):  # and they with it
        for child in mine:
            if child._daemon:
                child.terminate()
        for child in mine:
            child.join()
