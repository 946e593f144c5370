"""The last words of a process: what it wrote to stderr last, kept where they outlive it.

    child     sys.stderr ──▶ descriptor 2
                   └───────▶ its region of one memory file ◀── faulthandler, when it crashes
    template  reads the region when the child has died, and clears it

What C code writes to descriptor 2 by itself is not caught: that would take a pipe, which somebody would have to empty
while the process lives. Where no descriptor is to be had, there are no last words.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import itertools
import os
import sys
from typing import Any

__all__ = ("NAME", "LastWords", "adopt", "begin_anew", "keep", "keep_in", "read")

# Of memory files: of the one for the template's children, and of one for each other.
NAME = "allcores-last-words"
# The memory file's descriptor, in the template and in every child.
FD = 5
# Of the memory file, for each child; pages that nobody wrote cost nothing. In it: the end of stderr, then the crash.
_REGION = 1 << 16
_CRASH_AT = 1 << 12
_KEPT = 2048
# What an error shows of it. Of a crash the first lines tell, of stderr the last.
_LINES = 10
_LINES_OF_CRASH = 7
_LINE = 200


class LastWords:
    """In the template: the memory file, and which child has which region."""

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._open = False
        try:
            fd = os.memfd_create(NAME)
        except OSError:
            return
        self._open = True
        if fd != FD:
            os.dup2(fd, FD, inheritable=False)
            os.close(fd)

    def reserve(self) -> int | None:
        """The number of a free region; None if there is no memory file."""
        if not self._open:
            return None
        number = next(n for n in itertools.count() if n not in self._taken)
        self._taken.add(number)
        return number

    def release(self, number: int | None) -> str:
        """What the process that had this region said last. The region is free again."""
        if number is None:
            return ""
        self._taken.discard(number)
        start = number * _REGION
        try:
            written, crash = _read(FD, start)
            os.pwrite(FD, bytes(len(written)), start)
            os.pwrite(FD, bytes(len(crash)), start + _CRASH_AT)
        except OSError:
            return ""
        return _told(written, crash)

    def clear(self, number: int | None) -> None:
        """The process that has this region begins anew: it has said nothing yet."""
        self.release(number)
        if number is not None:
            self._taken.add(number)


def read(fd: int) -> str:
    """What the process said last whose file this is."""
    return _told(*_read(fd, 0))


def _read(fd: int, start: int) -> tuple[bytes, bytes]:
    region = os.pread(fd, _REGION, start)
    return region[:_CRASH_AT].rstrip(b"\0"), region[_CRASH_AT:].rstrip(b"\0")


def _told(written: bytes, crash: bytes) -> str:
    """The lines that an error shows."""
    lines = _lines(written)
    if len(written) >= _KEPT:
        del lines[0]  # its beginning is lost
    crashed = [line for line in _lines(crash) if not line.startswith("Extension modules:") and not _is_ours(line)]
    if crashed:
        lines = lines[-(_LINES - _LINES_OF_CRASH) :] + crashed[:_LINES_OF_CRASH]
    return "\n".join(line[:_LINE] for line in lines[-_LINES:])


def _lines(data: bytes) -> list[str]:
    return [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]


def _is_ours(line: str) -> bool:
    """Whether a line of a crash is a frame of allcores, which leads to every job."""
    return f'File "{os.path.dirname(__file__)}{os.sep}' in line or 'File "<string>", line 1 in <module>' in line


def adopt() -> bool:
    """In a child: make the inherited memory file its own, with a position of its own. False if that cannot be."""
    try:
        fd = os.open(f"/proc/self/fd/{FD}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        os.close(FD)
        return False
    os.dup2(fd, FD, inheritable=False)
    os.close(fd)
    return True


_keeping = False
_fd = FD


def keep(number: int) -> None:
    """In a child of the template: from now on its last words are kept in this region."""
    _keep(FD, number * _REGION, sys.stderr is not None and sys.stderr.fileno() == 2)


def keep_in(fd: int) -> None:
    """In a fork of the program: likewise in this file. Not where the program has another stderr than it began with."""
    ours = sys.stderr is not None and sys.stderr is sys.__stderr__
    with contextlib.suppress(OSError, ValueError):  # closed
        _keep(fd, 0, ours and sys.stderr.fileno() == 2)


def _keep(fd: int, at: int, written: bool) -> None:
    global _keeping, _fd
    _keeping, _fd = True, fd
    if written:
        tee = io.BufferedWriter(_Tee(at))
        sys.stderr = io.TextIOWrapper(tee, sys.stderr.encoding, sys.stderr.errors, "\n", line_buffering=True)
        sys.stderr.mode = "w"  # type: ignore[misc] # as the interpreter sets it
        sys.__stderr__ = sys.stderr  # type: ignore[misc] # likewise one object
    if not faulthandler.is_enabled():  # else the user wants it elsewhere
        os.lseek(fd, at + _CRASH_AT, os.SEEK_SET)
        faulthandler.enable(fd, all_threads=False)


class _Tee(io.FileIO):
    """Standard error that remembers what was last written to it."""

    def __init__(self, at: int) -> None:
        super().__init__(2, "w", closefd=False)
        self.name = "<stderr>"
        self._at = at
        self._file = _identity()
        self._last = b""

    def begin_anew(self) -> None:
        self._last = b""

    def write(self, data: Any, /) -> int:
        count = super().write(data)
        self.remember(bytes(memoryview(data)[:count]))
        return count

    def remember(self, data: bytes) -> None:
        """This is being written, here or by another way."""
        if _keeping:
            self._last = (self._last + data)[-_KEPT:]
            with contextlib.suppress(OSError):  # no memory left for it
                if _identity() == self._file:  # else the user closed the descriptor, and it is something else now
                    os.pwrite(_fd, self._last, self._at)


def _identity() -> tuple[int, int]:
    """Which file the descriptor is open on."""
    status = os.fstat(_fd)
    return status.st_dev, status.st_ino


def begin_anew() -> None:
    """In a parked process: what it wrote in its last life is not its last words any more."""
    raw = getattr(getattr(sys.__stderr__, "buffer", None), "raw", None)
    if isinstance(raw, _Tee):
        raw.begin_anew()


def _stop_keeping() -> None:
    """In a process that the user forked from a child: the region is its parent's."""
    global _keeping
    if _keeping:
        _keeping = False
        faulthandler.disable()


os.register_at_fork(after_in_child=_stop_keeping)
