"""What a pool asks of a context: a crew of workers. The one seam between the two.

    engine ── learn(func) -> known ──────────────▶ crew
           ── send(task, known.call | mode, payload) ▶   ──▶ some worker: run_task
           ◀── receive() -> (task, info, body) ──        ◀── its answer, or news of its death

``call`` names a function above its low byte, which is a Mode. ``info`` is an Outcome in the low byte and a number above
it: nanoseconds spent for CHUNK, the item for DIED. Plain ints, because an Enum would cost a microsecond a task.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Protocol

from allcores import _native

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Crew", "Known", "LocalCrew", "Mode", "Outcome", "run_task")


class Mode:
    """How a task's payload is to be called."""

    CALL = 0  # func(*payload)
    KEYWORDS = 1  # payload is (args, kwargs)
    CHUNK = 2  # [func(x) for x in payload]
    STAR = 4  # with CHUNK: func(*x)
    STOP = 8  # with CHUNK: the first error ends it


class Outcome:
    """What a message from a crew says."""

    VALUE = 0  # body is what the call returned
    ERROR = 1  # body is what it raised, packed
    CHUNK = 2  # body is (results, [(index, error), ...]); info is nanoseconds
    DIED = 3  # the worker died in this task (0: in none); body is pid << 32 | status
    STARTED = 4  # a worker is ready; body is its pid
    BROKEN = 5  # the initializer raised; body is the error, packed
    RETIRED = 6  # a worker has ended after maxtasksperchild tasks; body is its pid
    WAKE = 7  # nothing: look whether what you wait for is there


class Known:
    """A function that the workers of a crew can be told to call."""

    __slots__ = ("call", "func", "uses")

    def __init__(self, func: Callable[..., Any], key: int) -> None:
        self.func = func
        self.call = key << 8
        self.uses = 0  # results that are still to come


class Crew(Protocol):
    """The workers of one pool, in one context."""

    size: int
    # Whether the crew calls functions in this very process: errors then need no packing.
    local: bool

    def learn(self, func: Callable[..., Any]) -> Known:
        """Make the function known to the workers. Raises UnpicklableError where it cannot travel."""
        ...

    def forget(self, known: Known) -> None:
        """One result of the function has come: the counterpart of one ``learn``."""
        ...

    def send(self, task: int, call: int, payload: Any, /) -> None:
        """Hand a task to whichever worker is free first. Never blocks for a worker."""
        ...

    def receive(self, timeout: float | None = None, /) -> tuple[int, int, Any] | None:
        """The next message of the crew, in any order of tasks; None if none came in time."""
        ...

    def wake(self) -> None:
        """Make a blocked ``receive`` return, with WAKE."""
        ...

    def replace(self, pid: int) -> None:
        """Start a worker in the place of the one that ended."""
        ...

    def finish(self) -> None:
        """Let the workers end after the tasks they have, and wait for them."""
        ...

    def abort(self) -> None:
        """End the workers now; tasks are lost. Can be called twice."""
        ...


class LocalCrew:
    """The part of a crew that is the same wherever functions need not travel."""

    local = True

    def __init__(self) -> None:
        self._functions: dict[int, Callable[..., Any]] = {}
        self._keys = itertools.count(1)

    def learn(self, func: Callable[..., Any]) -> Known:
        """Remember the function."""
        key = next(self._keys)
        self._functions[key] = func
        return Known(func, key)

    def forget(self, known: Known) -> None:
        """Forget the function."""
        self._functions.pop(known.call >> 8, None)

    def replace(self, pid: int) -> None:
        """Never called: nobody dies here without the program."""
        raise AssertionError("workers of this context do not die")


def run_task(func: Callable[..., Any], mode: int, payload: Any) -> tuple[int, Any]:
    """Run one task: ``(info, body)`` of its answer. Errors come back, they are not raised."""
    try:
        if mode & Mode.CHUNK:
            results, errors, spent = _native.run_chunk(func, payload, bool(mode & Mode.STAR), bool(mode & Mode.STOP))
            return Outcome.CHUNK | spent << 8, (results, errors)
        if mode & Mode.KEYWORDS:
            return Outcome.VALUE, func(*payload[0], **payload[1])
        return Outcome.VALUE, func(*payload)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it fails the item, not the worker
        return Outcome.ERROR, error
