"""What goes along with a call of map and its kin, if that was asked for: a bar, and a file of what is done.

    under the seat:   a chunk is done ──▶ finished: numbers for the bar; with a file, the chunk waits in `_noted`
    outside of it:    update ──▶ written to the file ──▶ handed over to whoever waits for it; the bar is drawn

What is the user's runs outside of the seat only: files that a bar writes to, the pickling of results. Nobody sees a
result before it is written: so nobody can have changed it before. One thread at a time updates; others leave it to
that one, and none waits.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.failure import Failure
    from allcores.pool.bar import Bar
    from allcores.pool.chunked import Chunked
    from allcores.pool.chunking import Chunker
    from allcores.pool.chunktask import ChunkTask
    from allcores.pool.journal import Journal

__all__ = ("Accompanied", "Beside")

# Those with a file that is about to be closed, by this thread or another: a call may come for the same file again.
_closing: set[Beside] = set()

Noted = tuple["ChunkTask", list[Any], dict[int, "Failure"], int]


class Beside:
    """What goes along with one call."""

    def __init__(self, job: Chunked, func: Callable[..., Any], star: bool) -> None:
        self._job = job
        self._engine = job.engine
        self._bar: Bar | None = None
        self._journal: Journal | None = None
        self._noted: deque[Noted] = deque()
        self._on_the_way = _OnTheWay(job)
        self._updater: dict[int, int] = {}  # at 0: the thread that updates
        self._again = self._inside = False
        self._ends = False
        self.closed = False
        self._over = threading.Event()
        options = job.options
        if options.checkpoint is not None:
            from allcores.pool.journal import Journal

            for other in list(_closing):
                if other._job.options.checkpoint == options.checkpoint:
                    other._over.wait()  # for a commit, at most
            self._journal = Journal(options.checkpoint, func, star, options.seed)
        if options.progress is not False:
            from allcores.pool.bar import Bar

            self._bar = Bar(options.progress, job.chunks.total)

    # The input.

    def next(self, chunks: Chunker) -> tuple[int, list[Any], list[Any] | None] | None:
        """The next chunk, and its results if they are known."""
        journal = self._journal
        if journal is None:
            chunk = chunks.next()
            return chunk and (*chunk, None)
        at = chunks.position
        stored = journal.stored_at(at)
        if stored is None:
            chunk = chunks.next(most=journal.missing_from(at))
            if chunk is None:
                journal.ended(at)
                return None
            journal.expect(*chunk)
            return *chunk, None
        chunk = chunks.next(exactly=len(stored.results))
        if chunk is None:
            journal.ended(at)
            return None
        start, items = chunk
        journal.check(start, items, stored.prints)
        return start, items, stored.results[: len(items)]

    def sent(self) -> None:
        """A chunk was sent. The feeder may be about to wait for the next item, or to run it: nobody else looks."""
        if self._journal is None:
            return
        self._engine.take_in()
        self.update()
        if self._job.lazy and self._job.pending and not self._engine.crew.immediate:
            self._engine.drive_once(self._on_the_way)  # the consumer may be busy for long with what it got

    # The results.

    def finished(self, task: ChunkTask, results: list[Any], errors: dict[int, Failure], ns: int) -> bool:
        """A chunk is done. Under the seat; may be told twice. True: it will be handed over from here."""
        done, failed, found = len(results), len(errors), task.found is not None
        bar = self._bar
        if bar is not None and not task.told:  # Ctrl-C comes at calls: none is in between
            task.told = True
            bar.done += done
            bar.failed += failed
            if found:
                bar.found += done
        kept = self._journal is not None and not found and not self.closed
        if kept:
            self._noted.append((task, results, errors, ns))
        self._engine.later(self.update)
        return kept

    def retried(self) -> None:
        """An item runs again."""
        if self._bar is not None:
            self._bar.retried += 1

    def update(self) -> None:
        """Write what is noted, hand it over, draw. Not under the seat. If another thread is at it, that one does."""
        self._again = True
        me = threading.get_ident()  # an owner may take the entry again: Ctrl-C may come before the `try`
        while self._again and not self._inside and self._updater.setdefault(0, me) == me:
            try:
                self._inside = True
                self._again = False
                self._update()
            except BaseException:  # Ctrl-C: who waits for the end is told by the file that it is not closed
                self._over.set()
                raise
            finally:
                self._inside = False
                self._updater.pop(0, None)

    def close(self) -> None:
        """It is over. Not under the seat. Can be called twice."""
        self._ends = True
        if not self.closed:
            if self._journal is not None:
                _closing.add(self)
            self.update()
        if self.closed:  # else another thread is at it
            _closing.discard(self)

    def _update(self) -> None:
        try:
            self._write(None if self.closed else self._journal)
        except Exception as error:  # noqa: BLE001 - it cannot be kept: the call fails, with what was handed over
            self._give_up(error)
        if self._ends and not self.closed:
            self._close()
        elif self._bar is not None:
            self._bar.show()

    def _write(self, journal: Journal | None) -> None:
        while self._noted:
            task, results, errors, ns = self._noted[0]
            if not task.handed:
                if journal is not None:
                    journal.write(task.start, results, errors, ns)
                task.hand_over(results, errors)
                task.handed = True
                self._engine.tell()
            if journal is not None:
                journal.forget(task.start, len(results))
            del self._noted[0]
        if journal is not None:
            journal.commit()

    def _give_up(self, error: Exception) -> None:
        """The call fails; what has come is handed over all the same, so that it ends."""
        self._job.fail_input(error)
        self._ends = True
        self._close()
        self._write(None)

    def _close(self) -> None:
        try:
            if self._journal is not None:
                self._journal.close()
        except Exception as error:  # noqa: BLE001 - the last commit
            self._job.fail_input(error)
        self.closed = True
        _closing.discard(self)
        self._over.set()
        if self._bar is not None:
            self._bar.close()
        self._engine.later(self._job.proceed)  # it may have waited for this
        self._engine.tell()


class _OnTheWay:
    """Ready when no chunk is."""

    def __init__(self, job: Chunked) -> None:
        self._job = job

    @property
    def ready_(self) -> bool:
        return not self._job.pending


class Accompanied:
    """The results of an imap with something beside it, which ends when nobody can ask for them any more.

    The results themselves live on while chunks of theirs are on the way.
    """

    def __init__(self, results: Any) -> None:
        self._results = results

    def next(self, timeout: float | None = None) -> Any:
        """As ``next`` of the results."""
        return self._results.next(timeout)

    def __next__(self) -> Any:
        return next(self._results)

    def __iter__(self) -> Accompanied:
        return self

    def __del__(self) -> None:
        self._results.part_soon()


# The threads that close them are not in a fork.
os.register_at_fork(after_in_child=_closing.clear)
