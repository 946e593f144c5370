"""The comparison as one picture: a bar for each context, divided by where the time went."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from allcores.comparison.facts import ContextRow, JobFacts, base_row
from allcores.comparison.table import headline
from allcores.comparison.units import scale_for
from allcores.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("check_format", "draw")

# Colour-blind safe (Okabe and Ito), and told apart in grey: useful work dark, losses light.
_PARTS = (
    ("computing", "#0072B2"),
    ("waiting", "#E69F00"),
    ("moving", "#CC79A7"),
    ("startup", "#BBBBBB"),
)
_LABELS = {"computing": "computing", "waiting": "waiting", "moving": "moving data", "startup": "start-up"}
_LEGEND = (
    "start-up",
    "moving data",
    "waiting",
    "computing",
    "ideal",
    "min to max",
)  # as they lie on each other
_LINE = 90
_FORMATS = (".png", ".svg", ".pdf", ".jpg", ".webp")


def check_format(path: Path) -> None:
    """Make sure that a picture can be written under this name, without loading what draws it.

    Raises:
        UsageError: its ending is of no known format.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path} has no known ending for a picture: use one of {', '.join(_FORMATS)}")


def draw(job: JobFacts, rows: Sequence[ContextRow], advice: str, path: Path) -> Path:
    """Draw the rows into ``path`` (folders are made) and return it. Opens no window."""
    check_format(path)
    # Not pyplot: it would choose a window system, and keep every figure alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(max(6.4, 2.0 + 1.6 * len(rows)), 4.8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    factor, unit = scale_for(max(row.seconds for row in rows))
    _draw_bars(axes, rows, factor)
    _draw_ideal(axes, job, rows, factor)
    axes.set_title(headline(job, rows), fontsize=10, loc="left")
    axes.set_ylabel(f"wall time, {unit}")
    axes.set_xticks(range(len(rows)), [_name(row) for row in rows])
    axes.set_xlim(-0.6, len(rows) - 0.4)
    axes.set_ylim(0, 1.18 * max(max(row.rounds) for row in rows) / factor)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda number: _LEGEND.index(labels[number].partition(":")[0]))
    figure.legend(
        [handles[n] for n in order],
        [labels[n] for n in order],
        loc="outside right upper",
        frameon=False,
        fontsize=9,
    )
    figure.supxlabel(_wrapped(advice), fontsize=9, color="#333333")
    figure.savefig(path)
    return path


def _draw_bars(axes: Axes, rows: Sequence[ContextRow], factor: float) -> None:
    bottom = [0.0] * len(rows)
    for part, colour in _PARTS:
        heights = [getattr(row.phases, part) / factor for row in rows]
        axes.bar(range(len(rows)), heights, 0.55, bottom, color=colour, label=_LABELS[part])
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    medians = [row.seconds / factor for row in rows]
    below = [m - min(row.rounds) / factor for m, row in zip(medians, rows, strict=True)]
    above = [max(row.rounds) / factor - m for m, row in zip(medians, rows, strict=True)]
    axes.errorbar(range(len(rows)), medians, (below, above), fmt="none", ecolor="black", capsize=5, label="min to max")
    for number, row in enumerate(rows):
        text = f"{row.speedup:.2f}x" if row.equal else f"{row.speedup:.2f}x\nresults unequal"
        axes.annotate(
            text,
            (number, max(row.rounds) / factor),
            (0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=11,
            fontweight="bold",
            color="black" if row.equal else "#D55E00",
        )


def _draw_ideal(axes: Axes, job: JobFacts, rows: Sequence[ContextRow], factor: float) -> None:
    cores = min(job.usable_cores, max(row.workers for row in rows))
    if cores < 2:
        return
    ideal = base_row(tuple(rows)).seconds / cores / factor
    axes.axhline(ideal, color="#009E73", linestyle="--", linewidth=1.2, label=f"ideal: {cores} cores")


def _wrapped(text: str) -> str:
    lines = math.ceil(len(text) / _LINE)
    return textwrap.fill(text, math.ceil(len(text) / lines) + 8)  # lines of about one length, no orphan at the end


def _name(row: ContextRow) -> str:
    return row.context if row.workers == 1 else f"{row.context}\n{row.workers} workers"
