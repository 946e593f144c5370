"""How many items go into one task: as many as take about a millisecond, by the time they have taken so far."""

from __future__ import annotations

import itertools
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from allcores.pool.engine import is_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Chunker",)

# A task costs some 10 us on the way. Ten times the aim saves nothing more; a tenth makes that a tenth of the work.
_AIM_NS = 1_000_000
# One fast item says little about the next: sizes grow by steps.
_GROWTH = 8


class Chunker:
    """Cuts an iterable into chunks, lazily.

    Args:
        items: any iterable; consumed only as chunks are asked for.
        workers: how many share the work: towards the end of an input of known length chunks shrink, so that all end
            together.
        size: a fixed chunk size instead of the measured one.
        most: no chunk is larger.
    """

    def __init__(self, items: Iterable[Any], workers: int, size: int | None, most: int) -> None:
        self.sequence = items if isinstance(items, list | tuple | range) else None
        self._items = iter(items)
        self.sized = isinstance(items, Sized)
        self._left: int | None = len(items) if isinstance(items, Sized) else None
        self.total = self._left  # None: nobody knows
        self._workers = workers
        self.fixed = size
        self._most = most
        self._size = 1
        self._ns = self._items_of_ns = 0.0
        self._next = 0
        self._error: BaseException | None = None

    def _pull(self, size: int) -> list[Any]:
        """The next items of the iterator. If it raises in the middle, what came before still counts; then the error."""
        if self._error is not None:
            raise self._error
        chunk: list[Any] = []
        try:
            chunk.extend(itertools.islice(self._items, size))
        except BaseException as error:
            if not chunk or is_ctrl_c(error):
                raise
            self._error = error
        return chunk

    def measured(self, items: int, ns: int) -> None:
        """Learn that a chunk of so many items took so many nanoseconds of a worker.

        Slower than before counts at once. Quicker counts as the rest is forgotten, by half with each chunk: where one
        item in ten is slow, nine quick ones are no reason for a chunk of hundreds.
        """
        self._ns = self._ns / 2 + ns
        self._items_of_ns = self._items_of_ns / 2 + items
        per_item = max(ns / items, self._ns / self._items_of_ns, 1)
        self._size = max(1, min(int(_AIM_NS / per_item), self._size * _GROWTH, self._most))

    def size(self, beside: int = 0) -> int:
        """How many items are to go into the next chunk.

        Args:
            beside: so many items of the input are there besides those that are not drawn yet.
        """
        if self.fixed is not None:
            return self.fixed
        if self._left is None and not beside:
            return self._size
        return min(self._size, max(1, ((self._left or 0) + beside) // (2 * self._workers)))

    @property
    def position(self) -> int:
        """Index of the item that comes next."""
        return self._next

    def next(self, most: int | None = None, exactly: int | None = None) -> tuple[int, list[Any]] | None:
        """The index of its first item, and the next chunk; None at the end of the input.

        Args:
            most: no more items than this.
            exactly: so many, whatever their time was; fewer only where the input ends or raises.
        """
        size = exactly or (self.size() if most is None else min(self.size(), most))
        start = self._next
        chunk = self._pull(size) if self.sequence is None else list(self.sequence[start : start + size])
        if not chunk:
            return None
        self._next += len(chunk)
        if self._left is not None:
            self._left = max(self._left - len(chunk), 0)
        return start, chunk
