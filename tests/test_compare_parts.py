"""What a comparison is made of: the accounts, equality, sizes, the demo's jobs. Pure but for the last."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from allcores.comparison.account import (
    Record,
    RoundTimes,
    Work,
    gil_share,
    group_size,
    rounds_for,
    split_time,
    where,
    work_of,
)
from allcores.comparison.equal import first_difference, same
from allcores.comparison.facts import Phases
from allcores.comparison.jobs import NOT_TOKENIZED, classic, count_tokens, stdlib_files
from allcores.comparison.machine import pickled_size
from allcores.comparison.probe import Probe, mark_ready
from allcores.comparison.units import short_repr, size_text, time_text

# --- the accounts ---------------------------------------------------------------------------------


def record(first: int, start: int, end: int, *, process: int = 1, thread: int = 1, **changes: Any) -> Record:
    """A record with times in seconds after the round's begin; always on the CPU unless said otherwise."""
    made = Record(
        first=first,
        results=[],
        failure=None,
        ready_ns=10**9,
        start_ns=start * 10**9,
        end_ns=end * 10**9,
        cpu_ns=(end - start) * 10**9,
        starved_ns=0,
        process=process,
        thread=thread,
        process_cpu=0.0,
        peak=0,
    )
    return made._replace(**changes)


def test_time_is_divided_without_rest() -> None:
    records = [
        record(0, 2, 5, process=2, cpu_ns=10**9, starved_ns=10**9),
        record(1, 6, 8, process=2),
        record(2, 2, 6, process=3),
    ]
    times = RoundTimes(begin=0, done=9 * 10**9, end=10 * 10**9)
    phases = split_time(records, times, 2, "processes")
    assert phases == Phases(startup=2.0, moving=2.5, blocked=0.5, starved=0.5, idle=1.0, computing=3.5)
    assert phases.waiting == 2.0
    assert sum((2.0, 2.5, 0.5, 0.5, 1.0, 3.5)) == times.wall


def test_nobody_starves_longer_than_off_the_cpu() -> None:
    records = [record(0, 1, 5, cpu_ns=3 * 10**9, starved_ns=9 * 10**9)]
    phases = split_time(records, RoundTimes(0, 5 * 10**9, 5 * 10**9), 1, "here")
    assert phases == Phases(startup=1.0, moving=0.0, blocked=0.0, starved=1.0, idle=0.0, computing=3.0)


def test_gaps_in_threads_are_waiting() -> None:
    records = [record(0, 1, 4, thread=2), record(1, 6, 8, thread=2)]
    phases = split_time(records, RoundTimes(0, 8 * 10**9, 8 * 10**9), 1, "threads")
    assert phases == Phases(startup=1.0, moving=0.0, blocked=2.0, starved=0.0, idle=0.0, computing=5.0)


def test_a_worker_that_never_got_an_item_was_idle() -> None:
    phases = split_time([record(0, 1, 9, process=2)], RoundTimes(0, 9 * 10**9, 9 * 10**9), 2, "processes")
    assert phases == Phases(startup=1.0, moving=0.0, blocked=0.0, starved=0.0, idle=4.0, computing=4.0)


def test_a_worker_older_than_the_round_cost_no_start_up() -> None:
    old = record(0, 5, 9, ready_ns=1)
    phases = split_time([old], RoundTimes(4 * 10**9, 9 * 10**9, 9 * 10**9), 1, "here")
    assert phases == Phases(startup=0.0, moving=1.0, blocked=0.0, starved=0.0, idle=0.0, computing=4.0)


def test_where_the_work_ran() -> None:
    assert where([record(0, 1, 2)], 1, 1) == "here"
    assert where([record(0, 1, 2), record(1, 1, 2, thread=2)], 1, 1) == "threads"
    assert where([record(0, 1, 2), record(1, 1, 2, process=2)], 1, 1) == "processes"


def test_the_probe_fills_a_record() -> None:
    mark_ready()
    made = Record._make(Probe(pow, (2,))((5, [3, 4])))
    assert (made.first, made.results, made.failure) == (5, [9, 16], None)
    assert 0 < made.ready_ns <= made.start_ns <= made.end_ns
    assert 0 <= made.cpu_ns < 10**9
    assert made.starved_ns >= 0
    assert (made.process, made.thread) == (os.getpid(), threading.get_ident())
    assert 0 < made.process_cpu <= sum(os.times()[:2]) + 0.1
    assert 10**6 < made.peak < 10**12


def test_the_probe_keeps_what_came_before_an_error() -> None:
    made = Record._make(Probe(lambda x: 1 / x, ())((5, [1, 2, 0, 4])))
    assert made.results == [1, 0.5]
    assert made.failure is not None
    assert made.failure[:2] == (7, "ZeroDivisionError: division by zero")


def test_work_is_summed_over_workers() -> None:
    records = [record(0, 1, 4), record(1, 2, 7, thread=2, cpu_ns=10**9)]
    assert work_of(records) == Work(busy=8.0, cpu=4.0, starved=0.0, span=6.0, longest=5.0)


@pytest.mark.parametrize(
    ("cpu", "span", "cpu_share", "lanes", "share"),
    [
        (1.0, 1.0, 1.0, 2, 1.0),  # two threads computed one second a second: always one at a time
        (2.0, 1.0, 1.0, 2, 0.0),  # never
        (1.5, 1.0, 1.0, 2, 1 / 3),
        (0.9, 1.0, 1.0, 2, 1.0),  # less than one: still not more than always
        (4.0, 1.0, 1.0, 4, 0.0),
        (1.0, 1.0, 1.0, 1, None),  # one thread has nobody to keep out
        (0.1, 1.0, 0.1, 2, None),  # it mostly waits
        (1e-3, 1e-3, 1.0, 2, None),  # too short to tell
    ],
)
def test_gil_share(cpu: float, span: float, cpu_share: float, lanes: int, share: float | None) -> None:
    assert gil_share(Work(busy=cpu, cpu=cpu, starved=0.0, span=span, longest=cpu), cpu_share, lanes) == pytest.approx(
        share
    )


def test_the_gil_cannot_be_told_from_a_busy_machine() -> None:
    assert gil_share(Work(busy=2.0, cpu=1.0, starved=0.3, span=1.0, longest=1.0), 1.0, 2) is None
    assert gil_share(Work(busy=2.0, cpu=1.0, starved=0.1, span=1.0, longest=1.0), 1.0, 2) == 1.0


def test_group_size() -> None:
    assert group_size(100, 2, None) == 1
    assert group_size(1_000_000, 2, None) == 1953
    assert group_size(1_000, 2, 1e-3) == 1  # a millisecond needs no company
    assert group_size(1_000_000, 2, 1e-6) == 250
    assert group_size(160, 2, 1e-9) == 10  # enough groups are left to share out
    assert group_size(1, 8, 0.0) == 1


def test_rounds_for() -> None:
    assert rounds_for(5.0, 60.0) == 3
    assert rounds_for(25.0, 60.0) == 2
    assert rounds_for(100.0, 60.0) == 1
    assert rounds_for(0.4, 60.0) == 5
    assert rounds_for(0.0, 60.0) == 9


# --- equal or not ---------------------------------------------------------------------------------


class Plain:
    """Without an == of its own."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Odd:
    """With an == that says no."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def cycle() -> list[Any]:
    made: list[Any] = [1]
    made.append(made)
    return made


NAN = float("nan")


@pytest.mark.parametrize(
    ("left", "right", "alike"),
    [
        (1, 1, True),
        (1, 2, False),
        (1, 1.0, True),
        ("a", b"a", False),
        (NAN, -NAN, True),
        (NAN, 0.0, False),
        (complex(NAN, 0), complex(NAN, 0), True),
        ([1, NAN, "a"], [1, NAN, "a"], True),
        ([1, 2], [1, 2, 3], False),
        ([1, 2], (1, 2), False),
        ({"a": NAN, "b": [1]}, {"b": [1], "a": NAN}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": 1}, False),
        ({1, 2}, {2, 1}, True),
        (None, 0, False),
        (np.arange(3), np.arange(3), True),
        (np.arange(3), np.arange(4), False),
        (np.array([1.0, NAN]), np.array([1.0, NAN]), True),
        (np.array([1.0, NAN]), np.array([NAN, 1.0]), False),
        (np.array(["a", "b"]), np.array(["a", "b"]), True),
        (np.array([1, None, NAN], object), np.array([1, None, NAN], object), True),
        (np.array([(1, NAN)], "i4,f8"), np.array([(1, NAN)], "i4,f8"), True),
        (np.array([(1, NAN)], "i4,f8"), np.array([(2, NAN)], "i4,f8"), False),
        (np.array(["NaT"], "M8[s]"), np.array(["NaT"], "M8[s]"), True),
        (np.float64(NAN), np.float64(NAN), True),
        (np.float64(2.0), 2.0, True),
        (np.zeros(2), [0.0, 0.0], True),
        ({"a": [np.zeros(2)]}, {"a": [np.zeros(2)]}, True),
        (Plain([NAN]), Plain([NAN]), True),
        (Plain(1), Plain(2), False),
        (Odd(), Odd(), False),
        (cycle(), cycle(), True),
    ],
)
def test_same(left: Any, right: Any, alike: bool) -> None:
    assert same(left, right) is alike


def test_first_difference() -> None:
    assert first_difference([1, NAN], [1, NAN]) is None
    assert first_difference([1, 2, 3], [1, 5, 6]) == 1
    assert first_difference([1, 2], [1]) == 1


# --- small things ---------------------------------------------------------------------------------


def test_units() -> None:
    assert [time_text(t) for t in (5.2, 0.04, 3e-6, 9.99, 2e-9)] == ["5.2 s", "40 ms", "3 µs", "10 s", "2 ns"]
    assert [size_text(s) for s in (80e6, 512, 1500, 2e9, 0)] == ["80 MB", "512 B", "1.5 kB", "2 GB", "0 B"]


def test_short_repr_never_raises() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert short_repr("a\nb") == r"'a\nb'"
    assert short_repr(Broken()) == "<Broken, whose repr raised ValueError>"
    assert len(short_repr("x" * 100)) == 60


def test_pickled_size_counts_buffers_and_gives_up_on_what_cannot_be_sent() -> None:
    assert 800_000 < (pickled_size([np.zeros(100_000)]) or 0) < 801_000
    assert pickled_size([1, threading.Lock()]) is None
    assert pickled_size([lambda x: x]) is not None


def test_demo_jobs(tmp_path: Path) -> None:
    files = stdlib_files()
    assert len(files) > 300
    assert files == sorted(files)
    assert not any(Path(file).name == "test_grammar.py" for file in files)
    source = tmp_path / "source.py"
    source.write_text("x = (1\n")
    assert count_tokens(str(source)) == {NOT_TOKENIZED: 1}
    source.write_text("x = 1\n")
    assert count_tokens(str(source))["NAME"] == 1
    assert classic(4) == sum(i + i**2 + i**3 for i in range(4))


def test_a_worker_loads_nothing_heavy() -> None:
    code = (
        "import allcores.comparison.probe, sys; "
        "heavy = ('numpy', 'rich', 'matplotlib', 'typer', 'cloudpickle', 'allcores.comparison.measure'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_name_stays_a_function() -> None:
    code = (
        "import allcores.comparison, allcores.comparison.measure, allcores; "
        "from allcores import compare; print(callable(allcores.compare), compare is allcores.compare)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True"
