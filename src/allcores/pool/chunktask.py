"""One chunk of items on its way to a worker and back, and what becomes of its failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.failure import Failure
from allcores.pool.crew import Mode
from allcores.pool.doing import TookTooLong

if TYPE_CHECKING:
    from allcores.deaths import Death
    from allcores.pool.chunked import Chunked
    from allcores.pool.doing import Overdue

__all__ = ("ChunkTask", "Told")

# Of an item that failed: its index in the chunk, what it raised, nanoseconds (negative: not known), pid of the worker.
Told = tuple[int, BaseException, int, int]


class ChunkTask:
    """One chunk on its way, and which items of the input it is."""

    __slots__ = ("attempts", "done", "found", "handed", "items", "job", "nbytes", "parts", "start", "taken", "told")

    def __init__(self, job: Chunked, start: int, items: list[Any], attempts: int = 0) -> None:
        self.job = job
        self.start = start
        self.items = items
        self.attempts = attempts  # of its only item, in vain
        self.nbytes = 0  # on its way, about; once it is done, of its results
        self.taken = False  # its results have been asked for
        self.told = self.handed = False  # to what goes along with the job, and by it
        self.found: list[Any] | None = None  # its results, of an earlier run
        self.parts: list[ChunkTask] | None = None  # into which it was cut, and that are not sent yet
        self.done: list[tuple[ChunkTask, list[Any], dict[int, Failure]]] = []  # other parts, that need not be

    def sent(self, nbytes: int) -> None:
        """It is on its way, in so many bytes."""
        self.nbytes = max(nbytes, self.nbytes)
        self.job.chunks.weighed(len(self.items), nbytes)

    def chunk_done(self, results: list[Any], errors: list[Told], ns: int) -> None:
        if self.taken:  # told twice: the results are gone
            self.leave()
            return
        n = len(results)
        if not 0 < n <= len(self.items):
            raise ValueError(f"{n} results for {len(self.items)} items")
        self.job.chunks.measured(n, ns)
        self.job.engine.tally.more_items += n - 1
        again = [i for i, error, *_ in errors if self._is_tried_again(error)] if self.job.options.retries else ()
        if self.job.given_up:
            self.leave()
            return
        if not again:
            if n < len(self.items) and not (errors and self.job.call & Mode.STOP):
                self._give_back(n)
            self._finish(results, {told[0]: self._failure(*told) for told in errors}, ns)
            return
        if self.parts is None:
            failures = {told[0]: self._failure(*told) for told in errors if told[0] not in again}
            parts = [self._part(i, i + 1, self.attempts + 1) for i in again]
            for a, b in zip((0, *(i + 1 for i in again)), (*again, n), strict=True):
                done = self._part(a, b)
                if done is not None:
                    own = {i - a: failure for i, failure in failures.items() if a <= i < b}
                    self.done.append((done, results[a:b], own))
            self._cut_into([*parts, self._part(n, len(self.items))])
        self._finish_parts()

    def succeed(self, results: list[Any]) -> None:
        """Its results were known, no worker has seen it."""
        self._finish(results, {})

    def _give_back(self, done: int) -> None:
        """Its items were slower than those before: what the worker has not begun is cut anew."""
        if self.job.closing:  # a consumer may ask for it when no worker is left
            self._cut_into([self._part(done, len(self.items))])
            self.items = self.items[:done]
            return
        if self.parts is None:  # else told twice
            self.parts = [ChunkTask(self.job, self.start + done, self.items[done:])]
        for rest in self.parts:
            if rest.items and rest not in self.job.rests:
                self.job.pending.add(rest)
                self.job.rests.append(rest)
        self.items = self.items[:done]

    def fail(self, error: BaseException) -> None:
        """The chunk or its answer could not be carried: of several items one is to blame, so each goes alone."""
        if self.job.given_up:
            self.leave()
        elif len(self.items) > 1:
            self._cut_into([self._part(i, i + 1) for i in range(len(self.items))])
        else:
            self._finish([None], {0: self._failure(0, error)})

    def abandon(self, error: BaseException) -> None:
        self.job.rests.clear()
        self.job.pending.clear()
        self.job.abandon(error)

    def died(self, death: Death | Overdue, item: int) -> None:
        """Only the item that was running is to blame. The others of its chunk had not answered: they run again."""
        n = len(self.items)
        if self.job.given_up:
            self.leave()
            return
        if item >= n > 1:  # in the middle of answering, not of an item
            self._cut_into([self._part(i, i + 1) for i in range(n)])
            return
        item = min(item, n - 1)
        if self.parts is None:
            parts = [self._part(0, item), self._part(item + 1, n)]
            one = self._part(item, item + 1, self.attempts + 1)
            assert one is not None
            if one.attempts <= self.job.options.retries:
                parts.append(one)
            else:
                error = death.error(one.start, codec.short_repr(one.items[0]), one.attempts)
                self.done.append((one, [None], {0: one._failed(0, error, getattr(death, "seconds", None), death.pid)}))
            self._cut_into(parts)
        self._finish_parts()

    def _is_tried_again(self, error: BaseException) -> bool:
        retried = isinstance(error, (TookTooLong, *self.job.options.retry_on))
        return retried and self.attempts < self.job.options.retries

    def _failure(self, i: int, error: BaseException, ns: int = -1, pid: int | None = None) -> Failure:
        if isinstance(error, TookTooLong):
            cause, overdue = error.__cause__, error.overdue
            error = overdue.error(self.start + i, codec.short_repr(self.items[i]), self.attempts + 1)
            error.__cause__ = cause
        return self._failed(i, error, None if ns < 0 else ns / 1e9, pid, self.attempts + 1)

    def _failed(
        self, i: int, error: BaseException, seconds: float | None, pid: int | None, attempts: int | None = None
    ) -> Failure:
        item = codec.short_repr(self.items[i])
        note = f"item {self.start + i} of the input: {item}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        return Failure(self.start + i, item, error, pid, seconds, self.attempts if attempts is None else attempts)

    def _finish(self, results: list[Any], failures: dict[int, Failure], ns: int = 0) -> None:
        beside = self.job.beside
        if beside is None or not beside.finished(self, results, failures, ns):
            self.hand_over(results, failures)

    def hand_over(self, results: list[Any], failures: dict[int, Failure]) -> None:
        """To the job, and so to whoever waits. Can be done twice."""
        self.job.chunk_done(self, results, failures)
        self.job.pending.discard(self)
        self.job.handed_over()

    def _finish_parts(self) -> None:
        for part, results, failures in self.done:
            self.job.pending.add(part)
            part._finish(results, failures)

    def leave(self) -> None:
        """Nobody asks for it any more."""
        self.job.pending.discard(self)
        self.job.engine.later(self.job.proceed)  # it may have been the last

    def _part(self, a: int, b: int, attempts: int = 0) -> ChunkTask | None:
        return ChunkTask(self.job, self.start + a, self.items[a:b], attempts) if a < b else None

    def _cut_into(self, parts: list[ChunkTask | None]) -> None:
        if self.parts is None:  # else told twice
            self.parts = [part for part in parts if part is not None and not self.job.given_up]
        self.job.engine.maps.add(self)  # until they are out
        self.job.pending |= set(self.parts)
        self.job.pending.discard(self)
        self.job.engine.later(self._send_parts)

    def _send_parts(self) -> None:
        assert self.parts is not None
        if self.job.given_up and self.parts:
            self.job.pending.difference_update(self.parts)
            self.parts.clear()
        while self.parts:
            if self.parts[0].attempts:
                self.job.engine.tally.retries += 1
                if self.job.beside is not None:
                    self.job.beside.retried()
            self.job.send(self.parts[0])
            del self.parts[0]
        self.job.engine.maps.discard(self)
        self.job.proceed()  # given up, this may have been its last
