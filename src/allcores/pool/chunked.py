"""Chunks of items on their way to workers and back: what map and imap have in common."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.errors import UnpicklableError
from allcores.pool.chunktask import ChunkTask
from allcores.pool.crew import Mode
from allcores.pool.waiting import is_ctrl_c
from allcores.pool.weight import weight_of

if TYPE_CHECKING:
    from allcores.failure import Failure
    from allcores.pool.beside import Beside
    from allcores.pool.chunking import Chunker
    from allcores.pool.crew import Known
    from allcores.pool.engine import Engine
    from allcores.pool.options import Options

__all__ = ("Chunked",)


class Chunked:
    """What map and imap have in common: an input that is fed in chunks, a bounded number of them on the way.

    ``chunk_done`` comes under the engine's seat; ``proceed`` runs the user's iterator, outside of it, in one thread
    at a time.
    """

    lazy = False  # fed as results are asked for

    def __init__(self, engine: Engine, known: Known, chunks: Chunker, star: bool, options: Options) -> None:
        self.engine = engine
        self.options = options
        self.func = known.func  # for who wants to see
        self.call = known.call | Mode.CHUNK | (Mode.STAR if star else 0) | (Mode.ORDERS if options.travels else 0)
        if options.exact:
            self.call |= Mode.EXACT
        if chunks.fixed is None or engine.crew.in_parts:
            self.call |= Mode.PART
        self._func = known.func
        self.chunks = chunks
        self.repeats: Any = engine.crew.repeats_in(chunks.sequence)
        self.beside: Beside | None = None
        self.window = 1 if engine.crew.immediate else 2 * engine.crew.size + 1
        self.pending: set[ChunkTask] = set()
        self.rests: list[ChunkTask] = []  # of chunks that took too long: pending, to be cut and sent
        self.exhausted: bool = False
        self.given_up: bool = False
        self.ending = False  # by a failure
        self.closing = False  # with the pool: nobody need ask for what is left
        self.unsendable = False  # the first item already
        self._input_error: BaseException | None = None
        self._feeder: dict[int, int] = {}  # at 0: the thread that feeds
        self._again = self._inside = False

    def accompany(self) -> None:
        """Have what was asked for go along. Before the first chunk is sent."""
        if self.options.progress is not False or self.options.checkpoint is not None:
            from allcores.pool.beside import Beside

            self.beside = Beside(self, self._func, bool(self.call & Mode.STAR))

    def part(self) -> bool:
        """What goes along ends. False: not yet, another thread is at it; then it proceeds. Not under the seat."""
        if self.beside is None:
            return True
        self.beside.close()
        return self.beside.closed

    def part_soon(self) -> None:
        """Likewise, from anywhere, and nobody asks for more."""
        if self.beside is not None:
            self.exhausted = True
            self.engine.outside(self.beside.close)

    def send(self, task: ChunkTask) -> None:
        try:
            if task.found is not None:
                self.engine.succeed_later(task, task.found)
                return
            payload: Any = task.items if self.repeats is None else self.repeats.replace(task.items)
            if self.call & Mode.ORDERS:
                payload = self.options.orders(task.start), payload
            self.engine.submit(task, self.call, payload, self.options.timeout)
        except BaseException as error:  # an item that cannot travel
            self._refused(task, error)
            if is_ctrl_c(error):
                raise

    def _refused(self, task: ChunkTask, error: BaseException) -> None:
        """It could not be sent. If that is the first item, none is tried: the work cannot be begun at all."""
        first = task.start == 0 and self.chunks.position == len(task.items) and self.options.errors == "raise"
        if isinstance(error, UnpicklableError) and (first or len(task.items) == 1):
            why = codec.why_not(task.items[0], f"item {task.start} of the input")
            error = error if why is None else why
            if first and why is not None:
                self._input_error, self.exhausted, self.unsendable = error, True, True
                self.pending.discard(task)
                return
        self.engine.fail_later(task, error)

    def proceed(self) -> None:
        """Send what the window has room for. If another thread is at it, that one does."""
        self._again = True
        me = threading.get_ident()  # an owner may take the entry again: Ctrl-C may come before the `try`
        while self._again and not self._inside and self._feeder.setdefault(0, me) == me:
            try:
                self._inside = True
                self._again = False
                try:
                    self.feed(self.window)
                finally:
                    self.fed()
            finally:
                self._inside = False
                self._feeder.pop(0, None)

    def feed(self, window: float) -> None:
        if self.given_up or self.ending:
            self.pending.difference_update(self.rests)
            self.rests.clear()
            return
        try:
            while self.ahead() + len(self.pending) - len(self.rests) < window and self.is_light(window):
                task = self._from_rests() if self.rests else self._from_input(window)
                if task is None:
                    return
                self.send(task)
                if self.beside is not None:
                    self.beside.sent()
        except BaseException as error:  # the caller's iterator raised: after the results before it
            self._input_error, self.exhausted = error, True
            if is_ctrl_c(error):
                raise

    def is_light(self, window: float) -> bool:
        """Whether what is on its way, and what waits to be asked for, has bytes to spare for another chunk."""
        most = self.options.max_bytes
        if most is None or window == math.inf:
            return True
        there = sum(task.nbytes for task in list(self.pending)) + self.bytes_ahead()
        return there + self.chunks.next_bytes() <= most or (len(self.pending) == len(self.rests) and self.is_short())

    def _from_input(self, window: float) -> ChunkTask | None:
        if self.exhausted:
            return None
        most = self.chunks.allowed = None if window == math.inf else self.items_allowed()
        if most is not None and most < self.chunks.size() and (most <= 0 or self.pending):
            return None
        chunk = self.chunks.next() if self.beside is None else self.beside.next(self.chunks)
        if chunk is None:
            self.exhausted = True
            return None
        task = ChunkTask(self, *chunk[:2])
        task.found = chunk[2] if len(chunk) > 2 else None
        if self.options.max_bytes is not None:
            task.nbytes = weight_of(task.items)
        self.pending.add(task)
        return task

    def _from_rests(self) -> ChunkTask:
        """The earliest: ``imap`` may wait for its first item, and the window be full of later ones."""
        rest = min(self.rests, key=lambda task: task.start)
        size = self.chunks.size(sum(len(task.items) for task in self.rests))
        task = ChunkTask(self, rest.start, rest.items[:size])
        self.pending.add(task)  # before the rest is none of them: so nobody sees nothing pending
        rest.start += size
        rest.items = rest.items[size:]
        if not rest.items:
            self.rests.remove(rest)
            self.pending.discard(rest)
        return task

    def fail_input(self, error: BaseException) -> None:
        """No more of the input: it fails, after the results before it."""
        if self._input_error is None:
            self._input_error = error
        self.exhausted = True

    def ahead(self) -> int:
        """Chunks that are done and not asked for."""
        return 0

    def bytes_ahead(self) -> int:
        """The bytes of their results, about."""
        return 0

    def is_short(self) -> bool:
        """Whether somebody waits for a result that is not there."""
        return True

    def items_allowed(self) -> int | None:
        """How many items may be drawn now; None for any number."""
        return None

    def fed(self) -> None:
        """Called after feeding: perhaps all is done."""

    def abandon(self, error: BaseException) -> None:
        raise NotImplementedError

    def placed(self, results: list[Any], failures: dict[int, Failure]) -> list[Any]:
        """The results with what is in the places of those that failed; or without them."""
        if not failures or self.options.errors == "raise":
            return results
        if self.options.errors == "skip":
            return [result for i, result in enumerate(results) if i not in failures]
        return [failures.get(i, result) for i, result in enumerate(results)]

    def chunk_done(self, task: ChunkTask, results: list[Any], failures: dict[int, Failure]) -> None:
        """Take the results of a chunk. It is pending all the same, until this has returned: nobody thinks all is done
        while the last are on their way from hand to hand."""
        raise NotImplementedError

    def handed_over(self) -> None:
        """Tell who waits that a chunk was done. It is pending no more: who looked before may have seen it so."""
        raise NotImplementedError
