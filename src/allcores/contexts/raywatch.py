"""That a cluster of Ray has ended: Ray itself says nothing for a minute, and then ends the program.

program ── a connection that carries nothing ──▶ gcs_server: it breaks when that ends
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from ray.exceptions import RayTaskError

from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Calls", "Watch", "first_line", "when_done")

# Seconds between attempts to reach it, where it may be started again.
_PAUSE = 0.2
# Of a machine that is gone, and cannot say so: seconds of silence, those between questions, and how many of these.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 4))


class Watch:
    """Waits for the end of a cluster, in a thread.

    Args:
        address: of its gcs_server.
        patience: how many seconds that may be unreachable. It may be started again, where somebody has seen to that.
        tell: what to call when it has ended.
    """

    def __init__(self, address: str, patience: float, tell: Callable[[str], object]) -> None:
        host, _, port = address.rpartition(":")
        self._to, self._patience, self._tell = (host, int(port)), patience, tell
        self._closed = threading.Event()
        self._connection: socket.socket | None = None
        threading.Thread(target=self._watch, name="allcores-watch", daemon=True).start()

    def _watch(self) -> None:
        while (connection := self._connect()) is not None:
            self._connection = connection
            with connection, contextlib.suppress(OSError):
                while not self._closed.is_set() and connection.recv(4096):
                    pass
            self._connection = None
        if not self._closed.is_set():
            self._tell("nobody is there any more")

    def _connect(self) -> socket.socket | None:
        deadline = time.monotonic() + self._patience
        while not self._closed.is_set():
            try:
                made = socket.create_connection(self._to, timeout=max(self._patience, 1))
            except OSError:
                if time.monotonic() >= deadline:
                    return None
                self._closed.wait(_PAUSE)
            else:
                made.settimeout(None)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEPALIVE:
                    made.setsockopt(socket.IPPROTO_TCP, option, value)
                return made
        return None

    def close(self) -> None:
        """It is of no interest any more."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Calls:
    """Calls of actors that somebody waits for: those that never end in a cluster that is gone."""

    def __init__(self) -> None:
        self._pending: set[Future[Any]] = set()
        self._lost: ClusterDied | None = None

    def carry(self, make: Callable[[], Any]) -> Future[Any]:
        """What a call gives that ``make`` begins. ClusterDied if the cluster, or the actor, is gone."""
        reply: Future[Any] = Future()
        self._pending.add(reply)
        reply.add_done_callback(self._pending.discard)
        if self._lost is not None:
            _settle(reply, self._lost)
            return reply
        try:
            ref = make()
        except Exception as error:  # noqa: BLE001 - this process has left the cluster
            _settle(reply, error)
        else:
            when_done(ref, lambda value: _settle(reply, value))
        return reply

    def lose(self, error: ClusterDied) -> None:
        """The cluster is gone."""
        self._lost = error
        for reply in list(self._pending):
            _settle(reply, error)


def _settle(reply: Future[Any], value: Any) -> None:
    with contextlib.suppress(InvalidStateError):  # it was lost
        if isinstance(value, ClusterDied):
            reply.set_exception(value)
        elif isinstance(value, RayTaskError):
            reply.set_exception(value.as_instanceof_cause())
        elif isinstance(value, BaseException):
            error = ClusterDied(f"a process of the Ray cluster is gone: {first_line(value)}")
            error.__cause__ = value
            reply.set_exception(error)
        else:
            reply.set_result(value)


def first_line(error: BaseException) -> str:
    """What Ray says first; the rest is a page."""
    return str(error).partition("\n")[0]


def when_done(ref: Any, tell: Callable[[Any], object]) -> None:
    """Have it told what came of a call: its value, or the error itself. From a thread of Ray, that must not block."""
    future = ref.future()
    future.add_done_callback(lambda done: tell(done.exception() or done.result()))
