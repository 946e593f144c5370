"""WorkerDied: what it tells of a death. Memory, the last lines on stderr, who did it."""

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import allcores

from . import deadly, jobs
from .kit import PATIENCE, Context, Handle

pytestmark = pytest.mark.needs("kills", "owns")  # else they are the engine's to know


def death_of(pool: Handle, job: Callable[..., object], *args: object) -> allcores.WorkerDied:
    with pytest.raises(allcores.WorkerDied) as caught:
        pool.apply(job, args)
    return caught.value


def test_a_death_in_words(mp: Context) -> None:
    with mp.Pool(2) as pool, pytest.raises(allcores.WorkerDied) as caught:
        pool.map(deadly.mutter_and_die, [[0, 0], [1, 2]])
    error = caught.value
    assert re.match(
        rf"process {error.pid} died while it was running item 1 \(\[1, 2\]\): killed by SIGKILL; "
        r"(it had run for \S+ s; )?peak memory ",  # in the middle of a chunk it is not known
        str(error),
    )
    assert str(error).endswith("; its last lines on stderr:\n  I have [1, 2]\n  and cannot go on")
    assert error.stderr == "I have [1, 2]\nand cannot go on"
    assert (error.oom, error.attempts) == (False, 1)


def test_all_of_it_travels(mp: Context) -> None:
    with mp.Pool(1) as pool:
        error = death_of(pool, deadly.mutter_and_die, [1, 2])
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == {name: value for name, value in vars(error).items() if name != "failure"}
    assert str(copy) == str(error)


@pytest.mark.parametrize("megabytes", [50, 150])
def test_peak_memory(mp: Context, megabytes: int) -> None:
    """What it had touched at once, also what it had given back before the end; and what every worker has."""
    with mp.Pool(1) as pool:
        error = death_of(pool, deadly.touch_and_die, megabytes << 20)
    assert error.peak_memory is not None
    assert megabytes << 20 < error.peak_memory < (megabytes + 80) << 20


def test_a_kill_by_hand_is_not_laid_at_the_out_of_memory_killers_door(mp: Context) -> None:
    with mp.Pool(1) as pool:
        error = death_of(pool, jobs.die_by_signal)
    assert "killed by SIGKILL" in str(error)
    assert "memory killer" not in str(error)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_a_crash_leaves_its_python_traceback(mp: Context, how: int) -> None:
    with mp.Pool(1) as pool:
        error = death_of(pool, deadly.mutter_and_die, "a pointer", how)
    lines = error.stderr.splitlines()
    assert lines[:2] == ["I have a pointer", "and cannot go on"]
    assert lines[2].startswith("Fatal Python error: ")
    assert any("in mutter_and_die" in line for line in lines)
    assert not any("allcores" in line for line in lines[3:])
    assert error.exitcode == -how


@pytest.mark.parametrize("lines", [1, 10, 11, 1000])
def test_the_last_lines_are_kept(mp: Context, lines: int) -> None:
    with mp.Pool(1) as pool:
        error = death_of(pool, deadly.count_and_die, lines)
    assert error.stderr.splitlines() == [f"line {i}" for i in range(lines)][-10:]


@pytest.mark.parametrize("length", [100, 5000])
def test_long_lines_are_cut(mp: Context, length: int) -> None:
    with mp.Pool(1) as pool:
        error = death_of(pool, deadly.write_and_die, "x" * length + "\nthe end\n")
    assert error.stderr.splitlines()[-1] == "the end"
    assert len(error.stderr) <= 2048


@pytest.mark.parametrize("text", ["", "\n\n", "\0\n", "ä" * 3000, "no newline at the end"], ids=ascii)
def test_odd_last_words(mp: Context, text: str) -> None:
    with mp.Pool(1) as pool:
        error = death_of(pool, deadly.write_and_die, text)
    assert isinstance(error.stderr, str)
    assert len(str(error)) < 4000


def test_each_has_its_own_last_words(mp: Context) -> None:
    with mp.Pool(4) as pool:
        results = [pool.apply_async(deadly.mutter_and_die, (i,)) for i in range(20)]
        for i, result in enumerate(results):
            with pytest.raises(allcores.WorkerDied) as caught:
                result.get(PATIENCE)
            assert caught.value.stderr.splitlines()[0] == f"I have {i}"
        # Whoever has a dead one's place does not have its words.
        assert death_of(pool, jobs.die_by_signal).stderr == ""


def test_loggings_lines_are_last_words_too(mp: Context) -> None:
    def job() -> None:
        logging.getLogger("job").warning("the disk is full")
        jobs.die_by_exit(3)

    with mp.Pool(1) as pool:
        assert death_of(pool, job).stderr == "the disk is full"


def test_a_process_tells_the_same(mp: Context, start: Callable[..., Handle]) -> None:
    process = start(deadly.mutter_and_die, "nothing")
    with pytest.raises(allcores.WorkerDied) as caught:
        process.result(PATIENCE)
    assert caught.value.stderr == "I have nothing\nand cannot go on"
    assert caught.value.peak_memory is not None
    assert caught.value.peak_memory > 1 << 20


def test_stderr_is_what_it_was(mp: Context) -> None:
    def look() -> tuple[object, ...]:
        err = sys.stderr
        return err.fileno(), err.name, err.mode, err.errors, err.line_buffering, err is sys.__stderr__

    with mp.Pool(1) as pool:
        assert pool.apply(look) == (2, "<stderr>", "w", "backslashreplace", True, True)


def test_a_fork_of_the_workers_own_does_not_speak_for_it(mp: Context) -> None:
    def job() -> None:
        print("the worker", file=sys.stderr)
        pid = os.fork()
        if pid == 0:
            print("its child", file=sys.stderr)
            os.abort()
        os.waitpid(pid, 0)
        jobs.die_by_signal()

    with mp.Pool(1) as pool:
        assert death_of(pool, job).stderr == "the worker"


def test_a_descriptor_that_the_user_closed_is_left_alone(mp: Context, tmp_path: Path) -> None:
    """As programs do that become daemons: what they open then has the number of what was there."""

    def job() -> str:
        os.closerange(5, 20)
        files = [open(tmp_path / str(i), "w+") for i in range(5)]  # noqa: SIM115
        print("not for a file", file=sys.stderr)
        return "".join(file.read() for file in files)

    with mp.Pool(1) as pool:
        assert pool.apply(job) == ""


def test_where_no_descriptor_is_left_for_them_there_are_none() -> None:
    """Only the words are missing."""
    script = """
import os, sys
import allcores as mp

def job():
    print("unheard", file=sys.stderr)
    os._exit(3)

with mp.Pool(1) as pool:
    try:
        pool.apply(job)
    except mp.WorkerDied as error:
        print(repr(error.stderr), error.exitcode)
"""
    patch = "import os\ndef none(*_): raise OSError(24, 'none left')\nos.memfd_create = none\n"
    done = run_patched(script, patch)
    assert done.stdout == "'' 3\n", done.stderr


def run_patched(script: str, patch: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose template process has run the patch when it begins."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "sitecustomize.py"), "w") as f:
            f.write(f"import sys\nif 'serve(' in ' '.join(sys.orig_argv):\n    exec({patch!r})\n")
        path = os.pathsep.join([folder, os.path.dirname(os.path.dirname(allcores.__file__))])
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
