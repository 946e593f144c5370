"""How many items go into one task: as many as take about a millisecond, by the time they have taken so far."""

from __future__ import annotations

import itertools
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores.pool.options import NO_OPTIONS
from allcores.pool.waiting import is_ctrl_c
from allcores.pool.weight import weight_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from allcores.pool.options import Options

__all__ = ("PACE", "Chunker", "Pace")


class Pace(NamedTuple):
    """What chunks are to be like in a context. Times in nanoseconds."""

    aim: int  # what a chunk is to take
    growth: int  # one fast item says little about the next: sizes grow by such steps
    least: int  # also the last chunks of an input are to take as long as this: to send smaller ones would take longer


# A task costs some 10 us on the way. Ten times the aim saves nothing more; a tenth makes that a tenth of the work.
PACE = Pace(aim=1_000_000, growth=8, least=0)
# Without a limit of bytes: what a core copies in about the time that a chunk is to take, a few times over.
_MOST_BYTES = 8 << 20


class Chunker:
    """Cuts an iterable into chunks, lazily.

    Args:
        items: any iterable; consumed only as chunks are asked for.
        workers: how many share the work: towards the end of an input of known length chunks shrink, so that all end
            together.
        size: a fixed chunk size instead of the measured one.
        most: no chunk is larger.
        options: of the call; ``max_bytes`` and ``buffersize`` make chunks smaller.
        pace: that of the context.
    """

    def __init__(
        self,
        items: Iterable[Any],
        workers: int,
        size: int | None,
        most: int,
        options: Options = NO_OPTIONS,
        pace: Pace = PACE,
    ) -> None:
        self.sequence = items if isinstance(items, list | tuple | range) else None
        self._items = iter(items)
        self.sized = isinstance(items, Sized)
        self._left: int | None = len(items) if isinstance(items, Sized) else None
        self.total = self._left  # None: nobody knows
        self._workers = workers
        self.fixed = size
        self._most = most
        # Where bytes or items on the way are limited, each worker is to have some of them.
        self._weighs = options.max_bytes is not None
        self._most_bytes = _MOST_BYTES if options.max_bytes is None else options.max_bytes // (workers + 1)
        self._item_bytes = 0.0
        self._buffered = options.buffersize
        self._held: list[Any] = []  # drawn, and too heavy for the chunk that was cut then
        self._pace = pace
        self._size = self._least = 1
        self._ns = self._items_of_ns = 0.0
        self.position = 0  # index of the item that comes next
        self.allowed: int | None = None  # so many items may be drawn now
        self._error: BaseException | None = None

    def _pull(self, size: int, light: bool) -> list[Any]:
        """The next items of the iterator. If it raises in the middle, what came before still counts; then the error.

        With a fixed size what came before is no chunk yet, and lost, as in the standard library.
        """
        if self._error is not None and not self._held:
            raise self._error
        chunk: list[Any] = []
        try:
            if light:
                self._pull_light(chunk, size)
            else:
                chunk.extend(itertools.islice(itertools.chain(self._take_held(), self._items), size))
        except BaseException as error:
            if not chunk or self.fixed is not None or is_ctrl_c(error):
                raise
            self._error = error
        return chunk

    def _pull_light(self, chunk: list[Any], size: int) -> None:
        """Likewise, no more than may be on the way at a time, and no other beside one that is heavier than that."""
        weight = 0
        while len(chunk) < size:
            if not self._held:
                self._held.extend(itertools.islice(self._items, 1))
            if not self._held:
                return
            weight += weight_of(self._held[0])
            if chunk and weight > self._most_bytes:
                return
            chunk.append(self._held.pop())

    def _take_held(self) -> Iterator[Any]:
        while self._held:
            yield self._held.pop()

    @property
    def drawn(self) -> int:
        """How many items were drawn from the input."""
        return self.position + len(self._held)

    def measured(self, items: int, ns: int) -> None:
        """Learn that a chunk of so many items took so many nanoseconds of a worker.

        Slower than before counts at once. Quicker counts as the rest is forgotten, by half with each chunk: where one
        item in ten is slow, nine quick ones are no reason for a chunk of hundreds.
        """
        self._ns = self._ns / 2 + ns
        self._items_of_ns = self._items_of_ns / 2 + items
        per_item = max(ns / items, self._ns / self._items_of_ns, 1)
        self._size = max(1, min(int(self._pace.aim / per_item), self._size * self._pace.growth, self._most))
        self._least = max(1, int(self._pace.least / per_item))

    def next_bytes(self) -> float:
        """About what the next chunk comes to: the part of a worker, or a single item that is more than that."""
        return max(self._most_bytes, self._item_bytes, weight_of(self._held[0]) if self._held else 0)

    def weighed(self, items: int, nbytes: int) -> None:
        """Learn that a chunk of so many items took so many bytes on its way."""
        self._item_bytes = max(nbytes / items, self._item_bytes / 2)

    def size(self, beside: int = 0) -> int:
        """How many items are to go into the next chunk.

        Args:
            beside: so many items of the input are there besides those that are not drawn yet.
        """
        if self.fixed is not None:
            return self.fixed
        size = self._size
        if self._item_bytes * size > self._most_bytes:
            size = max(1, int(self._most_bytes / self._item_bytes))
        if self._buffered is not None:
            size = min(size, max(1, self._buffered // (2 * self._workers)))
        if self._left is None and not beside:
            return size
        return min(size, max(self._least, ((self._left or 0) + beside) // (2 * self._workers)))

    def next(self, most: int | None = None, exactly: int | None = None) -> tuple[int, list[Any]] | None:
        """The index of its first item, and the next chunk; None at the end of the input.

        Args:
            most: no more items than this.
            exactly: so many, whatever their time was; fewer only where the input ends or raises.
        """
        size = exactly or min(limit for limit in (self.size(), most, self.allowed) if limit is not None)
        start = self.position
        if self.sequence is not None and not self._weighs:
            chunk = list(self.sequence[start : start + size])
        else:
            chunk = self._pull(size, self._weighs and exactly is None and self.fixed is None)
        if not chunk:
            return None
        self.position += len(chunk)
        if self._left is not None:
            self._left = max(self._left - len(chunk), 0)
        return start, chunk
