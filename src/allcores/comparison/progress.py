"""The progress bar of a comparison: on stderr, and only where somebody sees it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ("Tick", "progress_bar")

# Called with the context's name, the round, and the items done and in all so far.
Tick = Callable[[str, int, int, int], None]

# Drawing takes about 1 ms of the program being measured: twice a second that is 0.2 %, and still looks alive.
_SECONDS_BETWEEN_DRAWINGS = 0.5


@contextmanager
def progress_bar(wanted: bool) -> Iterator[Tick]:
    """Give a function to be told of progress; it draws a bar if that is wanted and stderr is a terminal."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda _context, _number, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    console = Console(stderr=True)
    # No refreshing thread: it would compete for the GIL and the cores that are being measured.
    with Progress(*columns, TimeElapsedColumn(), console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        drawn = 0.0

        def tick(context: str, number: int, done: int, total: int) -> None:
            nonlocal drawn
            now = time.monotonic()
            if now - drawn >= _SECONDS_BETWEEN_DRAWINGS:
                drawn = now
                text = f"round {number}: {context}"
                bar.update(task, description=text, completed=done, total=total, refresh=True)

        yield tick
