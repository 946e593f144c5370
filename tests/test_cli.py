"""The command: what it prints, what it writes, and one line with exit code 2 for what the user can mend."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import allcores
from allcores.cli import main
from allcores.comparison import compare

JOB = """
from __future__ import annotations
from dataclasses import dataclass

RUNS = __file__ + ".runs"
with open(RUNS, "a") as file:
    file.write("x")

if __name__ == "__main__":
    raise SystemExit("this is not the main program")

@dataclass
class Point:
    x: int

FEW = [1, 2, 3]

def items():
    return [1, 2]

def square(x):
    return Point(x * x)

def power(x, n, *more):
    assert more == ("word", [1])
    return x**n

def inverse(x):
    return 1 / (x - 2)

def broken():
    raise OSError("no\\nitems today")

def no_generator():
    return 3
"""


class Outcome(NamedTuple):
    """What one call of the command left."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Matplotlib keeps its font files open for the program's life: it opens them before a test is watched."""
    compare(abs, [1], contexts=("serial",), times=1).plot(tmp_path_factory.mktemp("fonts") / "out.png")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run the command in this process, in an empty folder with job.py in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "job.py").write_text(JOB)

    def run(*argv: str) -> Outcome:
        code = main(argv)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.mark.usefixtures("fonts")
def test_compare_prints_and_writes(call: Call, tmp_path: Path) -> None:
    outputs = ("--plot", "new/out.png", "--json", "new/out.json")
    done = call("compare", "job.py:square", "--over", "job.py:FEW", "--times", "1", "--workers", "2", *outputs)
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.startswith("square: 3 items, ")
    for context in ("serial", "thread", "process"):
        assert f"\n{context}  " in done.out
    data = json.loads((tmp_path / "new/out.json").read_text())
    assert data["advice"] in done.out
    assert [c["workers"] for c in data["contexts"]] == [1, 2, 2]
    assert [c["equal"] for c in data["contexts"]] == [True, True, True]
    assert (tmp_path / "new/out.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "job.py.runs").read_text() == "x", "the file's top level runs once, in the parent"


def test_items_beside_the_function_are_the_default(call: Call) -> None:
    done = call("compare", "job.py:square", "--contexts", "serial")
    assert done.out.startswith("square: 2 items, ")


def test_a_module_of_the_working_folder_is_found(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine_to_compare.py").write_text("def f(x):\n    return x\n")
    done = call("compare", "mine_to_compare:f", "--items", "4", "--times", "1")
    sys.modules.pop("mine_to_compare", None)
    assert done.code == 0, done.err
    assert done.out.startswith("f: 4 items, ")


def test_further_arguments_are_literals_or_words(call: Call) -> None:
    more = ("--arg", "3", "--arg", "word", "--arg", "[1]")
    done = call("compare", "job.py:power", *more, "--over", "range(-2, 5)", "--contexts", "serial")
    assert done.code == 0, done.err
    assert done.out.startswith("power: 7 items, ")


@pytest.mark.parametrize(
    ("over", "count"),
    [
        ("range(3)", 3),
        ("range( 1, 9, 4 )", 2),
        ("[1, 2]", 2),
        ("{1: 2}", 1),
        ("'abc'", 3),
        ("math:tau.hex", 20),
    ],
)
def test_over(call: Call, over: str, count: int) -> None:
    done = call("compare", "builtins:repr", "--over", over, "--contexts", "serial", "--times", "1")
    assert done.out.startswith(f"repr: {count} item"), done.err


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nowhere_at_all:f"], "there is no module 'nowhere_at_all': for a file write FILE.py:FUNCTION"),
        (["nowhere.py:f"], "there is no file {folder}/nowhere.py"),
        (
            ["job.py:sqare"],
            "job.py has no 'sqare': it has Point, broken, inverse, items, no_generator, power, sq",
        ),
        (["job.py"], "job.py names nothing: write MODULE:FUNCTION or FILE.py:FUNCTION"),
        (["job.py:FEW"], "job.py:FEW is not a function but [1, 2, 3]"),
        (["bad.py:f"], "{folder}/bad.py could not be read: SyntaxError: "),
        (["leaves.py:f"], "{folder}/leaves.py could not be loaded: SystemExit: good bye"),
        (["leaves:f"], "leaves could not be imported: SystemExit: good bye"),
        (["job.py:square", "--items", "0"], "there are no items"),
        (["job.py:square", "--over", "[]"], "there are no items"),
        (
            ["math:sqrt"],
            "the job has no items: give --items N for range(N) or --over ITERABLE, or define items()",
        ),
        (["job.py:square", "--items", "3", "--over", "[1]"], "--items and --over were both given"),
        (["job.py:square", "--over", "5"], "--over 5 is not iterable: it gave 5"),
        (["job.py:square", "--over", "os.getcwd()"], "--over os.getcwd() names nothing: write range(N)"),
        (["job.py:square", "--over", "range(f())"], "--over range(f()) is no plain range: write range(stop)"),
        (["job.py:square", "--over", "range(1)[0]"], "--over range(1)[0] is no plain range"),
        (
            ["job.py:square", "--over", "range(1, 2, 0)"],
            "--over range(1, 2, 0) is no range: range() arg 3 must not be",
        ),
        (
            ["job.py:square", "--over", "job.py:broken"],
            "--over job.py:broken failed: OSError: no items today",
        ),
        (
            ["job.py:square", "--over", "job.py:no_generator"],
            "--over job.py:no_generator is not iterable: it gave 3",
        ),
        (["job.py:square", "--items", "many"], "Invalid value for '--items': "),
        (["job.py:square", "--times", "0"], "times must be at least 1, not 0"),
        (["job.py:square", "--workers", "0"], "workers must be at least 1, not 0"),
        (["job.py:square", "--contexts", "serial,moon"], ""),
        (["job.py:square", "--contexts", ","], "contexts must be different names"),
        (
            ["job.py:square", "--plot", "out.txt"],
            "out.txt has no known ending for a picture: use one of .png",
        ),
        (
            ["job.py:square", "--json", "job.py/out.json"],
            "job.py/out.json cannot be written: {folder}/job.py is in",
        ),
        (["job.py:square", "--bogus"], "No such option: --bogus"),
        ([], "Missing argument"),
    ],
)
def test_what_the_user_can_mend_is_one_line(call: Call, tmp_path: Path, argv: list[str], line: str) -> None:
    (tmp_path / "bad.py").write_text("def f(:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit('good bye')\n")
    done = call("compare", *argv)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"allcores: {line.format(folder=tmp_path)}")
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("context", ["serial", "thread", "process"])
def test_a_failing_job_names_its_item(call: Call, tmp_path: Path, context: str) -> None:
    done = call("compare", "job.py:inverse", "--items", "5", "--contexts", context, "--plot", "out.png")
    assert done.code == 2
    assert done.err == (
        f"allcores: the job failed at item 2 (2) in the {context} context: ZeroDivisionError: division by zero\n"
    )
    assert not (tmp_path / "out.png").exists()


def test_no_such_command(call: Call) -> None:
    done = call("compete")
    assert done.code == 2
    assert done.err.startswith("allcores: No such command 'compete'")
    assert done.err.count("\n") == 1


def test_version_and_help(call: Call) -> None:
    assert call("--version") == (0, f"allcores {allcores.__version__}\n", "")
    helped = call()
    assert helped.code == 0
    assert "compare" in helped.out
    assert "demo" in helped.out
    assert "--over" in call("compare", "--help").out


def test_ctrl_c_is_one_line_too(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("allcores.comparison.measure.compare", interrupted)
    assert call("compare", "job.py:square") == (130, "", "allcores: interrupted\n")


@pytest.mark.usefixtures("fonts")
def test_demo(call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("allcores.comparison.demo.stdlib_files", lambda: [json.__file__, str(tmp_path / "bad.py")])
    monkeypatch.setattr("allcores.comparison.demo.CLASSIC_ITEMS", (100, 100))
    (tmp_path / "bad.py").write_text("x = (")
    done = call("demo", "--times", "1", "--workers", "2")
    assert done.code == 0, done.err
    assert "1. Tokenize 2 files of the standard library" in done.out
    assert "; 1 file did not tokenize." in done.out
    assert "Each sum is 24,835,800." in done.out
    for name in ("tokenize_stdlib", "classic_job"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_console_script_leaves_with_the_code() -> None:
    command = [sys.executable, "-c", "import sys; from allcores.cli import main; sys.exit(main())"]
    done = subprocess.run([*command, "compare", "math:sqrt", "--over", "[4, -1]"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "allcores: the job failed at item 1 (-1) in the serial context: ValueError: math domain error\n"
    )


@pytest.mark.parametrize("example", ["classic_job", "tokenize_stdlib"])
def test_examples_are_jobs(call: Call, root: Path, example: str) -> None:
    path = root / "examples" / f"{example}.py"
    items = ("--over", "[10, 20]") if example == "classic_job" else ("--over", repr([json.__file__]))
    done = call("compare", f"{path}:job", *items, "--times", "1")
    assert done.code == 0, done.err
    assert done.out.startswith("job: ")
