"""Pipes inside one process. Objects are handed over, not copied."""

from __future__ import annotations

import errno
import os
import pickle
import threading
import time
from collections import deque
from typing import Any, NamedTuple

from allcores import several
from allcores.connection import write_into

__all__ = ("LocalEnd", "make_pipe")


class _Bytes(NamedTuple):
    """What was given to ``send_bytes``: as it was then."""

    data: bytes


class _Direction:
    """What is on its way, and how many ends each side has."""

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.changed = threading.Condition()
        self.receivers = self.senders = 0
        self.shown: int | None = None  # an eventfd that is readable while `ready()`; under the condition

    def ready(self) -> bool:
        return bool(self.items) or not self.senders

    def update(self) -> None:
        """With the condition held: somebody looks again."""
        self.changed.notify_all()
        if self.shown is None:
            return
        os.eventfd_write(self.shown, 1)
        if not self.ready():
            os.eventfd_read(self.shown)


class LocalEnd:
    """One side of one direction inside this process."""

    def __init__(self, direction: _Direction, sends: bool, patient: bool) -> None:
        self._direction, self._sends, self._patient = direction, sends, patient
        self._closed = False
        with direction.changed:
            if sends:
                direction.senders += 1
            else:
                direction.receivers += 1

    def lend(self) -> LocalEnd:
        """Another end of the same side."""
        self._check_open()
        return LocalEnd(self._direction, self._sends, self._patient)

    def send(self, obj: Any, /) -> None:
        """Hand the object over."""
        direction = self._direction
        with direction.changed:
            self._check_open()
            if not direction.receivers:
                raise BrokenPipeError(errno.EPIPE, "the other end of this connection is closed")
            direction.items.append(obj)
            direction.update()
        several.tell()

    def send_bytes(self, buffer: Any) -> None:
        """Hand a copy of the bytes over: the buffer is the sender's."""
        self.send(_Bytes(bytes(buffer)))

    def recv(self) -> Any:
        """Wait for an object."""
        got = self._take()
        return pickle.loads(got.data) if isinstance(got, _Bytes) else got

    def recv_bytes(self) -> bytes:
        """Wait for bytes."""
        got = self._take()
        return got.data if isinstance(got, _Bytes) else pickle.dumps(got)

    def recv_bytes_into(self, buffer: Any, offset: int) -> int | bytes:
        """Wait for bytes; those themselves where they do not fit."""
        return write_into(buffer, offset, self.recv_bytes())

    def _take(self) -> Any:
        direction = self._direction
        with direction.changed:
            if not self._wait(None):
                from allcores.errors import WouldBlockForever

                raise WouldBlockForever("recv() on an empty pipe")
            if not direction.items:
                raise EOFError("the other end of this connection is closed, and nothing is left to receive")
            got = direction.items.popleft()
            direction.update()
            return got

    def poll(self, timeout: float | None = None) -> bool:
        """Wait until something is there, or the end."""
        with self._direction.changed:
            ready = self._wait(timeout)
        if not ready and timeout is None:
            from allcores.errors import WouldBlockForever

            raise WouldBlockForever("poll() of an empty pipe")
        return ready

    def _wait(self, timeout: float | None) -> bool:
        """With the condition held. False: not in time, or nobody could end the wait."""
        deadline = None if timeout is None or timeout > 1e6 else time.monotonic() + timeout
        while True:
            self._check_open()
            left = None if deadline is None else deadline - time.monotonic()
            if self._direction.ready():
                return True
            if not self._patient or (left is not None and not left > 0):
                return False
            self._direction.changed.wait(left)

    def fileno(self) -> int:
        """A descriptor that is readable while something is there, or the end."""
        with self._direction.changed:
            self._check_open()
            if self._direction.shown is None:
                self._direction.shown = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._direction.update()
            return self._direction.shown

    def _is_ready(self) -> bool:
        self._check_open()
        return self._direction.ready()

    def close(self) -> None:
        """Let go of the side; it is gone when its last end is."""
        direction = self._direction
        with direction.changed:
            if self._closed:
                return
            self._closed = True
            if self._sends:
                direction.senders -= 1
            else:
                direction.receivers -= 1
            if not direction.receivers:
                direction.items.clear()
            direction.update()
            if not direction.receivers and direction.shown is not None:
                os.close(direction.shown)
                direction.shown = None
        several.tell()

    __del__ = close

    def _check_open(self) -> None:
        if self._closed:
            raise OSError("handle is closed")


def make_pipe(patient: bool = True) -> tuple[LocalEnd, LocalEnd]:
    """A new direction: who receives, and who sends. Not ``patient``: nobody else runs who could end a wait."""
    direction = _Direction()
    return LocalEnd(direction, False, patient), LocalEnd(direction, True, patient)
