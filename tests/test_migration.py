"""docs/migration.md: each line of ours runs; where theirs runs too and gives a plain result, it is the same."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

RUN_BY_US = ("multiprocessing", "concurrent.futures", "joblib")  # of the others only our lines are run

# Lines of theirs that stand for a way of working and are not whole programs.
FRAGMENTS = (
    "p.start(); p.join(); queue.get()",
    "ProcessPoolExecutor(2, max_tasks_per_child=10, mp_context=spawn)",
    "multiprocessing.shared_memory",
    "multiprocessing.Manager().dict()",
    "future.result(timeout=5)",
    "loop.run_in_executor(executor, f, 3)",
    "parallel_config(inner_max_num_threads=1)",
    'Memory("cache").cache(f)',
    "Parallel(n_jobs=2, verbose=10)",
    "Parallel(n_jobs=2, timeout=5)",
)

SCRIPT = """
import sys
from contextlib import redirect_stderr
from io import StringIO
path = {path!r}
{setup}
def done(line, names):
    with redirect_stderr(StringIO()):  # bars
        try:
            return eval(line, names)
        except SyntaxError:
            exec(line, names)
for theirs, ours in {rows!r}:
    ours_gave = done(ours, globals())
    theirs_gave = done(theirs, globals()) if theirs else None
    if theirs_gave is not None and ours_gave is not None:
        assert ours_gave == theirs_gave, (theirs, theirs_gave, ours, ours_gave)
print("whole")
"""


def parts(text: str) -> dict[str, str]:
    """The page by its second-level headings; what stands before the first is under ''."""
    pieces = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    return {"": pieces[0], **dict(zip(pieces[1::2], pieces[2::2], strict=True))}


def blocks(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def rows(text: str) -> list[tuple[str, str]]:
    found = []
    for line in text.splitlines():
        if line.startswith("| `"):
            theirs, ours = (re.search(r"`(.*)`", cell) for cell in line.split(" | ")[:2])
            assert theirs is not None, line
            assert ours is not None, line
            found.append((theirs[1], ours[1]))
    return found


PAGE = parts((Path(__file__).parent.parent / "docs" / "migration.md").read_text())


@pytest.mark.parametrize("library", [name for name in PAGE if name])
def test_their_line_our_line(library: str, tmp_path: Path) -> None:
    if library == "joblib":
        pytest.importorskip("joblib")
    pairs = [
        (theirs if library in RUN_BY_US and theirs not in FRAGMENTS else "", ours)
        for theirs, ours in rows(PAGE[library])
    ]
    assert len(pairs) > 4
    script = tmp_path / "page.py"
    setup = blocks(PAGE[""]) + ("" if library in RUN_BY_US else "pool = mp.Pool(2)\n") + blocks(PAGE[library])
    script.write_text(SCRIPT.format(path=str(tmp_path / "run.db"), setup=setup, rows=pairs))
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "whole\n"), result.stderr
