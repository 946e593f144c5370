"""The dask context beyond the contract: deaths of each part, what listens, what stays. Each in a program of its own."""

from pathlib import Path
from typing import Any

import psutil
import pytest

import allcores
from allcores.errors import NotSupported, UsageError

from .programs import PATIENCE, begin, run

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


def test_a_killed_worker_loses_no_item(tmp_path: Path) -> None:
    ended = run(
        """
        import os, signal, sys, allcores
        def job(i):
            if i == 50 and not os.path.exists(sys_argv):
                open(sys_argv, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return i
        sys_argv = sys.argv[1]
        with allcores.get_context("dask").Pool(2) as pool:
            assert pool.map(job, range(200)) == list(range(200))
            assert pool.statistics().deaths >= 1
        """,
        str(tmp_path / "once"),
    )
    assert ended.returncode == 0, ended.stderr


def test_retries_0_runs_nothing_twice() -> None:
    ended = run(
        """
        import os, signal, allcores
        mp = allcores.get_context("dask")
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
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_killed_scheduler_is_an_error_everywhere() -> None:
    ended = run(
        """
        import os, signal, threading, time, allcores
        mp = allcores.get_context("dask")
        lock = mp.Lock()
        lock.acquire()
        with mp.Pool(2) as pool:
            result = pool.apply_async(time.sleep, (1000,))
            threading.Timer(1, os.kill, (mp._fleet().head.pid, signal.SIGKILL)).start()
            for wait in (result.get, lock.acquire, lambda: mp.Queue().get()):
                try:
                    wait()
                except allcores.errors.ClusterDied as error:
                    assert "dask" in str(error)
                else:
                    raise SystemExit("no error")
            pool.terminate()
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_killed_program_leaves_nothing() -> None:
    program = begin(
        """
        import time, allcores
        p = allcores.get_context("dask").Process(target=time.sleep, args=(1000,))
        p.start()
        print(p.pid, flush=True)
        time.sleep(1000)
        """
    )
    with program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        family = [*psutil.Process(program.pid).children(recursive=True), psutil.Process(pid)]
        program.kill()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_nothing_listens_beyond_the_loopback() -> None:
    ended = run(
        """
        import os, psutil, allcores
        mp = allcores.get_context("dask")
        with mp.Pool(2) as pool:
            pool.map(abs, range(4))
            found = [
                each.laddr.ip
                for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
                for each in process.net_connections()
                if each.status == psutil.CONN_LISTEN
            ]
        assert found and set(found) == {"127.0.0.1"}, found
        """
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "option", [{"affinity": True}, {"devices": [0]}, {"max_memory": 1 << 30}, {"idle_timeout": 1.0}]
)
def test_what_a_cluster_cannot_do(option: dict[str, Any]) -> None:
    with pytest.raises(NotSupported, match=next(iter(option))):
        allcores.get_context("dask", address="tcp://127.0.0.1:1").Pool(1, **option)


def test_the_options_of_a_context() -> None:
    with pytest.raises(UsageError, match="no option 'colour'"):
        allcores.get_context("dask", colour="red")
    with pytest.raises(UsageError, match="no option 'address'"):
        allcores.get_context("thread", address="tcp://127.0.0.1:1")
    address = "tcp://127.0.0.1:1"
    assert allcores.get_context("dask", address=address) is allcores.get_context("dask", address=address)
    assert allcores.get_context("dask", address=address) is not allcores.get_context("dask")
