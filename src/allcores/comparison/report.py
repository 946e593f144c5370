"""The outcome of a comparison, and the ways to look at it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allcores.comparison.advise import advise
from allcores.comparison.facts import ContextRow, Facts, JobFacts

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ("Comparison",)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What ``allcores.compare`` found: print it, plot it, or take the numbers."""

    job: JobFacts
    """What was found out about the job: items, seconds and bytes of one, how much of it holds the GIL."""
    rows: tuple[ContextRow, ...]
    """One for each context, in the order asked for."""
    machine: dict[str, Any]
    """Python, system, cores."""
    results: list[Any] = field(repr=False, compare=False)
    """The results of the first context's first round, in the order of the items."""

    @property
    def advice(self) -> str:
        """Which context to take, and why, in one sentence."""
        return advise(Facts(self.job, self.rows))

    @property
    def best(self) -> str:
        """The name of the context to take: the simplest of those within 10 % of the fastest."""
        return Facts(self.job, self.rows).best.context

    @property
    def table(self) -> str:
        """The numbers as plain text of at most 80 columns."""
        from allcores.comparison.table import as_text

        return as_text(self.job, self.rows)

    def row(self, context: str) -> ContextRow:
        """The row of one context.

        Raises:
            KeyError: it was not compared.
        """
        for row in self.rows:
            if row.context == context:
                return row
        raise KeyError(f"{context!r} was not compared: {', '.join(row.context for row in self.rows)} were")

    def plot(self, path: str | Path) -> Path:
        """Draw the comparison into an image file and return its path; missing folders are made.

        Args:
            path: the file; its ending says the format, as in ``out.png`` or ``out.svg``.

        Raises:
            OSError: the file cannot be written.
            UsageError: the ending is of no known format.
        """
        from allcores.comparison.plot import draw

        return draw(self.job, self.rows, self.advice, Path(path))

    def to_dict(self) -> dict[str, Any]:
        """All numbers, and the advice, in a form that JSON takes; seconds and bytes. Without the results."""
        return {
            "job": asdict(self.job),
            "machine": dict(self.machine),
            "contexts": [self._row_dict(row) for row in self.rows],
            "best": self.best,
            "advice": self.advice,
        }

    def __str__(self) -> str:
        return f"{self.table}\n\n{self.advice}"

    def __rich__(self) -> RenderableType:
        """The same for a terminal, in colour."""
        from allcores.comparison.table import as_rich

        return as_rich(self.job, self.rows, self.best, self.advice)

    def _repr_html_(self) -> str:
        from allcores.comparison.table import as_html

        return as_html(self.job, self.rows, self.best, self.advice)

    @staticmethod
    def _row_dict(row: ContextRow) -> dict[str, Any]:
        phases = {**asdict(row.phases), "waiting": row.phases.waiting}
        return {**asdict(row), "rounds": list(row.rounds), "phases": phases, "equal": row.equal}
