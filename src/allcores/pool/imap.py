"""What imap and imap_unordered return: results as they are asked for."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from allcores.errors import PoolTerminated
from allcores.pool.chunked import Chunked
from allcores.pool.waiting import deadline_after, left_until
from allcores.pool.weight import weight_of

if TYPE_CHECKING:
    from allcores.failure import Failure
    from allcores.pool.chunking import Chunker
    from allcores.pool.chunktask import ChunkTask
    from allcores.pool.crew import Known
    from allcores.pool.engine import Engine
    from allcores.pool.options import Options

__all__ = ("NOT_YET", "IMapIterator")

NOT_YET = object()

# A late result lets others go so many items ahead of it, and about so many bytes of results.
_FAR = 1024
_FAR_BYTES = 32 << 20


class IMapIterator(Chunked):
    """Results as they are asked for, in order or as they come.

    An item that failed raises at its place; the next ``next()`` goes on. Never more than a bounded window of chunks
    ahead of the consumer, however long the input.
    """

    lazy = True

    def __init__(
        self, engine: Engine, known: Known, chunks: Chunker, ordered: bool, options: Options, star: bool = False
    ) -> None:
        super().__init__(engine, known, chunks, star, options)
        self._ordered = ordered
        self._waiting: dict[int, tuple[list[Any], dict[int, Failure], int, ChunkTask]] = {}
        self._last: int | None = None  # the chunk that was taken last; it may still be among the waiting
        self._next = 0  # index of the first item not yet in _current
        self._current: deque[Any] = deque()
        self._failures: dict[int, Failure] = {}  # by how many of _current are left when it is its turn
        self._refills = options.buffersize is not None  # with each result that is taken
        self._taken = 0  # items whose results are or were in _current
        self._result_bytes = 0  # of one, about
        self._short = False  # somebody waits for a result that is not there
        self._one_at_a_time = threading.RLock()
        self.ready_ = False
        # Not at the last result: nobody need ask for that one. Its chunks keep it alive while they are out.
        weakref.finalize(self, engine.crew.forget, known).atexit = False

    def begin(self) -> Self:
        self.accompany()
        self.proceed()
        if self.unsendable:
            assert self._input_error is not None
            self.part()
            raise self._input_error
        return self

    def ahead(self) -> int:
        """Where the result that is waited for is late, the others go on without it: further, and not without end.

        But what was drawn and given back goes out again, however far the others are: it may be what they wait for.
        """
        far = self.chunks.drawn - self._taken
        near = far < _FAR and far * self._result_bytes < _FAR_BYTES
        if self._short and self._ordered and (near or self.rests):
            return 0
        return len(self._waiting)

    def bytes_ahead(self) -> int:
        """Of results that wait, and of those that are to come if they are like the last."""
        waiting = sum(task.nbytes for *_, task in list(self._waiting.values()))
        return waiting + self._result_bytes * sum(len(task.items) for task in list(self.pending))

    def is_short(self) -> bool:
        return self._short or not self._waiting

    def items_allowed(self) -> int | None:
        most = self.options.buffersize
        return None if most is None else most - (self.chunks.drawn - self._taken + len(self._current))

    def finish(self, whatever_length: bool) -> None:
        """The pool is closing: submit the rest now, or cut an input of unknown length, which may be endless."""
        if not (whatever_length or self.chunks.sized or self.exhausted):
            self.exhausted = True
            self._input_error = PoolTerminated("the pool was closed before this input was used up: read it before that")
        self.closing = True
        self.window = math.inf  # type: ignore[assignment] # a number of chunks all the same
        self.proceed()  # also what chunks have given back: that is drawn
        self.ready_ = True
        self.engine.tell()

    def chunk_done(self, task: ChunkTask, results: list[Any], failures: dict[int, Failure]) -> None:
        if task.taken:  # told twice: the results are gone
            return
        self._result_bytes = weight_of(results[0])
        task.nbytes = self._result_bytes * len(results)
        self.chunks.weighed(len(results), task.nbytes)
        raised = failures if self.options.errors == "raise" else {}
        self._waiting[task.start] = (self.placed(results, failures), raised, task.start + len(results), task)

    def handed_over(self) -> None:
        self.ready_ = True

    def fed(self) -> None:
        if self.exhausted and not self.pending:  # perhaps found by another thread than that which waits
            self.ready_ = True
            self.engine.tell()

    def abandon(self, error: BaseException) -> None:
        self.part_soon()
        self._input_error, self.exhausted, self.ready_ = error, True, True

    def is_settled(self) -> bool:
        return self.exhausted and not self.pending

    def cancel_now(self, error: BaseException, _stopped: bool) -> None:
        """Nothing more is sent; what there is already can still be taken, and then this is raised."""
        self.given_up = True
        self.abandon(error)

    def cancelled(self) -> bool:
        """Whether nothing more is done for it."""
        return self.given_up

    def _take(self) -> bool:
        """Make the next finished chunk the current one, if it is there. Ctrl-C comes at calls: none is in between."""
        self._waiting.pop(self._last, None)  # type: ignore[arg-type]
        start = self._next if self._ordered else next(iter(self._waiting), None)
        if start not in self._waiting:
            return False
        results, failures, after, task = self._waiting[start]
        current, failures = deque(results), {len(results) - i: e for i, e in failures.items()}
        taken = self._taken + after - start
        self._current = current
        self._failures = failures
        self._next = after
        self._taken = taken
        self._short = False
        self._last = start
        task.taken = True
        if self.beside is None:  # else they are still to be counted
            results.clear()  # who has just handed them over has this list for a moment longer
        self._waiting.pop(start, None)
        self.proceed()
        return True

    def next(self, timeout: float | None = None) -> Any:
        """The next result; waits for it at most ``timeout`` seconds.

        Raises:
            StopIteration: there are no more.
            TimeoutError: it is not there in time; it can be asked for again.
        """
        deadline = deadline_after(timeout)
        with self._one_at_a_time:
            while (result := self.now()) is NOT_YET:
                if not self.engine.wait(self, left_until(deadline)):
                    from allcores.errors import TimeoutError

                    raise TimeoutError(f"no result within {timeout} s; the work goes on")

            return result

    def now(self) -> Any:
        """The next result if it is there; else NOT_YET, and ``ready_`` becomes true when to look again."""
        self.ready_ = False  # before the look: what arrives after it is not missed
        while not self._current:
            if not self._take():
                if self.exhausted and not self.pending:
                    self._end()
                self._short = True
                self.proceed()
                return NOT_YET
        return self._pop()

    def _pop(self) -> Any:
        failure = self._failures.get(len(self._current))
        result = self._current.popleft()
        if self._refills:
            self.proceed()
        if failure is None:
            return result
        error = failure.carried()
        if isinstance(error, StopIteration):  # raised from here it would end the loop in silence
            raise RuntimeError("the job raised StopIteration") from error
        raise error

    def _end(self) -> None:
        if self._waiting:
            return  # a chunk came between the looks
        self.part()
        if self._input_error is not None:
            error, self._input_error = self._input_error, None
            raise error
        raise StopIteration

    def __next__(self) -> Any:
        with self._one_at_a_time:
            if self._current and not self._failures and not self._refills:
                return self._current.popleft()
        return self.next()

    def __iter__(self) -> Self:
        return self
