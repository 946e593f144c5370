"""Whole programs: scripts without a guard, sessions from stdin, and the examples of the learner's path.

Each `scripts/main_*.py` has to print what is in the `.out` file beside it, and nothing on stderr.
"""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent
SCRIPTS = HERE / "scripts"
EXAMPLES = HERE.parent / "examples"
PATIENCE = 45


def run(*args: str | Path, stdin: str | None = None, cwd: Path = HERE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd
    )


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("main_*.py")))
def test_script(script: str, tmp_path: Path) -> None:
    result = run(SCRIPTS / f"{script}.py", cwd=tmp_path)
    assert result.stdout == (SCRIPTS / f"{script}.out").read_text()
    assert result.stderr == ""
    assert result.returncode == 0


def session(how: str) -> subprocess.CompletedProcess[str]:
    """The same text as a file, after -c, from a pipe, and typed into the interactive interpreter."""
    text = (SCRIPTS / "session.py").read_text()
    match how:
        case "file":
            return run(SCRIPTS / "session.py")
        case "command":
            return run("-c", text)
        case "pipe":
            return run(stdin=text)
        case _:
            return run("-i", "-q", stdin=text)


@pytest.mark.parametrize("how", ["file", "command", "pipe", "interactive"])
def test_session(how: str) -> None:
    result = session(how)
    assert result.stdout == (SCRIPTS / "session.out").read_text()
    assert result.stderr.replace(">>> ", "").replace("... ", "").strip() == ""
    assert result.returncode == 0


def test_a_failing_worker_prints_its_traceback() -> None:
    result = run(SCRIPTS / "failing.py")
    assert result.stdout.split() == [word for name in ("serial", "thread", "process") for word in (name, "1") * 2]
    assert result.stderr.count("Traceback (most recent call last)") == 6
    assert result.stderr.count("ValueError: kaboom") == 6
    assert result.stderr.count("in explode") == 6
    assert result.returncode == 0


def test_lines_of_many_workers_stay_whole() -> None:
    names = ("Ada", "Bob", "Cyd", "Dot")
    lines = [f"I am {name} and this is line {i}" for name in names for i in range(200)]
    assert sorted(run(SCRIPTS / "whole_lines.py").stdout.splitlines()) == sorted(lines)


def test_a_worker_that_leaves_with_a_message() -> None:
    result = run(SCRIPTS / "leaving.py")
    assert result.stdout == "1\n"
    assert result.stderr == "goodbye\n"


def test_workers_go_with_a_killed_program() -> None:
    """Idle, waiting or busy: the template and the workers of a program killed by SIGKILL are gone within seconds."""
    command = [sys.executable, str(SCRIPTS / "waits_to_be_killed.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            workers = {int(pid) for pid in program.stdout.readline().split()}
            family = psutil.Process(program.pid).children(recursive=True)
        finally:
            program.kill()
        program.wait()
        _, alive = psutil.wait_procs(family, timeout=5)
        for process in alive:
            process.kill()
        assert len(workers) == 3
        assert workers <= {process.pid for process in family}
        assert alive == []


LOCKED = ("1 2 3 4 5 8 11 14 17 20", "3 6 9 12 15 16 17 18 19 20")

# What each example prints, as a pattern; where workers print, their lines may come in any order.
PRINTED = {
    "01_process_and_thread": r"the process gives 3, exit code 0\nthe thread gives 7, exit code 0\n",
    "02_queue": r"249833583000 \+ 249833583000 = 499667166000\n",
    "03_efficiency": r"normal +\d+\.\d+ s\nthreads +\d+\.\d+ s\nprocesses +\d+\.\d+ s\n",
    "04_pool": r"\[0, 1, 4, 9, 16, 25, 36, 49, 64, 81\]\n4\n\[0, 1, 4, 9, 16, 25, 36, 49, 64, 81\]\n"
    r"\[1, 8, 81\]\n\[0, 1, 4, 9, 16\]\n",
    "05_value_and_array": r"800000\n\[10, 20, 30, 40\]\n\[0\.0, 0\.5, 1\.0, 1\.5, 2\.0\]\n",
    "06_lock": rf"without: \d+( \d+){{9}}\nwith: +({'|'.join(LOCKED)})\n",
    "07_images": r"loaded:     means from 100 to 119\nnormalised: mean 0\.00, deviation 1\.00\n",
    "08_kmeans": r"\[\[0, 0\], \[10, 0\], \[0, 10\]\]\n",
    "09_pandas": r"Bern +49\.5\nOslo +59\.5\nRome +69\.5\n",
    "pool_options": r"\[0, 10, 20, 30, 40\]\nTrue\n"
    r"item 0 failed: ZeroDivisionError\(.*\n12\.0\n6\.0\nitem 3 failed: TaskTimeout\(.*\n3\.0\n"
    r"\[0, 10, 20, 30, 40\]\n(working on \d\n){3}\[0, 1, 4\]\n\[0, 1, 4\]\n70\n",
}
# What an example needs that allcores itself does not.
NEEDS = {"09_pandas": "pandas"}


@pytest.mark.parametrize("example", PRINTED)
def test_example(example: str) -> None:
    if example in NEEDS:
        pytest.importorskip(NEEDS[example])
    result = run(EXAMPLES / f"{example}.py")
    assert result.stderr == ""
    assert re.fullmatch(PRINTED[example], result.stdout), result.stdout
    assert "if __name__" not in (EXAMPLES / f"{example}.py").read_text()


@pytest.mark.parametrize(
    "context",
    ["serial", "process", pytest.param("dask", marks=pytest.mark.slow), pytest.param("ray", marks=pytest.mark.slow)],
)
def test_the_path_on_a_cluster(context: str) -> None:
    """Or anywhere else: the same program."""
    if context in ("dask", "ray"):
        pytest.importorskip({"dask": "distributed"}.get(context, context))
    result = run(EXAMPLES / "10_cluster.py", context)
    assert result.stdout == "a process of the cluster returned 49\n1 counted 3 counted in all 4\n333283335000\n"
    assert result.returncode == 0, result.stderr


def test_the_page_of_the_pool(root: Path, tmp_path: Path) -> None:
    """Its blocks, one after another, print what their comments say."""
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "pool.md").read_text(), re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    result = run(script)
    assert result.returncode == 0, result.stderr
    expected = """
        [0, 1, 4, 9, 16] / [8, 9] / 49 / 0 / 1 / 4
        0 / item 1: ValueError, attempts: 1 / item 2: TaskTimeout, attempts: 2 / item 3: WorkerDied, attempts: 2 / 4
        True / 39601 / [10, 20, 30] / [0, 1, 4, 9] / 9 / [0, 1, 4, 9] / 16
    """
    assert result.stdout.splitlines() == [line.strip() for line in re.split(r"[/\n]", expected.strip())]
