"""The lot: workers whose pool has ended well, kept by the template for the next pool of the same shape.

    worker ──PARK──▶ template: for its pool, it has ended         pool ──START──▶ template ──JOB──▶ worker: a new life

They stay children of the template, asleep in a system call: they cost memory, and that only for a while. Which of them
are there the template alone knows, and it does one thing at a time: so none is given away twice, and the death of one
is noticed before it is given away, or told to the pool that it was given to.
"""

from __future__ import annotations

import time
from typing import Generic, Protocol, TypeVar

from allcores import _native

__all__ = ("STAY", "Lot")

# Seconds: a notebook's next cell comes sooner, and a program that needs no pool for so long has other uses for memory.
STAY = 30.0
# All that are parked may keep so much of the memory that is to be had: an eighth.
_SHARE_OF_MEMORY = 8
# What even an empty one costs: pages it does not share for long, and the kernel's own.
_LEAST_BYTES = 4 << 20
# To find out how much memory is to be had costs more than to park a worker.
_BETWEEN_LOOKS = 1.0


class Parkable(Protocol):
    """What the lot has to know of a process."""

    parent: int
    shape: int


P = TypeVar("P", bound=Parkable)


class Lot(Generic[P]):
    """Who is parked. Knows nothing of processes but whose they are: ending them is the template's."""

    def __init__(self) -> None:
        self._parked: dict[P, tuple[float, int]] = {}  # until when, and with how much memory; the last comer last
        self._room = 0
        self._looked = -_BETWEEN_LOOKS

    def __contains__(self, one: P) -> bool:
        return one in self._parked

    def add(self, one: P, nbytes: int) -> bool:
        """Whether it is kept: not if together they would have too much memory."""
        now = time.monotonic()
        if now - self._looked >= _BETWEEN_LOOKS:
            self._room, self._looked = _native.available_memory() // _SHARE_OF_MEMORY, now
        nbytes = max(nbytes, _LEAST_BYTES)
        if nbytes + sum(have for _until, have in self._parked.values()) > self._room:
            return False
        self._parked[one] = now + STAY, nbytes
        return True

    def take(self, parent: int, shape: int) -> P | None:
        """Give one away: of that parent and that shape, and the last comer, whose memory is warm."""
        for one in reversed(self._parked):
            if one.parent == parent and one.shape == shape:
                del self._parked[one]
                return one
        return None

    def discard(self, one: P) -> None:
        """It has ended."""
        self._parked.pop(one, None)

    def all_of(self, parent: int | None = None) -> list[P]:
        """Who is parked, of that parent or of all."""
        return [one for one in self._parked if parent in (None, one.parent)]

    def overdue(self) -> list[P]:
        """Who has been there for too long."""
        now = time.monotonic()
        return [one for one, (until, _have) in self._parked.items() if until <= now]

    def patience_ms(self) -> int | None:
        """How long until one is overdue; None if nobody is there."""
        if not self._parked:
            return None
        first = min(until for until, _have in self._parked.values())
        return max(0, int((first - time.monotonic()) * 1000) + 1)
