"""A process that dies at a named step, and what is known about it afterwards."""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import allcores

if TYPE_CHECKING:
    from collections.abc import Callable

# What the test build has and the stub does not know: steps, take_trace, die_at, peek, poke, next_message, block_place.
native: Any = importlib.import_module("allcores._native")

PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Death:
    """How far the victim came. ``steps`` are all it would have come to; it died at the one with index ``at``."""

    steps: list[str]
    at: int
    pid: int

    def passed(self, step: str, nth: int = 1) -> bool:
        """Whether it came to this step for the nth time; to die there counts."""
        return self.steps[: self.at + 1].count(step) >= nth


class Run:
    """One round of a scenario. Its victim dies at step ``at`` of ``steps``; without them it lives, and notes them."""

    def __init__(self, note: Path, steps: list[str] | None = None, at: int = -1) -> None:
        self.note = note
        self.steps = steps or []
        self.at = at
        note.unlink(missing_ok=True)

    @property
    def lives(self) -> bool:
        return self.at < 0

    def order(self) -> tuple[str, str, int]:
        """What the victim needs to know: where to note, at which step to die, and when it comes there how often."""
        if self.lives:
            return str(self.note), "", 0
        step = self.steps[self.at]
        return str(self.note), step, self.steps[: self.at + 1].count(step)

    def victim(self, func: Callable[..., object], *args: object) -> Death:
        """Have a process call the function, and die in it where this run says."""
        process = allcores.Process(target=live_or_die, args=(self.order(), func, args))
        process.start()
        process.join(PATIENCE)
        if self.lives:
            process.result()
        else:
            assert process.exitcode == -signal.SIGKILL, f"the victim ended with {process.exitcode}"
        pid = process.pid
        process.close()
        assert pid is not None
        return self.death(pid)

    def death(self, pid: int = 0) -> Death:
        """The death that has happened. Asserts that it has, at its step: no test passes because nobody died."""
        said = self.note.read_text()
        if self.lives:
            self.steps = said.split()
            assert self.steps, "the victim came to no step at all"
            return Death(self.steps, len(self.steps), pid)
        assert said == self.steps[self.at], f"died at {said or 'no step'} instead of {self.steps[self.at]}"
        return Death(self.steps, self.at, pid)


def begin(order: tuple[str, str, int]) -> None:
    """In the victim: from here on steps count."""
    note, step, nth = order
    native.take_trace()
    if step:
        native.die_at(step, nth, note)


def finish(order: tuple[str, str, int]) -> None:
    """In the victim, which has lived: note the steps it came to."""
    steps = native.take_trace()
    if not order[1]:
        Path(order[0]).write_text("\n".join(steps))


def live_or_die(order: tuple[str, str, int], func: Callable[..., object], args: tuple[object, ...]) -> None:
    begin(order)
    func(*args)
    finish(order)


def kill_at(note: Path, step: str, func: Callable[..., object], *args: object) -> int:
    """Have a process die at the first such step in the function, and return its pid."""
    note.unlink(missing_ok=True)
    process = allcores.Process(target=live_or_die, args=((str(note), step, 1), func, args))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL
    assert note.read_text() == step
    note.unlink()
    pid: int = process.pid
    process.close()
    return pid


class Stopped:
    """A process that stops at a step, as if it had no CPU any more; for deaths of several at once."""

    def __init__(self, place: Path, step: str, func: Callable[..., object], *args: object) -> None:
        fifo = place / f"{step}.{os.urandom(4).hex()}"
        os.mkfifo(fifo)
        self.process = allcores.Process(target=stop_at, args=(str(fifo), step, func, args))
        self.process.start()
        self.said = fifo.read_text()  # comes when it is there
        assert self.said == step
        fifo.unlink()


def stop_at(note: str, step: str, func: Callable[..., object], args: tuple[object, ...]) -> None:
    native.die_at(step, 1, note, stop=True)
    func(*args)
