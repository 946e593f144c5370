"""Ending a process together with all that it has started, whatever started that."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("end_family", "end_started")

# A process that was told to stop does so within microseconds, unless the kernel keeps it; a look takes longer.
_LOOKS = 50
_STILL = "TtZX"  # of /proc/PID/stat: stopped, traced, ended


def end_family(roots: Iterable[int]) -> None:
    """Kill some processes and all their descendants.

    They are stopped first, so that none starts another while it is looked for. What has left its family before, by the
    end of its parent, is not found.

    Args:
        roots: children of this process, not waited for: their numbers are no other's.
    """
    family: dict[int, int | None] = {}  # pid -> pidfd; None for one that cannot be another's
    with contextlib.ExitStack() as stack:
        for pid in roots:
            family[pid] = None
            _send(pid, None, signal.SIGSTOP)
        for _ in range(_LOOKS):
            parents, still = _look()
            more = [pid for pid, parent in parents.items() if parent in family and pid not in family]
            if not more and all(pid not in parents or pid in still for pid in family):
                break
            for child in more:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    handle = os.pidfd_open(child)
                    stack.callback(os.close, handle)
                    if _stat(child)[1] == parents[child]:  # it is still the process that was found
                        family[child] = handle
                        _send(child, handle, signal.SIGSTOP)
        for pid, fd in family.items():
            _send(pid, fd, signal.SIGKILL)


def end_started() -> None:
    """Kill all that this process has started, and what that has. It itself goes on, and may start others."""
    me = os.getpid()
    end_family(pid for pid, parent in _look()[0].items() if parent == me)


def _send(pid: int, fd: int | None, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if fd is None:
            os.kill(pid, signum)
        else:
            signal.pidfd_send_signal(fd, signum)


def _look() -> tuple[dict[int, int], set[int]]:
    """Each process with its parent, and those that do nothing any more."""
    parents, still = {}, set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError):
                state, parent = _stat(int(entry))
                parents[int(entry)] = parent
                if state in _STILL:
                    still.add(int(entry))
    return parents, still


def _stat(pid: int) -> tuple[str, int]:
    with open(f"/proc/{pid}/stat") as f:
        words = f.read().rpartition(")")[2].split()  # the name before may have anything in it
    return words[0], int(words[1])
