"""The bar of a call with ``progress=``: counts items that are done, shown by tqdm in a terminal or a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores.pool.waiting import log

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Bar",)


class Bar:
    """How far a call is.

    The numbers are set under the engine's seat, by assignment only. What writes comes outside of it: it may be to a
    file of the user's.
    """

    def __init__(self, label: bool | str, total: int | None) -> None:
        from tqdm.auto import tqdm

        self.done = self.failed = self.retried = 0
        self.found = 0  # of those done, what an earlier run had done: no part of this one's speed
        # Each update looks at the clock: a guess how many make up a tenth of a second would need a thread that corrects
        # it when the work becomes slow.
        self._shown: Any = tqdm(total=total, desc=label if isinstance(label, str) else None, miniters=1)

    def show(self) -> None:
        """Bring what is seen up to the numbers; at most ten times a second. Whatever thread comes last is right."""
        self._safely(lambda: self._shown.update(0))

    def close(self) -> None:
        """Show the last numbers, and leave the line. Can be called twice."""
        self._safely(self._shown.close)

    def _safely(self, draw: Callable[[], object]) -> None:
        """A bar that cannot be drawn is no reason to lose results."""
        if self._shown.disable:
            return
        try:
            self._shown.initial = self.found
            self._shown.n = self.done
            if self.failed or self.retried:
                self._shown.set_postfix_str(f"{self.failed} failed, {self.retried} retried", refresh=False)
            draw()
        except Exception:  # noqa: BLE001 - whatever the file raises that it writes to
            self._shown.disable = True  # also for tqdm itself, which would try again when it is dropped
            log("the progress bar of a pool cannot be shown; the work goes on without it")
