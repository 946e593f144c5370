"""The advice, and the ways to look at a comparison: numbers in, words out, nothing measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from allcores.comparison import Comparison, ContextRow, JobFacts
from allcores.comparison.advise import advise
from allcores.comparison.facts import Facts, Phases, Place
from allcores.errors import UsageError

JOB = JobFacts(
    name="job",
    items=100,
    usable_cores=2,
    item_seconds=0.01,
    longest_share=0.01,
    cpu_share=1.0,
    gil_share=1.0,
    item_bytes=10,
    result_bytes=10,
    function_bytes=500,
)


def row(context: str, place: Place, seconds: float, **changes: Any) -> ContextRow:
    """A row of a job that takes one second alone, on two cores."""
    workers = changes.pop("workers", 1 if place == "here" else 2)
    phases = {"startup": 0.0, "moving": 0.0, "blocked": 0.0, "starved": 0.0, "idle": 0.0}
    phases.update({name: changes.pop(name) for name in list(phases) if name in changes})
    made = ContextRow(
        context=context,
        place=place,
        workers=workers,
        seconds=seconds,
        rounds=(seconds, seconds * 0.9, seconds * 1.1),
        speedup=1.0 / seconds,
        of_ideal=1.0 / seconds / min(workers, 2),
        phases=Phases(**phases, computing=seconds - sum(phases.values())),
        cpu_use=1.0,
        peak_memory=50_000_000,
        unequal_at=None,
    )
    return replace(made, **changes)


SERIAL = row("serial", "here", 1.0)
THREAD = row("thread", "threads", 1.02)
PROCESS = row("process", "processes", 0.52)

ADVICE = {
    "gil": (
        JOB,
        (SERIAL, THREAD, PROCESS),
        "The GIL was held 100% of the time: threads cannot help (0.98x); use process: 1.92x of 2 possible.",
    ),
    "gil is free": (
        replace(JOB, gil_share=0.04),
        (SERIAL, row("thread", "threads", 0.52), row("process", "processes", 0.55)),
        "The GIL was free 96% of the time: threads compute side by side without copying anything; "
        "use thread: 1.92x of 2 possible.",
    ),
    "threads, nothing known of the gil": (
        replace(JOB, gil_share=None),
        (SERIAL, row("thread", "threads", 0.52)),
        "Threads compute side by side without copying anything; use thread: 1.92x of 2 possible.",
    ),
    "gil is held, and threads gain all the same": (
        replace(JOB, gil_share=0.6),
        (SERIAL, row("thread", "threads", 0.8), row("process", "processes", 1.3)),
        "The GIL was held 60% of the time: threads help little, but nothing did better; "
        "use thread: 1.25x of 2 possible; most of the rest went to computing, which took longer than alone.",
    ),
    "waiting": (
        replace(JOB, gil_share=None, cpu_share=0.05),
        (SERIAL, row("thread", "threads", 0.125, workers=8), row("process", "processes", 0.15, workers=8)),
        "The job waits 95% of its time (input, output, locks), and threads overlap that without copying "
        "anything: use thread, 8.00x; more workers than the 8 here may gain more.",
    ),
    "waiting, processes only": (
        replace(JOB, gil_share=None, cpu_share=0.05),
        (SERIAL, PROCESS),
        "The job waits 95% of its time (input, output, locks), and processes overlap that; use process: 1.92x.",
    ),
    "processes only": (
        replace(JOB, gil_share=None),
        (SERIAL, PROCESS),
        "The work can be shared out; use process: 1.92x of 2 possible.",
    ),
    "some gil": (
        replace(JOB, gil_share=0.3),
        (SERIAL, row("thread", "threads", 0.7), PROCESS),
        "Threads reached 1.43x, processes do more; use process: 1.92x of 2 possible.",
    ),
    "copied, and it does not pay": (
        replace(JOB, item_bytes=80_000_000),
        (SERIAL, THREAD, row("process", "processes", 3.0, moving=2.4)),
        "Input of 80 MB is copied per item, and that costs more than computing gains: share it, or stay serial.",
    ),
    "copied results": (
        replace(JOB, result_bytes=8_000_000),
        (SERIAL, THREAD, row("process", "processes", 3.0, moving=2.4)),
        "A result of 8 MB is copied per item, and that costs more than computing gains: share it, or stay serial.",
    ),
    "copied, and it pays all the same": (
        replace(JOB, function_bytes=24_000_000),
        (SERIAL, THREAD, row("process", "processes", 0.8, moving=0.3)),
        "The GIL was held 100% of the time: threads cannot help (0.98x); use process: 1.25x of 2 possible; "
        "The function carries 24 MB with it (arguments, closure) to each worker: share it to gain more.",
    ),
    "start-up outweighs": (
        JOB,
        (SERIAL, THREAD, row("process", "processes", 8.0, startup=7.4, moving=0.1)),
        "Start-up of 7.4 s outweighs 1 s of work: stay serial.",
    ),
    "start-up eats the gain": (
        JOB,
        (SERIAL, THREAD, row("process", "processes", 1.3, startup=0.7, moving=0.1)),
        "Start-up of 700 ms eats up what can be gained on 1 s of work: stay serial.",
    ),
    "start-up, and it pays all the same": (
        replace(JOB, gil_share=None),
        (SERIAL, row("process", "processes", 0.8, startup=0.3)),
        "The work can be shared out; use process: 1.25x of 2 possible; start-up takes 300 ms of it: "
        "more work for one pool gains more.",
    ),
    "tiny items": (
        replace(JOB, item_seconds=3e-6),
        (SERIAL, THREAD, row("process", "processes", 3.0, moving=2.4)),
        "Items of 3 µs cost more to hand over than to compute: put many into one item, or stay serial.",
    ),
    "small items": (
        replace(JOB, item_seconds=9e-6),
        (SERIAL, THREAD, row("process", "processes", 0.8, moving=0.3)),
        "The GIL was held 100% of the time: threads cannot help (0.98x); use process: 1.25x of 2 possible; "
        "items of 9 µs are small: put many into one to gain more.",
    ),
    "one item": (
        replace(JOB, items=1, longest_share=1.0),
        (SERIAL, THREAD, row("process", "processes", 1.1)),
        "One item cannot be shared out: split it into smaller items, or stay serial.",
    ),
    "one core": (
        replace(JOB, usable_cores=1),
        (SERIAL, THREAD, row("process", "processes", 1.1)),
        "Only 1 core is usable here, so nothing computes at the same time: stay serial.",
    ),
    "lopsided": (
        replace(JOB, longest_share=0.97),
        (SERIAL, THREAD, row("process", "processes", 1.0, idle=0.47)),
        "One item is 97% of all the work, and no worker can share it: split it, or stay serial.",
    ),
    "lopsided, and it pays all the same": (
        replace(JOB, longest_share=0.7),
        (SERIAL, THREAD, row("process", "processes", 0.72, idle=0.2)),
        "The GIL was held 100% of the time: threads cannot help (0.98x); use process: 1.39x of 2 possible; "
        "one item is 70% of all the work: split it to gain more.",
    ),
    "gil, no processes": (
        JOB,
        (SERIAL, THREAD),
        "The GIL was held 100% of the time: threads cannot help; measure processes too.",
    ),
    "busy machine": (
        JOB,
        (SERIAL, THREAD, row("process", "processes", 1.0, starved=0.5)),
        "Other programs had the cores for 50% of the time, so these numbers say little: measure again when "
        "the machine is quiet; by time alone: nothing beat serial.",
    ),
    "busy machine, and it pays all the same": (
        JOB,
        (SERIAL, row("thread", "threads", 0.7, starved=0.2), row("process", "processes", 0.8, starved=0.1)),
        "Other programs had the cores for 29% of the time, so these numbers say little: measure again when "
        "the machine is quiet; by time alone: thread, 1.43x.",
    ),
    "workers that are more than the cores take them from each other": (
        replace(JOB, gil_share=None),
        (SERIAL, row("process", "processes", 0.52, starved=0.26, workers=8)),
        "The work can be shared out; use process: 1.92x of 2 possible.",
    ),
    "no gain": (
        JOB,
        (SERIAL, THREAD, row("process", "processes", 1.0, idle=0.3)),
        "Nothing was more than 10% faster than serial; process lost most to workers that had no item left: "
        "stay serial.",
    ),
    "slower computing": (
        JOB,
        (SERIAL, THREAD, row("process", "processes", 0.8)),
        "The GIL was held 100% of the time: threads cannot help (0.98x); use process: 1.25x of 2 possible; "
        "most of the rest went to computing, which took longer than alone.",
    ),
    "alone": (JOB, (SERIAL,), "Only serial was measured: name more contexts to learn which one is fastest."),
    "no serial": (
        JOB,
        (replace(THREAD, speedup=1.0), row("process", "processes", 1.5)),
        "thread was the fastest of these: measure serial too, to see what it gains.",
    ),
    "unequal": (
        JOB,
        (SERIAL, THREAD, replace(PROCESS, unequal_at=3)),
        "Do not trust the speed-up yet: process gave results unequal to those of serial (first at item 3); "
        "the job depends on chance, on order, or on state that its calls share.",
    ),
    "changing": (
        JOB,
        (replace(SERIAL, unequal_at=0), replace(THREAD, unequal_at=0), replace(PROCESS, unequal_at=0)),
        "The results differ from run to run even in serial (first at item 0: random numbers, the time, "
        "state that is kept?), so they cannot be checked; by time alone: The GIL was held 100% of the time: "
        "threads cannot help (0.98x); use process: 1.92x of 2 possible.",
    ),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case: str) -> None:
    job, rows, sentence = ADVICE[case]
    assert advise(Facts(job, rows)) == sentence


def test_the_simplest_of_those_within_ten_per_cent_is_best() -> None:
    close = (SERIAL, row("thread", "threads", 0.57), PROCESS)
    assert Facts(JOB, close).best.context == "thread"
    assert Facts(JOB, close).fastest.context == "process"
    assert Facts(JOB, (row("serial", "here", 0.57), *close[1:])).best.context == "serial"
    assert Facts(JOB, (row("serial", "here", 0.58), row("thread", "threads", 0.58), PROCESS)).best is PROCESS


# --- the ways to look at it -----------------------------------------------------------------------


@pytest.fixture
def found() -> Comparison:
    rows = (SERIAL, THREAD, replace(PROCESS, unequal_at=3))
    return Comparison(job=replace(JOB, name="<job>"), rows=rows, machine={"cores": 2}, results=[])


def test_text(found: Comparison) -> None:
    lines = str(found).splitlines()
    assert lines[0] == "<job>: 100 items, 10 ms each, 3 rounds, 2 usable cores"
    assert lines[2] == "context  workers  median s      min - max  speed-up  of ideal            results"
    assert lines[4] == "serial         1     1.000  0.900 - 1.100     1.00x      100%              equal"
    assert lines[6] == "process        2     0.520  0.468 - 0.572     1.92x       96%  UNEQUAL at item 3"
    assert lines[-1] == found.advice
    assert max(map(len, lines[:-1])) <= 80


def test_dict_is_json(found: Comparison) -> None:
    data = json.loads(json.dumps(found.to_dict()))
    assert [c["context"] for c in data["contexts"]] == ["serial", "thread", "process"]
    assert data["contexts"][0]["phases"]["waiting"] == 0.0
    assert [c["equal"] for c in data["contexts"]] == [True, True, False]
    assert data["best"] == "process"
    assert data["advice"] == found.advice
    assert data["job"]["gil_share"] == 1.0


def test_html_is_escaped(found: Comparison) -> None:
    html = found._repr_html_()
    assert "&lt;job&gt;" in html
    assert "<job>" not in html
    assert html.count("<tr>") == 8


def test_terminal(found: Comparison) -> None:
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    Console(file=out, force_terminal=True, width=100).print(found)
    assert "\x1b[" in out.getvalue()
    assert "UNEQUAL at item 3" in out.getvalue()


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Matplotlib keeps its font files open for the program's life: it opens them before a test is watched."""
    Comparison(JOB, (SERIAL,), {}, []).plot(tmp_path_factory.mktemp("fonts") / "out.png")


@pytest.mark.usefixtures("fonts")
def test_plot(found: Comparison, tmp_path: Path) -> None:
    path = found.plot(tmp_path / "new" / "out.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    with pytest.raises(UsageError, match=r"out.txt has no known ending for a picture: use one of .png"):
        found.plot(tmp_path / "out.txt")
