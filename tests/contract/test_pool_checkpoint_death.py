"""Pool: a program with a checkpoint that is killed, all of it, at any moment; again and again, until it is done."""

import collections
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .kit import Place

N = 120
# Of items that take 2 ms: those in the workers' hands, those that had answered, those that were not worth a commit.
MOST_LOST = 40

PROGRAM = """
import os, sys, time
import allcores

def job(x):
    end = time.perf_counter() + 0.002
    while time.perf_counter() < end:
        pass
    os.write(1, b"%d\\n" % x)
    return x * x, "a result of some length " * (x % 7)

with allcores.get_context(sys.argv[1]).Pool(2) as pool:
    call = getattr(pool, sys.argv[2])
    results = list(call(job, range({n}), checkpoint=sys.argv[3]))
    assert sorted(results) == sorted((x * x, "a result of some length " * (x % 7)) for x in range({n}))
    os.write(1, b"done\\n")
"""


def run(place: str, method: str, file: Path, kill_after: int | None) -> list[str]:
    """The lines of one run of the program; killed when it has said so many."""
    code = PROGRAM.format(n=N)
    command = [sys.executable, "-c", code, place, method, str(file)]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        for line in program.stdout:  # to its end: until the last worker is gone
            said.append(line.strip())
            if len(said) == kill_after:
                program.kill()  # its workers go with it
        errors = program.stderr.read()
    assert kill_after is not None or program.returncode == 0, errors
    return said


def committed(file: Path) -> set[int]:
    """What the file has, as whoever comes next sees it."""
    db = sqlite3.connect(file)
    try:
        rows = db.execute("select start, count from done").fetchall()
    except sqlite3.OperationalError:  # killed before there were tables
        rows = []
    finally:
        db.close()
    return {x for start, count in rows for x in range(start, start + count)}


@pytest.mark.lacks("cluster")  # it reads what workers print
@pytest.mark.parametrize("method", ["map", "imap_unordered"])
def test_nothing_that_was_committed_is_lost_or_done_again(place: Place, method: str, tmp_path: Path) -> None:
    file, dice = tmp_path / "run.db", random.Random(f"{place.name} {method}")
    ran: collections.Counter[int] = collections.Counter()
    safe: set[int] = set()
    for _ in range(4):
        said = run(place.name, method, file, kill_after=dice.randrange(1, 40))
        items = [int(line) for line in said if line.isdigit()]
        assert not safe & set(items), "committed, and done again"
        ran.update(items)
        before, safe = safe, committed(file)
        assert before <= safe, "committed, and lost"
        assert len(set(items) - safe) <= MOST_LOST
    assert safe
    said = run(place.name, method, file, kill_after=None)
    assert said[-1] == "done"
    items = [int(line) for line in said[:-1]]
    assert sorted(items) == sorted(set(range(N)) - safe)
    ran.update(items)
    assert set(ran) == set(range(N))
    assert max(ran.values()) <= 5
    assert run(place.name, method, file, kill_after=None) == ["done"]
    assert os.listdir(tmp_path) == ["run.db"]
