"""Another template in the place of the one that is there: it has imported something, or is of another interpreter."""

from __future__ import annotations

import os
import signal

from allcores import spawn
from allcores.protocol import END_PARKED, two_ends
from allcores.spawn import READY, first_word, spawn_template
from allcores.start import StartRequest, _forget_template, _link

__all__ = ("renew", "set_executable")


def renew(names: list[str], deadline: float) -> frozenset[str] | None:
    """Have a template in the place of this one that has imported these modules. The parked end.

    Args:
        names: of modules.
        deadline: on the monotonic clock: if it is not ready by then, this template stays.

    Returns:
        The packages that are not to be tried again; nothing if all is well. None: not now, it has children.
    """
    with _link.lock:
        if _link.socket is None or _link.pid is None or _link.owner != os.getpid() or _link.has_forked:
            return None
        if StartRequest(0).ask(_link.socket, END_PARKED):
            return None
        ours, theirs = two_ends()
        with theirs:
            pid = spawn_template(theirs.fileno(), _link.lost, names)
        told = b""
        try:
            told = first_word(ours, deadline)
            if told == READY:
                # Ctrl-C between any two: one of them is this program's template, and the other is ended.
                ours, pid, _link.socket, _link.pid = _link.socket, _link.pid, ours, pid
        finally:
            ours.close()
            if pid != _link.pid:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return frozenset() if told == READY else frozenset(told.decode().split() or names)


def set_executable(path: str | bytes | os.PathLike[str] | None) -> None:
    """Have another interpreter for templates to come: this one ends, if it has no children."""
    with _link.lock:
        if not spawn.set_executable(path) or _link.socket is None or _link.pid is None or _link.owner != os.getpid():
            return
        if not _link.has_forked and not StartRequest(0).ask(_link.socket, END_PARKED):
            _forget_template()
