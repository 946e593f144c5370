"""A descriptor for event loops, where answers come by a queue of this process."""

from __future__ import annotations

import contextlib
import os

__all__ = ("Shown",)


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
