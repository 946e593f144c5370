"""Answers that come by a queue of this process, and a descriptor for event loops that wait for them."""

from __future__ import annotations

import contextlib
import os
import queue
from typing import Any

__all__ = ("Answers", "Shown")


class Shown:
    """A descriptor that is readable while it is shown that something is there. Closed when nobody has it any more."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def show(self) -> None:
        """Something is there."""
        os.eventfd_write(self.fd, 1)

    def hide(self) -> None:
        """Nothing is, as far as is known."""
        with contextlib.suppress(BlockingIOError):  # nothing is shown
            os.eventfd_read(self.fd)

    def __del__(self) -> None:
        os.close(self.fd)


class Answers:
    """The messages of a crew whose workers' answers come by threads of this process."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[int, int, Any]] = queue.SimpleQueue()
        self._shown: Shown | None = None
        self.get = self._queue.get  # bound once: no frame of its own

    def put(self, message: tuple[int, int, Any]) -> None:
        """From any thread."""
        self._queue.put(message)
        shown = self._shown
        if shown is not None:
            shown.show()

    def fileno(self) -> int:
        """A descriptor that is readable while a message is there; to be asked for again after each look."""
        if self._shown is None:
            self._shown = Shown()
        self._shown.hide()
        if not self._queue.empty():
            self._shown.show()
        return self._shown.fd

    def end(self) -> None:
        """No event loop looks any more."""
        self._shown = None
