"""What goes along with a call of map and its kin, if that was asked for: a bar that shows how far it is.

under the seat:   a chunk is done ──▶ finished: numbers only
outside of it:    update, close:  what is the user's runs here: files that a bar writes to
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcores.pool.bar import Bar
    from allcores.pool.chunked import Chunked, ChunkTask

__all__ = ("Accompanied", "Beside")


class Beside:
    """What goes along with one call."""

    def __init__(self, job: Chunked) -> None:
        self._engine = job.engine
        self._bar: Bar | None = None
        if job.options.progress is not False:
            from allcores.pool.bar import Bar

            self._bar = Bar(job.options.progress, job.chunks.total)

    def finished(self, task: ChunkTask, done: int, failed: int) -> None:
        """A chunk of so many items is done. Under the seat; may be told twice."""
        bar = self._bar
        if bar is not None and not task.told:  # Ctrl-C comes at calls: none is in between
            task.told = True
            bar.done += done
            bar.failed += failed
        self._engine.later(self.update)

    def retried(self) -> None:
        """An item runs again."""
        if self._bar is not None:
            self._bar.retried += 1

    def update(self) -> None:
        """Let it be seen. Not under the seat."""
        if self._bar is not None:
            self._bar.show()

    def close(self) -> None:
        """It is over. Not under the seat. Can be called twice."""
        if self._bar is not None:
            self._bar.close()


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
