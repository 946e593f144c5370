"""SIGUSR1, sent to the program, prints the stacks of all its threads and workers to stderr."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from allcores import _native
from allcores.base import MainProcess, current_process

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("Lines", "lines_of", "listen")

# Of each frame: file, line, function. The innermost first.
Lines = list[tuple[str, int, str]]

# Seconds for workers that do not answer: they are stopped.
_PATIENCE = 5.0

_asked = False


def listen() -> None:
    """Have the signal do that, unless it means something else here. Once: whatever it is set to later stays."""
    global _asked
    if _asked or threading.current_thread() is not threading.main_thread():
        return
    _asked = True
    if isinstance(current_process(), MainProcess) and not _native.is_handled(signal.SIGUSR1):
        signal.signal(signal.SIGUSR1, _handle)


def lines_of(frame: FrameType | None) -> Lines:
    """What a frame and those around it are at."""
    lines: Lines = []
    while frame is not None:
        lines.append((frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name))
        frame = frame.f_back
    return lines


def _handle(_signum: int, frame: FrameType | None) -> None:
    """The main thread may be in the middle of anything, and hold any lock: so the rest is for another one."""
    import _thread

    own = {ident: lines_of(each) for ident, each in sys._current_frames().items()}
    own[threading.get_ident()] = lines_of(frame)
    with contextlib.suppress(RuntimeError):  # the program is ending, or there is no room for a thread
        _thread.start_new_thread(_print, (own,))


def _print(own: dict[int, Lines]) -> None:
    from allcores import stacks
    from allcores.pool.dump import in_words, readable
    from allcores.pool.watched import open_pools

    names = {each.ident: each.name for each in threading.enumerate()}
    parts = [
        f"{names.get(i, i)} of the program (pid {os.getpid()})\n{readable(in_words(lines))}" for i, lines in own.items()
    ]
    mine = set()
    for pool in list(open_pools):
        parts.append(f"{pool!r}\n\n{pool.dump(timeout=_PATIENCE)}")
        mine |= {record.pid for record in pool._engine.crew.records()}
    inner = [each for each in _native.workers(0) if each[0] not in mine]
    for pid, text in stacks.ask(inner, _PATIENCE).items():
        name = next(each[1] for each in inner if each[0] == pid)
        parts.append(f"{name} (pid {pid}), of a pool in a worker\n{readable(text or '  it does not answer')}")
    os.write(2, "\n".join([*parts, ""]).encode(errors="backslashreplace"))
