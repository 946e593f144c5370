"""The report: JSON with every sample, and the Markdown tables for the docs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.cases import ROWS, Case
from bench.results import Figure, Line, figure, fill, ranked
from bench.run import Series

# Load per core from which on somebody else's work is in the figures.
BUSY = 0.25
# What a cell holds where there is nothing to say.
NOTHING = "-"
_PER_SECOND = {"ms": 1e3, "µs": 1e6, "ns": 1e9}


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that a run found out."""

    about: dict[str, Any]
    """date, command, machine, python, packages, git, options, seconds."""
    skipped: dict[str, str]
    """peer -> why it was not asked."""
    series: list[Series]

    @property
    def cases(self) -> list[Case]:
        return list({one.case.key: one.case for one in self.series}.values())

    @property
    def lines(self) -> list[Line]:
        measured = {case.key for case in self.cases}
        return [fill(row, self.series) for row in ROWS if row.case in measured]


# -- JSON


def as_json(run: Run) -> dict[str, Any]:
    """Plain data; the values are seconds for one item, the factor where the unit is "x", or payloads."""
    operations = []
    for case in run.cases:
        results = {one.peer.name: _series(one) for one in run.series if one.case is case}
        operations.append(asdict(case) | {"results": results})
    return run.about | {
        "skipped": run.skipped,
        "rows": [_line(line) for line in run.lines],
        "operations": operations,
    }


def _series(one: Series) -> dict[str, Any]:
    found = figure(one)
    summary = {"median": found.median, "min": found.low, "max": found.high} if found else {}
    return {"size": one.size, **summary, "samples": [asdict(sample) for sample in one.samples]}


def _line(line: Line) -> dict[str, Any]:
    return {
        "case": line.case.key,
        "issue": line.row.issue,
        "title": title(line),
        "unit": line.case.unit,
        "baseline": line.row.yardstick or line.row.baseline,
        "standard": asdict(line.standard) if line.standard else None,
        "allcores": asdict(line.ours) if line.ours else None,
        "ratio": line.ratio,
        "ratio_min": line.ratio_low,
        "ratio_max": line.ratio_high,
        "target": line.row.target,
        "target_is": "our own figure"
        if line.row.absolute
        else "times the yardstick"
        if line.row.yardstick
        else "ratio",
        "reached": line.reached,
        "best_peer": asdict(line.best) if line.best else None,
    }


# -- Markdown


def as_markdown(run: Run) -> str:
    """The two tables, and what has to be known to read them."""
    parts = [heading(run), main_table(run), all_table(run)]
    notes = remarks(run)
    if notes:
        parts.append("Notes:\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def heading(run: Run) -> str:
    about, machine = run.about, run.about["machine"]
    options = about["options"]
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    git = about["git"]
    commit = "no commit yet"
    if git:
        commit = f"commit {git['commit'][:12]}{' with changes' if git['changed'] else ''}"
    size = "full sizes" if options["scale"] == 1 else f"sizes times {options['scale']:g}"
    return (
        f"Measured {about['date']} on {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['kernel']}; Python {about['python']['version']}; {commit}; "
        f"load before the run {machine['load_average']:.2f}. {options['rounds']} interleaved rounds, {size}, "
        f"each sample a program of its own; medians, with the least and the most in brackets."
        f"\n\n{versions}."
    )


def main_table(run: Run) -> str:
    """The published one: allcores against the standard library."""
    head = ("operation", "standard library", "allcores", "ratio", "target", "reached", "best peer")
    body = [
        (
            title(line),
            spread(line.case, line.standard),
            spread(line.case, line.ours),
            _ratio(line),
            _target(line),
            line.reached or NOTHING,
            f"{line.best.peer} {amount(line.case, line.best.median)}" if line.best else NOTHING,
        )
        for line in run.lines
    ]
    return _table(head, body)


def all_table(run: Run) -> str:
    """Every peer's median in every operation, the best in bold."""
    names = list(dict.fromkeys(one.peer.name for one in run.series))
    body = []
    for case in run.cases:
        order = ranked(case, run.series)
        best = order[0].peer if order else ""
        cells = [_cell(case, name, run.series, best) for name in names]
        body.append((case.title, *cells))
    return _table(("operation", *names), body)


def _cell(case: Case, name: str, series: Sequence[Series], best: str) -> str:
    for one in series:
        if one.case is case and one.peer.name == name:
            if found := figure(one):
                text = amount(case, found.median)
                return f"**{text}**" if name == best else text
            return one.failures[0].status if one.failures else NOTHING
    return ""


def remarks(run: Run) -> list[str]:
    """Failures, peers left out, other sizes, how a peer was used."""
    machine = run.about["machine"]
    notes = []
    if machine["load_average"] > BUSY * machine["cores"]:
        notes.append(f"The machine was busy before the run (load {machine['load_average']:.2f}): not to be published.")
    notes += [f"{name}: left out, {reason}." for name, reason in run.skipped.items()]
    notes += [
        f"{one.peer.name}, {one.case.key}: {bad.status} in round {bad.round + 1} "
        f"({len(one.values)} good before): {bad.message}"
        for one in run.series
        for bad in one.failures
    ]
    fewer: dict[str, list[str]] = {}
    for one in run.series:
        if one.peer.sizes.get(one.case.key, one.case.size) != one.case.size:
            fewer.setdefault(one.peer.name, []).append(f"{one.case.key} {one.size:,}")
    notes += [f"{name}: fewer items, to end in time: {', '.join(sizes)}." for name, sizes in fewer.items()]
    used = {one.peer.name: one.peer.note for one in run.series if one.peer.note}
    return notes + [f"{name}: {note}." for name, note in used.items()]


def title(line: Line) -> str:
    if line.row.yardstick:
        return f"{line.case.title}; against {line.row.yardstick}, in the same process"
    return f"{line.case.title}; against {line.row.note}" if line.row.note else line.case.title


def amount(case: Case, value: float) -> str:
    """A figure in the operation's unit, to three digits."""
    if case.unit == "x":
        return f"{value:.2f}x"
    if case.unit == "payloads":
        return f"{value:.2f} payloads"
    return f"{_digits(value * _PER_SECOND[case.unit])} {case.unit}"


def spread(case: Case, found: Figure | None) -> str:
    """median (least..most unit)."""
    if found is None:
        return NOTHING
    if case.unit not in _PER_SECOND:
        return f"{amount(case, found.median)} ({found.low:.2f}..{found.high:.2f})"
    factor = _PER_SECOND[case.unit]
    low, high = _digits(found.low * factor), _digits(found.high * factor)
    return f"{amount(case, found.median)} ({low}..{high})"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    for limit, digits in ((0.1, 4), (1.0, 3), (10.0, 2), (100.0, 1)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def _ratio(line: Line) -> str:
    if line.ratio is None or line.ratio_low is None or line.ratio_high is None:
        return NOTHING
    return f"{_digits(line.ratio)}x ({_digits(line.ratio_low)}..{_digits(line.ratio_high)})"


def _target(line: Line) -> str:
    target = line.row.target
    if target is None:
        return NOTHING
    if line.row.absolute:
        at_most = "" if line.case.more_is_better else "at most "
        return f"{at_most}{amount(line.case, target)} itself"
    if line.row.yardstick:
        return f"at most {target:g}x of it"
    return "not slower" if target == 1.0 else f"{target:g}x"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
