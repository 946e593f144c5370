"""From samples to the lines of the published table: medians, spreads, ratios, what was reached."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import OURS, STANDARD, Case, Row, case_of
from bench.run import Series


@dataclass(frozen=True, slots=True)
class Figure:
    """What one peer's samples in one operation come to."""

    peer: str
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Line:
    """One row, filled."""

    row: Row
    case: Case
    standard: Figure | None
    ours: Figure | None
    ratio: float | None
    """How many times better than the baseline we are, by the medians."""
    ratio_low: float | None
    """The same within the worst and the best round."""
    ratio_high: float | None
    reached: str
    """yes, no, "no, but within the spread", or empty where there is no target or no figure."""
    best: Figure | None
    """The best of the others."""


def figure(series: Series) -> Figure | None:
    """None without a single good sample."""
    values = series.values
    if not values:
        return None
    return Figure(series.peer.name, statistics.median(values), min(values), max(values))


def better(case: Case, ours: float, theirs: float) -> float:
    """How many times better `ours` is."""
    return ours / theirs if case.more_is_better else theirs / ours


def round_ratios(case: Case, ours: Series, theirs: Series) -> list[float]:
    """The ratio within each round in which both have a sample: drift of the machine cancels out."""
    there = {sample.round: sample.value for sample in theirs.samples if sample.value is not None}
    pairs = ((sample.value, there.get(sample.round)) for sample in ours.samples)
    return [better(case, mine, other) for mine, other in pairs if mine is not None and other is not None]


def ranked(case: Case, series: Sequence[Series]) -> list[Figure]:
    """The figures of one operation, best first."""
    figures = [found for one in series if one.case is case and (found := figure(one)) is not None]
    return sorted(figures, key=lambda one: one.median, reverse=case.more_is_better)


def fill(row: Row, series: Sequence[Series]) -> Line:
    """The line for a row; what is missing stays None."""
    case = case_of(row.case)
    by_name = {one.peer.name: one for one in series if one.case is case}
    ours, theirs = by_name.get(OURS), by_name.get(row.baseline)
    mine = figure(ours) if ours else None
    standard = figure(theirs) if theirs else None
    ratio = better(case, mine.median, standard.median) if mine and standard else None
    ratios = round_ratios(case, ours, theirs) if ours and theirs else []
    others = [one for one in ranked(case, series) if one.peer != OURS and not one.peer.startswith(STANDARD)]
    return Line(
        row,
        case,
        standard,
        mine,
        ratio,
        min(ratios, default=None),
        max(ratios, default=None),
        verdict(row, mine, ratio, ratios),
        others[0] if others else None,
    )


def verdict(row: Row, mine: Figure | None, ratio: float | None, ratios: Sequence[float]) -> str:
    """Whether the median reaches the target; if not, whether any round did."""
    got = (mine.median if mine else None) if row.absolute else ratio
    if row.target is None or got is None:
        return ""
    if got >= row.target:
        return "yes"
    top = mine.high if row.absolute and mine else max(ratios, default=0.0)
    return "no, but within the spread" if top >= row.target else "no"
