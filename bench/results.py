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
    """How many times better than the baseline we are, by the medians; or how many times the yardstick."""
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


def beside(yardstick: str, ours: Series | None) -> tuple[Figure | None, list[float]]:
    """The yardstick's own figure, and how many times it each of our samples is."""
    pairs = [(one.value, one.yardstick) for one in ours.samples if one.value and one.yardstick] if ours else []
    lengths = [length for _, length in pairs]
    found = Figure(yardstick, statistics.median(lengths), min(lengths), max(lengths)) if lengths else None
    return found, [value / length for value, length in pairs]


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
    if row.yardstick:
        standard, ratios = beside(row.yardstick, ours)
        ratio = statistics.median(ratios) if ratios else None
    others = [one for one in ranked(case, series) if one.peer != OURS and not one.peer.startswith(STANDARD)]
    return Line(
        row,
        case,
        standard,
        mine,
        ratio,
        min(ratios, default=None),
        max(ratios, default=None),
        verdict(row, case, mine, ratio, ratios),
        others[0] if others else None,
    )


def verdict(row: Row, case: Case, mine: Figure | None, ratio: float | None, ratios: Sequence[float]) -> str:
    """Whether the median reaches the target; if not, whether any round did."""
    got, rounds = ratio, ratios
    if row.absolute:
        got, rounds = (mine.median, (mine.low, mine.high)) if mine else (None, ())
    if row.target is None or got is None:
        return ""
    # A figure of our own in time or memory, and what is held against a yardstick, is to be small; a ratio large.
    sign = -1 if row.yardstick or (row.absolute and not case.more_is_better) else 1
    if sign * got >= sign * row.target:
        return "yes"
    near = any(sign * one >= sign * row.target for one in rounds)
    return "no, but within the spread" if near else "no"
