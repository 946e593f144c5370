"""In a template: the import of large packages that the program has, so that its workers need not; see preload.py.

Whatever such an import does, the program must not be hurt by it: nothing depends on this process yet. It reads nothing,
what it prints goes nowhere, and when the program ends in the middle of it, it does too.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from allcores import limits, segment
from allcores.spawn import READY

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("import_all",)


# Threads that stay through a fork, and whose library sees to it that the child can do without: jemalloc's, of pyarrow.
_FORKABLE = ("jemalloc_bg_thd",)


def import_all(control: int, names: list[str]) -> None:
    """Import these modules, and tell so through the socket. Does not return if the process cannot be forked with them.

    Args:
        control: descriptor of the socket to the program, which says nothing before it is told.
        names: of modules; what cannot be imported is left out.
    """
    _end_with(control, True)
    segment.forbidden = True
    with _quiet(), limits.restrained():
        threaded = [
            package for package in dict.fromkeys(name.partition(".")[0] for name in names) if _adds(package, names)
        ]
    segment.forbidden = False
    limits.learn()
    gc.freeze()  # the children share these pages as long as nobody writes to them
    fit = not threaded or _has_one_thread_after_a_fork()
    _end_with(control, False)
    with socket.socket(fileno=os.dup(control)) as sock:
        sock.send(READY if fit else " ".join(threaded).encode())
    if not fit:
        os._exit(0)


def _adds(package: str, names: list[str]) -> bool:
    """Import what is of this package. Whether that has started threads."""
    before = _threads()
    for name in names:
        if name == package or name.startswith(package + "."):
            with contextlib.suppress(BaseException):  # what fails here, fails in the worker that wants it, and is told
                importlib.import_module(name)
    return _threads() > before


def _threads() -> int:
    names = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm") as f:  # else it has just ended
            names.append(f.read().strip())
    return sum(name not in _FORKABLE for name in names)


def _has_one_thread_after_a_fork() -> bool:
    """Threads that a fork takes care of, as those of OpenBLAS, have ended then; others might hold a lock in it."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return _threads() == 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    saved = [os.dup(fd) for fd in (1, 2)]
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)
    try:
        yield
    finally:
        for fd, before in zip((1, 2), saved, strict=True):
            os.dup2(before, fd)
            os.close(before)


def _end_with(control: int, on: bool) -> None:
    """Have the system end this process when the other end of the socket is closed, even if an import hangs."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(control, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(control, fcntl.F_GETFL)
    fcntl.fcntl(control, fcntl.F_SETFL, flags | os.O_ASYNC if on else flags & ~os.O_ASYNC)
