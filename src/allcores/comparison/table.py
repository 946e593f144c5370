"""The comparison as text, for a terminal, and for a notebook: the same cells three times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from allcores.comparison.facts import ContextRow, JobFacts
from allcores.comparison.units import count_text, scale_for, size_text, time_text

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ("as_html", "as_rich", "as_text", "headline")

_GAP = "  "


@dataclass(frozen=True, slots=True)
class _Grid:
    """Headers and cells; the first column is text, the others are numbers."""

    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def headline(job: JobFacts, rows: Sequence[ContextRow]) -> str:
    """What was measured, in one line."""
    parts = (
        count_text(job.items, "item"),
        f"{time_text(job.item_seconds)} each",
        count_text(len(rows[0].rounds), "round"),
        count_text(job.usable_cores, "usable core"),
    )
    return f"{job.name}: {', '.join(parts)}"


def as_text(job: JobFacts, rows: Sequence[ContextRow]) -> str:
    """Both tables as plain text, at most 80 columns wide for usual names."""
    return "\n\n".join((headline(job, rows), *(_aligned(grid) for grid in _grids(rows))))


def as_rich(job: JobFacts, rows: Sequence[ContextRow], best: str, advice: str) -> RenderableType:
    """Both tables and the advice for a terminal; the context to take stands out."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = [Text(headline(job, rows), style="bold"), Text()]
    for grid in _grids(rows):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, name in enumerate(grid.header):
            table.add_column(name, justify="right" if number else "left", no_wrap=True)
        for row, cells in zip(rows, grid.cells, strict=True):
            style = "red" if not row.equal else "bold green" if row.context == best else ""
            table.add_row(*map(Text, cells), style=style)
        parts += [table, Text()]
    return Group(*parts, Text(advice, style="bold"))


def as_html(job: JobFacts, rows: Sequence[ContextRow], best: str, advice: str) -> str:
    """Both tables and the advice for a notebook."""
    parts = [f"<p><b>{escape(headline(job, rows))}</b></p>"]
    for grid in _grids(rows):
        head = "".join(f"<th>{escape(name)}</th>" for name in grid.header)
        body = ""
        for row, cells in zip(rows, grid.cells, strict=True):
            tag = "th" if row.context == best else "td"
            body += "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "\n".join((*parts, f"<p>{escape(advice)}</p>"))


def _grids(rows: Sequence[ContextRow]) -> tuple[_Grid, _Grid]:
    factor, unit = scale_for(max(row.seconds for row in rows))
    digits = _digits(min(row.seconds for row in rows) / factor)
    result = _Grid(
        ("context", "workers", f"median {unit}", "min - max", "speed-up", "of ideal", "results"),
        tuple(_result_cells(row, factor, digits) for row in rows),
    )
    spent = _Grid(
        ("time went to", "start-up", "moving", "waiting", "computing", "CPU use", "peak memory"),
        tuple(_spent_cells(row) for row in rows),
    )
    return result, spent


def _digits(least: float) -> int:
    """So many decimals that the least number shows three figures; at most four, for the width."""
    return min(4, max(0, 2 - math.floor(math.log10(max(least, 1e-9)))))


def _result_cells(row: ContextRow, factor: float, digits: int) -> tuple[str, ...]:
    least, most = min(row.rounds) / factor, max(row.rounds) / factor
    return (
        row.context,
        str(row.workers),
        f"{row.seconds / factor:.{digits}f}",
        f"{least:.{digits}f} - {most:.{digits}f}",
        f"{row.speedup:.2f}x",
        f"{row.of_ideal:.0%}",
        "equal" if row.equal else f"UNEQUAL at item {row.unequal_at}",
    )


def _spent_cells(row: ContextRow) -> tuple[str, ...]:
    phases = row.phases
    spent = (phases.startup, phases.moving, phases.waiting, phases.computing)
    return (
        row.context,
        *(f"{seconds / row.seconds:.0%}" for seconds in spent),
        f"{row.cpu_use:.2f} cores",
        size_text(row.peak_memory),
    )


def _aligned(grid: _Grid) -> str:
    lines = (grid.header, *grid.cells)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = []
    for line in lines:
        padded = [c.rjust(w) if n else c.ljust(w) for n, (c, w) in enumerate(zip(line, widths, strict=True))]
        texts.append(_GAP.join(padded).rstrip())
    rule = _GAP.join("-" * width for width in widths)
    return "\n".join((texts[0], rule, *texts[1:]))
