"""What holds for a cluster of either engine, beyond the contract: deaths, what listens, what stays.

Each in a program of its own.
"""

from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from .programs import PATIENCE, begin, run

pytestmark = pytest.mark.slow


@pytest.fixture(params=["dask", "ray"])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if find_spec({"dask": "distributed"}.get(name, name)) is None:
        pytest.skip(f"{name} is not installed")
    return name


def test_a_killed_worker_loses_no_item(engine: str, tmp_path: Path) -> None:
    ended = run(
        """
        import os, signal, sys, allcores
        def job(i):
            if i == 50 and not os.path.exists(sys_argv):
                open(sys_argv, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return i
        sys_argv = sys.argv[1]
        with allcores.get_context(sys.argv[2]).Pool(2) as pool:
            assert pool.map(job, range(200)) == list(range(200))
            assert pool.statistics().deaths >= 1
        """,
        str(tmp_path / "once"),
        engine,
    )
    assert ended.returncode == 0, ended.stderr


def test_retries_0_runs_nothing_twice(engine: str) -> None:
    ended = run(
        """
        import os, signal, sys, allcores
        mp = allcores.get_context(sys.argv[1])
        runs = mp.Array("i", 6)
        def job(i):
            runs.add(i, 1)
            if i == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return i
        with mp.Pool(2) as pool:
            got = pool.map(job, range(6), retries=0, errors="return")
        assert [getattr(x, "index", x) for x in got] == [0, 1, 2, 3, 4, 5]
        assert isinstance(got[3].error, allcores.WorkerDied)
        assert runs[:] == [1] * 6, runs[:]
        """,
        engine,
    )
    assert ended.returncode == 0, ended.stderr


def test_a_killed_program_leaves_nothing(engine: str) -> None:
    program = begin(
        """
        import sys, time, allcores
        p = allcores.get_context(sys.argv[1]).Process(target=time.sleep, args=(1000,))
        p.start()
        print(p.pid, flush=True)
        time.sleep(1000)
        """,
        engine,
    )
    with program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        family = [*psutil.Process(program.pid).children(recursive=True), psutil.Process(pid)]
        program.kill()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_nothing_listens_beyond_the_loopback_and_nothing_is_said(engine: str) -> None:
    ended = run(
        """
        import sys, psutil, allcores
        mp = allcores.get_context(sys.argv[1])
        with mp.Pool(2) as pool:
            pool.map(abs, range(4))
            found = [
                each.laddr.ip
                for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
                for each in process.net_connections()
                if each.status == psutil.CONN_LISTEN
            ]
        assert found and set(found) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, found
        """,
        engine,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_compare(engine: str, tmp_path: Path) -> None:
    """By the command: its table says what the network costs."""
    (tmp_path / "job.py").write_text("def job(x):\n    return x * x\n\n\ndef items():\n    return range(-20, 0)\n")
    ended = run(
        """
        import sys
        from allcores.cli import main
        main(["compare", sys.argv[1], "--contexts", "serial,process," + sys.argv[2], "--times", "1"])
        """,
        f"{tmp_path / 'job.py'}:job",
        engine,
    )
    assert ended.returncode == 0, ended.stderr
    ends = [(row[0], row[-1]) for row in map(str.split, ended.stdout.splitlines()) if row]
    assert (engine, "equal") in ends, ended.stdout
