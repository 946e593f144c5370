"""How the template process is spawned: a fresh interpreter with two descriptors, and nothing else of this process."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from allcores import _native, installed, tracked

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

__all__ = (
    "CONTROL_FD",
    "FIRST_FREE_FD",
    "READY",
    "SEGMENT_FD",
    "first_word",
    "freeze_support",
    "set_executable",
    "spawn_template",
)

# File descriptors of the template and of every child: the segment, and the socket to the template.
SEGMENT_FD, CONTROL_FD, FIRST_FREE_FD = 3, 4, 6  # 5: lastwords.py

# What a template says that has imported all that it was to; else the packages that it cannot be forked with.
READY = b"ready"
_MOST = 4096


# The interpreter of templates, where it is not this process's own.
_executable: str | None = None


def set_executable(path: str | bytes | os.PathLike[str] | None) -> bool:
    """Have templates run in this interpreter. Whether that is another one than before."""
    global _executable
    before = _executable or sys.executable
    _executable = None if path is None else os.fsdecode(path)
    return before != (_executable or sys.executable)


# A program frozen into one executable is its own interpreter, and takes no code: it finds it in freeze_support().
_FROZEN = "--allcores-template"


def freeze_support() -> None:
    """In a frozen program that was started to be a template: be one, and do not return. Else do nothing."""
    if _is_frozen_template():
        exec(sys.argv[2], {})


def _is_frozen_template() -> bool:
    return getattr(sys, "frozen", False) and sys.argv[1:2] == [_FROZEN]


def _command(code: str) -> list[str]:
    if _is_frozen_template():  # it would start itself again, and that again
        raise RuntimeError("a frozen program has to call allcores.freeze_support() first, before it uses processes")
    interpreter = _executable or sys.executable
    if not interpreter:
        raise RuntimeError("sys.executable names no interpreter for processes: call allcores.set_executable(path)")
    if getattr(sys, "frozen", False) and _executable is None:
        return [interpreter, _FROZEN, code]
    return [interpreter, *_interpreter_flags(), "-c", code]


def spawn_template(control: int, take_over: bool, names: Sequence[str] = ()) -> int:
    """Start a template, which imports while this process goes on. Its pid.

    Args:
        control: its end of the socket between it and this process.
        take_over: it settles what a template before it has left.
        names: modules that it is to import before it says READY; without any, it says nothing.
    """
    # Before the packages that take names from the standard library: children are forked with what these have then.
    first = "from allcores import installed; installed.install(); " if names and installed.is_installed() else ""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; {first}from allcores.template import serve; "
        f"serve({os.getpid()}, {'numpy' in sys.modules!r}, {take_over!r}, {list(names)!r}, {tracked.places()!r})"
    )
    argv = _command(code)
    # Past the two it is given, the template inherits nothing that is not meant for everybody: Python's descriptors
    # close on exec. Copies first: were the socket 3 itself, giving it the segment would close it.
    high: list[int] = []
    try:
        high += [_high_copy(_native.segment_fd())]
        high += [_high_copy(control)]
        actions = [(os.POSIX_SPAWN_DUP2, high[0], SEGMENT_FD), (os.POSIX_SPAWN_DUP2, high[1], CONTROL_FD)]
        # Ctrl-C goes to all processes of the terminal: held back until the template ignores it. And where SIGCHLD is
        # ignored, as this process may do, nobody is told how a child has ended.
        held, as_usual = [signal.SIGINT], [signal.SIGCHLD]
        return os.posix_spawn(argv[0], argv, os.environ, file_actions=actions, setsigmask=held, setsigdef=as_usual)
    finally:
        for fd in high:
            os.close(fd)


def _high_copy(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_FD)


def _interpreter_flags() -> list[str]:
    if not (sys.warnoptions or sys._xoptions or any(sys.flags)):
        return []
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined]

    flags: list[str] = _args_from_interpreter_flags()
    return flags


def first_word(sock: socket.socket, deadline: float) -> bytes:
    """What a template says before it serves; nothing if it ended, or has not spoken by the deadline."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    if not poller.poll(max(deadline - time.monotonic(), 0) * 1000):
        return b""
    try:
        return sock.recv(_MOST)
    except ConnectionResetError:
        return b""
