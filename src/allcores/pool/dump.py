"""What every worker of a pool is doing right now: ``Pool.dump()``."""

from __future__ import annotations

import linecache
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.pool.onsignal import lines_of
from allcores.pool.statistics import ANSWERING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allcores.pool.engine import Engine
    from allcores.pool.onsignal import Lines
    from allcores.pool.statistics import Record

__all__ = ("dump", "in_words", "readable", "stacks_of_threads")


def dump(engine: Engine, timeout: float | None) -> str:
    """All workers: who each is, what it is at and for how long, and its stacks."""
    records = engine.crew.records()
    stacks = engine.crew.stacks(timeout)
    parts = []
    for record in records:
        stack = stacks.get(record.name)
        text = readable(stack) if stack else "  it has ended, or is stopped, and does not answer\n"
        parts.append(f"{record.name} (pid {record.pid}): {_at_what(engine, record)}\n{text}")
    return "\n".join(parts)


def _at_what(engine: Engine, record: Record) -> str:
    if not record.life:
        return f"starting, for {record.since:.1f} s"
    if not record.task:
        return f"idle, for {record.since:.1f} s"
    return f"in {_told(engine._tasks.get(record.task), record.item)}, for {record.since:.1f} s"


def _told(task: Any, item: int) -> str:
    """A task in words; it may be just over."""
    job = getattr(task, "job", None)
    if job is None:
        known = getattr(task, "_known", None)
        if known is None:
            return "a task"
        return f"a call of {_name(known.func)} with {codec.short_repr(task._what)}"
    chunk, at = task.items, task.start
    which = f"items {at} to {at + len(chunk) - 1} of the input"
    if len(chunk) == 1:
        which = f"item {at} of the input, {codec.short_repr(chunk[0])}"
    elif item == ANSWERING:
        which += ", sending its results"
    elif item < len(chunk) and not job.engine.crew.local:
        which = f"item {at + item} of the input, {codec.short_repr(chunk[item])}, of {which}"
    return f"{_name(job.func)}: {which}"


def _name(func: Any) -> str:
    return getattr(func, "__qualname__", None) or type(func).__name__


def stacks_of_threads(threads: Iterable[tuple[str, int]]) -> dict[str, str | None]:
    """The stacks of threads of this process, by the names given for them."""
    frames = sys._current_frames()
    return {name: in_words(lines_of(frames[thread])) if thread in frames else None for name, thread in threads}


def in_words(lines: Lines) -> str:
    """A stack as faulthandler writes it."""
    frames = [f'  File "{file}", line {line} in {name}' for file, line, name in lines]
    return "\n".join(["Stack (most recent call first):", *frames])


_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


def readable(text: str) -> str:
    """Stacks with the lines of the program, and without the frames of allcores that lead to every job."""
    told = []
    for stack in text.strip("\n").split("\n\n"):
        lines = stack.splitlines()
        while len(lines) > 2 and _leads_to_jobs(lines[-1]):
            lines.pop()
        for line in lines:
            told.append(line)
            frame = _FRAME.fullmatch(line)
            source = linecache.getline(frame[1], int(frame[2])).strip() if frame else ""
            if source:
                told.append(f"    {source}")
        told.append("")
    return "\n".join(told)


def _leads_to_jobs(line: str) -> bool:
    frame = _FRAME.fullmatch(line)
    if frame is None:
        return False
    file, number, name = frame.groups()
    if file == threading.__file__:
        return name in ("run", "_bootstrap", "_bootstrap_inner")
    return file.startswith(_OURS) or (file, number, name) == ("<string>", "1", "<module>")  # that of the template
