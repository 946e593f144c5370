"""``multiprocessing.reduction``: the standard's own. What is registered there, our messages ask for too."""

from __future__ import annotations

from multiprocessing import reduction
from typing import Any

from allcores import standard
from allcores.connection import Connection
from allcores.faces import face

__all__ = tuple(reduction.__all__)

__getattr__ = face(__name__)


def send_handle(conn: Any, handle: int, destination_pid: int | None) -> None:
    """Send a file descriptor over a connection, one of ours or the standard's. It stays open here.

    Who receives it over one of ours asks a thread of the standard's in this process for it: this process has to live
    until then.
    """
    if isinstance(conn, Connection):
        conn.send(standard.send_descriptor(handle))
    else:
        reduction.send_handle(conn, handle, destination_pid)


def recv_handle(conn: Any) -> int:
    """Wait for a file descriptor that ``send_handle`` sent: a new one, the receiver's to close.

    Raises:
        EOFError: nothing is left, and the other end is closed.
        RuntimeError: something else came.
    """
    if not isinstance(conn, Connection):
        return int(reduction.recv_handle(conn))
    came = conn.recv()
    if not hasattr(came, "detach"):
        raise RuntimeError(f"a descriptor was to come, not {came!r}: the other end has to use send_handle()")
    return int(came.detach())
