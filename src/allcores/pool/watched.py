"""What anybody may ask a pool about itself."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcores.pool.engine import Engine
    from allcores.pool.statistics import PoolStatistics

__all__ = ("Watched", "open_pools")

# Those of this process that have not ended.
open_pools: weakref.WeakSet[Watched] = weakref.WeakSet()


class Watched:
    """The part of a pool that tells of it."""

    _engine: Engine
    _end: weakref.finalize[[], Any]
    _pid: int
    _closed = True  # until it is made
    _last: PoolStatistics | None = None  # of a pool that has ended

    def terminate(self) -> None:
        """End the workers now."""
        raise NotImplementedError

    def statistics(self) -> PoolStatistics:
        """What the pool has done and what its workers are at, now; after its end, as it was just before.

        Blocks nobody; some 20 us for each worker. The calls pay for it by a few nanoseconds.
        """
        from allcores.pool.statistics import measure

        return measure(self._engine) if self._last is None else self._engine.tally.update(self._last)

    def dump(self, file: Any = None, *, timeout: float | None = 5.0) -> str:
        """What each worker is doing right now, as text: its task and item, for how long, and the stacks of its threads.

        Also of workers that are stuck in C code, or keep the GIL. Sending SIGUSR1 to the program prints the same of
        all its pools, and its own stacks, to stderr; unless it has a handler of its own for that signal, or a pool was
        first made in another thread than the main one.

        Args:
            file: what to write the text to as well; a text stream.
            timeout: seconds to wait at most, for a worker that is stopped (SIGSTOP), and never answers. The others are
                waited for likewise, which takes a millisecond; one that dies meanwhile is waited for no longer.
        """
        from allcores.pool.dump import dump

        if file is not None and not hasattr(file, "write"):
            raise TypeError(
                f"file must be a text stream, as sys.stderr, not {file!r}: write open({file!r}, 'w') for a path"
            )
        text = dump(self._engine, timeout)
        if file is not None:
            file.write(text)
        return text

    def _remember(self) -> None:
        """Before the workers end: what is told of them from then on."""
        if self._last is None:
            now = self.statistics()
            self._last = now._replace(workers=tuple(w._replace(state="ended", memory=None) for w in now.workers))

    # What the standard's pool has inside, and programs look at all the same.

    @property
    def _pool(self) -> list[Any]:
        """The workers there are: processes or threads."""
        return self._engine.crew.workers()

    def _repopulate_pool(self) -> None:
        """Nothing: workers that have ended are replaced at once."""

    @property
    def _state(self) -> str:
        return "RUN" if not self._closed else "CLOSE" if self._end.alive else "TERMINATE"

    @_state.setter
    def _state(self, state: str) -> None:
        self._closed = state != "RUN"

    def __del__(self) -> None:
        if not self._closed and self._pid == os.getpid():
            import warnings

            warnings.warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, stacklevel=2, source=self)
