"""The ray context beyond the contract: deaths of each part, what listens, what stays. Each in a program of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

import allcores
from allcores.errors import UsageError

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

# Seconds within which what must happen has happened.
PATIENCE = 50.0


def run(script: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """A program of its own: it starts a cluster and ends."""
    code = textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


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
        with allcores.get_context("ray").Pool(2) as pool:
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
        mp = allcores.get_context("ray")
        runs = mp.Array("i", 6)
        def job(i):
            runs.add(i, 1)
            if i == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return i
        with mp.Pool(2) as pool:
            got = pool.map(job, range(6), chunksize=1, retries=0, errors="return")
        assert [getattr(x, "index", x) for x in got] == [0, 1, 2, 3, 4, 5]
        assert isinstance(got[3].error, allcores.WorkerDied)
        assert runs[:] == [1] * 6, runs[:]
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_an_idle_worker_that_is_killed_is_replaced_and_its_lock_is_known_to_be_lost() -> None:
    ended = run(
        """
        import os, signal, allcores
        mp = allcores.get_context("ray")
        lock = mp.Lock()
        def take():
            lock.acquire()
            return os.getpid()
        with mp.Pool(1) as pool:
            first = pool.apply(take)
            os.kill(first, signal.SIGKILL)
            try:
                lock.acquire()
            except allcores.OwnerDied:
                pass
            else:
                raise SystemExit("no error")
            assert pool.apply(os.getpid) != first
        """
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("part", ["raylet", "gcs_server", "head"])
def test_a_killed_cluster_is_an_error_everywhere(part: str) -> None:
    ended = run(
        """
        import os, signal, sys, threading, time, allcores, psutil
        mp = allcores.get_context("ray")
        lock = mp.Lock()
        lock.acquire()
        with mp.Pool(2) as pool:
            result = pool.apply_async(time.sleep, (1000,))
            head = psutil.Process(mp._fleet().head.pid)
            pids = [head.pid] + [child.pid for child in head.children() if child.name() == sys.argv[1]]
            threading.Timer(1, os.kill, (pids[-1], signal.SIGKILL)).start()
            for wait in (result.get, lock.acquire, lambda: mp.Queue().get()):
                try:
                    wait()
                except allcores.errors.ClusterDied as error:
                    assert "Ray" in str(error)
                else:
                    raise SystemExit("no error")
            pool.terminate()
        """,
        part,
    )
    assert ended.returncode == 0, ended.stderr


def test_a_killed_program_leaves_nothing() -> None:
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time, allcores\nmp = allcores.get_context('ray')\np = mp.Process(target=time.sleep, args=(1000,))\n"
            "p.start()\nprint(p.pid, flush=True)\ntime.sleep(1000)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    family = [*psutil.Process(program.pid).children(recursive=True), psutil.Process(pid)]
    program.kill()
    program.wait()
    program.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []


def test_nothing_listens_beyond_the_loopback_and_nothing_is_said() -> None:
    ended = run(
        """
        import psutil, allcores
        mp = allcores.get_context("ray")
        with mp.Pool(2) as pool:
            pool.map(abs, range(4))
            found = [
                each.laddr.ip
                for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
                for each in process.net_connections()
                if each.status == psutil.CONN_LISTEN
            ]
        assert found and set(found) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, found
        """
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_sigterm_is_the_programs() -> None:
    ended = run(
        """
        import signal, allcores
        before = signal.getsignal(signal.SIGTERM)
        allcores.get_context("ray").Lock()
        assert signal.getsignal(signal.SIGTERM) == before
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_the_options_of_a_context() -> None:
    with pytest.raises(UsageError, match="no option 'security'"):
        allcores.get_context("ray", security="tls")
    address = "127.0.0.1:1"
    assert allcores.get_context("ray", address=address) is allcores.get_context("ray", address=address)
    assert allcores.get_context("ray", address=address) is not allcores.get_context("ray", namespace="mine")
