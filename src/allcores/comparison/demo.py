"""``allcores demo``: the main job on real input, then the classic one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from allcores.comparison.jobs import CLASSIC_ITEMS, NOT_TOKENIZED, classic, count_tokens, stdlib_files
from allcores.comparison.measure import compare
from allcores.comparison.report import Comparison
from allcores.comparison.units import count_text

__all__ = ("run_demo",)


def run_demo(say: Callable[[object], None], folder: Path, times: int | None, workers: int | None) -> None:
    """Compare both jobs; about a minute in all.

    Args:
        say: prints a line or a comparison.
        folder: where the plots go.
        times: rounds; None: as many as fit a minute.
        workers: for each pool; None: one for each usable core.
    """
    files = stdlib_files()
    say(f"1. Tokenize {count_text(len(files), 'file')} of the standard library, and count the token kinds.\n")
    tokens = compare(count_tokens, files, times=times, workers=workers)
    _show(say, tokens, folder / "tokenize_stdlib.png", _counted(tokens))
    say("2. The classic of the tutorials: res += i + i**2 + i**3 for a million i, twice.\n")
    loops = compare(classic, CLASSIC_ITEMS, times=times, workers=workers)
    _show(say, loops, folder / "classic_job.png", f"Each sum is {loops.results[0]:,}.")


def _show(say: Callable[[object], None], comparison: Comparison, path: Path, found: str) -> None:
    say(comparison)
    say(f"\n{found}\nThe plot is in {comparison.plot(path)}\n")


def _counted(tokens: Comparison) -> str:
    total: Counter[str] = Counter()
    for kinds in tokens.results:
        total.update(kinds)
    broken = total.pop(NOT_TOKENIZED, 0)
    common = ", ".join(f"{kind} {count:,}" for kind, count in total.most_common(4))
    skipped = f"; {count_text(broken, 'file')} did not tokenize" if broken else ""
    return f"Found {count_text(total.total(), 'token')}: {common} and others{skipped}."
