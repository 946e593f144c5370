"""The benchmark's own works, at tiny sizes: no test here depends on how fast anything was."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # pytest without `python -m` has only tests/ there

from bench import run  # noqa: E402
from bench.cases import CASES, OURS, ROWS, STANDARD, Case, Row, case_of  # noqa: E402
from bench.measure import MEASURES  # noqa: E402
from bench.memory import watching  # noqa: E402
from bench.peers import PEERS  # noqa: E402
from bench.report import Run, as_json, as_markdown  # noqa: E402
from bench.results import fill  # noqa: E402
from bench.run import Sample, Series, measure_case, take  # noqa: E402

# The tables of the issues: operation -> what to reach, warm before cold, alone before two.
ISSUE = {
    "classic job, 2 processes against serial, start-up included": {1.95},
    "Pool(2): create, map two, leave: forkserver / spawn (warm template may be used)": {4.0, 1.5},
    "`pool.apply` round trip, workers hot": {25.0},
    "`apply_async` of 20,000 no-ops, all results": {8.0},
    "submit round trip": {25.0},
    "20,000 `submit`s with results": {8.0},
    "`imap` of 20,000 no-ops, default settings": {15.0},
    "`map` of 100,000 no-ops, default settings": {1.0},
    "`imap` defaults, an item": {1e-6},
    "10^5 calls of 1 µs": {1.1},
    "makespan of 200 skewed calls": {1.03},
    "Queue ping-pong of ints, one consumer": {20.0},
    "Queue one way, ints, 1 producer 1 consumer": {6.0},
    "Queue, 64 MB arrays, one way": {20.0, 4.0},
    "Lock acquire+release, free": {1.0},
    "Value locked `+= 1` against `v += 1`, alone / two processes": {4.0, 3.0},
    "Array item set": {4.0},
    "small dicts (5 keys) one way": {5.0},
    "peak memory of sending 1 GB": {1.1},
    "`pool.map(f, [a, b, c, d])` of 64 MB arrays": {1.5},
    "64 MB results": {2.0},
    "SharedArray or slice, any size, through Pool or Queue": {20e-6},
    "overhead of 64 workers on 2 cores below 10 %": {0.91},
    "`Parallel(n_jobs=2)` single-call latency": {1e-3},
}

LOCAL = [peer for peer in PEERS if peer.family in (OURS, STANDARD)]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)


# --- the plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ISSUE)
def test_every_row_of_the_issue_has_a_case(operation: str) -> None:
    rows = [row for row in ROWS if row.issue == operation]
    assert {row.target for row in rows} == ISSUE[operation]
    assert all(case_of(row.case) for row in rows)


def test_no_row_claims_a_target_that_nobody_set() -> None:
    assert all((row.issue in ISSUE) == (row.target is not None) for row in ROWS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)
def test_every_case_is_measured_and_has_both_sides(case: Case) -> None:
    assert case.key in MEASURES
    offering = {peer.name for peer in PEERS if peer.offers(case.needs)}
    baselines = {row.baseline for row in ROWS if row.case == case.key}
    assert baselines
    assert offering >= {OURS, *baselines}


def test_only_the_file_of_a_peer_imports_its_library() -> None:
    code = "import sys, bench.__main__ as b; [p.offers(c.needs) for p in b.PEERS for c in b.chosen_cases('')]; "
    code += (
        f"print([p.module for p in b.PEERS if p.family != {STANDARD!r} and p.distribution and p.module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- the run --------------------------------------------------------------------------------------


GROUPS = {
    "programs": "classic|pool_(warm|cold|again|recycled)",
    "futures": "^submit",
    "tasks": "^(apply|apply_async|imap|map|map_shown|map_tuned|skewed)$",
    "crowds": "^crowd$",
    "logging": "^logged$",
    "small": "^queue_(ping|ints)|^dicts",
    "arrays": "^queue_arrays",
    "memory": "^queue_peak",
    "pools": "^pool_(arrays|results)",
    "shared": "^shared_",
    "locks": "^lock|^value|^array",
    "joblib": "^parallel",
    "grid search on joblib": "^grid",
    "forest on joblib": "^forest",
}
# What their rows are held against, where that is not the standard library's multiprocessing.
BASELINES = {"futures": "concurrent.futures"} | {group: "joblib" for group in GROUPS if "joblib" in group}


def test_every_case_is_in_a_tiny_run() -> None:
    assert [case.key for case in CASES if sum(bool(re.search(g, case.key)) for g in GROUPS.values()) != 1] == []


@pytest.mark.parametrize("group", GROUPS)
def test_a_tiny_run_writes_a_report(group: str, tmp_path: Path) -> None:
    only = GROUPS[group]
    peers = f"{OURS},{BASELINES.get(group, STANDARD)}"
    as_data, as_text = tmp_path / "sub/bench.json", tmp_path / "bench.md"
    tiny = ("--rounds", "1", "--scale", "0.001", "--timeout", "20")
    done = bench(*tiny, "--only", only, "--peers", peers, "--json", str(as_data), "--markdown", str(as_text))
    assert done.returncode == 0, done.stderr
    found = json.loads(as_data.read_text())
    samples = [
        (operation["key"], peer, sample)
        for operation in found["operations"]
        for peer, result in operation["results"].items()
        for sample in result["samples"]
    ]
    assert [sample for sample in samples if sample[2]["status"] != "ok"] == []
    assert all(sample["value"] > 0 for _, _, sample in samples)
    assert all(row["ratio"] > 0 and row["standard"] and row["allcores"] for row in found["rows"])
    assert {"cpu", "cores", "memory_gib", "kernel"} <= found["machine"].keys()
    assert found["packages"]["numpy"]
    assert as_text.read_text() in done.stdout
    check_tables(as_text.read_text(), rows=len(found["rows"]), operations=len(found["operations"]))


def check_tables(text: str, *, rows: int, operations: int) -> None:
    """Two Markdown tables, each with as many cells in every line as in its head."""
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [len(table) - 2 for table in tables] == [rows, operations]
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}


def test_the_peak_of_memory_is_what_is_there_at_the_end_or_more() -> None:
    size = 64 << 20
    with watching() as nothing:
        pass
    with watching() as held:
        payload = b"x" * size
    assert nothing.beyond < size / 2 < size * 0.99 < held.beyond
    assert len(payload) == size


def test_a_hang_is_a_result() -> None:
    sample = take(STANDARD, "queue_ints", 10**9, 0, timeout=1.0)
    assert (sample.status, sample.value) == ("hang", None)
    assert "no answer within 1 s" in sample.message


def test_an_error_is_a_result_with_its_message() -> None:
    sample = take(STANDARD, "no_such_operation", 1, 0, timeout=20)
    assert sample.status == "error"
    assert "KeyError: 'no_such_operation'" in sample.message


def test_what_a_sample_leaves_in_a_session_of_its_own_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "GRACE", 0.05)
    mark = uuid.uuid4().hex
    environment = os.environ | {run.MARK: mark}
    with subprocess.Popen(["true"], env=environment, start_new_session=True) as program:
        program.wait()
        left = subprocess.Popen(["sleep", "100"], env=environment, start_new_session=True)
        run.sweep(program, mark)
        assert left.wait(5) < 0


def test_rounds_are_interleaved_and_a_failure_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, str]] = []

    def taken(peer: str, case: str, size: int, number: int, timeout: float) -> Sample:
        asked.append((number, peer))
        return Sample(number, "hang") if peer == STANDARD else Sample(number, "ok", 1.0)

    monkeypatch.setattr(run, "take", taken)
    said: list[str] = []
    two = [peer for peer in LOCAL if peer.name in (OURS, STANDARD)]
    series = measure_case(CASES[0], two, rounds=3, scale=0.001, timeout=1, report=said.append)
    assert asked == [(0, OURS), (0, STANDARD), (1, OURS), (2, OURS)]
    assert [len(one.values) for one in series] == [3, 0]
    assert len(said) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--peers", "nobody"), "unknown peer nobody"),
        (("--only", "no such operation"), "no operation matches"),
        (("--only", "("), "not a regular expression"),
    ],
)
def test_a_wrong_choice_is_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- the report -----------------------------------------------------------------------------------


ABOUT: dict[str, Any] = {
    "date": "today",
    "machine": {"cpu": "a", "cores": 2, "memory_gib": 1.0, "kernel": "b", "load_average": 4.0},
    "python": {"version": "3"},
    "packages": {},
    "git": None,
    "options": {"rounds": 1, "scale": 1.0},
}


def series_of(case: Case, name: str, *values: float | None) -> Series:
    peer = next(peer for peer in PEERS if peer.name == name)
    samples = [
        Sample(i, "ok", value) if value else Sample(i, "hang", message="no answer") for i, value in enumerate(values)
    ]
    return Series(case, peer, case.size, samples)


@pytest.mark.parametrize(
    ("ours", "reached"),
    [((1.0, 1.0, 1.0), "yes"), ((3.0, 1.0, 3.0), "no, but within the spread"), ((3.0, 3.0, 3.0), "no")],
)
def test_a_target_is_for_the_medians(ours: tuple[float, ...], reached: str) -> None:
    case, row = case_of("array_set"), Row("array_set", "Array item set", 4.0)
    line = fill(row, [series_of(case, STANDARD, 4.0, 4.0, 4.0), series_of(case, OURS, *ours)])
    assert line.reached == reached
    assert line.ratio == 4.0 / sorted(ours)[1]


def test_a_speed_up_is_better_when_more_and_has_its_own_target() -> None:
    case = case_of("classic")
    line = fill(ROWS[0], [series_of(case, STANDARD, 1.6), series_of(case, OURS, 1.96), series_of(case, "pebble", 1.8)])
    assert line.reached == "yes"
    assert line.ratio == pytest.approx(1.96 / 1.6)
    assert line.best is not None
    assert line.best.peer == "pebble"


@pytest.mark.parametrize(
    ("values", "reached"), [((0.01, 0.01), "yes"), ((0.04, 0.01), "no, but within the spread"), ((0.04, 0.03), "no")]
)
def test_a_yardstick_is_of_the_same_sample(values: tuple[float, ...], reached: str) -> None:
    """Each sample is held against the copy that its own process made."""
    case, row = case_of("pool_arrays"), Row("pool_arrays", "", 1.5, yardstick="a copy")
    ours = series_of(case, OURS, *values)
    ours.samples[:] = [replace(sample, yardstick=0.01) for sample in ours.samples]
    line = fill(row, [series_of(case, STANDARD, 1.0, 1.0), ours])
    assert line.reached == reached
    assert line.ratio == pytest.approx(sum(values) / 2 / 0.01)
    assert line.standard is not None
    assert (line.standard.peer, line.standard.median) == ("a copy", 0.01)
    assert fill(row, [series_of(case, OURS, None)]).ratio is None


@pytest.mark.parametrize(("ours", "reached"), [(1.05, "yes"), (1.2, "no")])
def test_a_figure_of_our_own_is_to_be_small(ours: float, reached: str) -> None:
    case, row = case_of("queue_peak"), Row("queue_peak", "peak memory", 1.1, absolute=True)
    line = fill(row, [series_of(case, STANDARD, 2.0), series_of(case, OURS, ours)])
    assert line.reached == reached
    text = as_markdown(Run(ABOUT, {}, [series_of(case, STANDARD, 2.0), series_of(case, OURS, ours)]))
    assert f"{ours:.2f} payloads" in text
    assert "at most 1.10 payloads itself" in text


def test_failures_and_absences_stay_in_the_report() -> None:
    case = case_of("array_set")
    outcome = Run(ABOUT, {"ray": "not installed"}, [series_of(case, OURS, None), series_of(case, STANDARD, 3e-7)])
    text = as_markdown(outcome)
    assert "| Array item set | 300 ns (300..300) | - | - | 4x | - | - |" in text
    assert "| Array item set | hang | **300 ns** |" in text
    assert "- ray: left out, not installed." in text
    assert "The machine was busy" in text
    assert "- allcores, array_set: hang in round 1 (0 good before): no answer" in text
    assert json.loads(json.dumps(as_json(outcome)))["rows"][0]["allcores"] is None
