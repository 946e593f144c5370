"""Workers that outlive their pool: the next pool has them, and finds nothing of the jobs before."""

import atexit
import importlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from allcores import _native, start

from . import jobs
from .kit import PATIENCE, Context

pytestmark = pytest.mark.needs("owns")

Job = Callable[..., Any]


def workers(mp: Context, processes: int = 2, job: Job = jobs.pid_of, **how: Any) -> set[int]:
    """The pids of a pool's workers, each of which has done the job once."""
    with mp.Pool(processes, **how) as pool:
        barrier = mp.Barrier(processes)
        return set(pool.map(jobs.together, [(barrier, job)] * processes, chunksize=1))


def parked() -> list[psutil.Process]:
    template = start.template_pid()
    assert template is not None
    return psutil.Process(template).children()


@pytest.mark.parametrize("reuse", [True, False])
def test_pool_after_pool(mp: Context, reuse: bool) -> None:
    for n in range(5):
        with mp.Pool(2, reuse=reuse) as pool:
            assert pool.map(jobs.square, range(n, 50)) == [x * x for x in range(n, 50)]


def test_reuse_must_be_told_clearly(mp: Context) -> None:
    with pytest.raises(TypeError, match=r"reuse.*'no'"):
        mp.Pool(1, reuse="no")  # type: ignore[arg-type]


@pytest.mark.needs("kills")
def test_a_pool_of_the_same_shape_has_the_workers_of_the_last(mp: Context) -> None:
    first = workers(mp)
    assert len(first) == 2
    assert workers(mp) == first
    assert {process.pid for process in parked()} == first
    assert mp.active_children() == []


@pytest.mark.needs("kills")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"reuse": False}, {}),
        ({}, {"reuse": False}),
        ({"initializer": int}, {"initializer": int}),
        ({"maxtasksperchild": 5}, {}),
        ({"processes": 3}, {}),
    ],
)
def test_another_pool_has_others(mp: Context, first: dict[str, Any], second: dict[str, Any]) -> None:
    assert not workers(mp, **first) & workers(mp, **second)


@pytest.mark.needs("kills")
def test_without_reuse_the_workers_have_ended_when_join_returns(mp: Context) -> None:
    assert not any(psutil.pid_exists(pid) for pid in workers(mp, reuse=False))


@pytest.mark.needs("kills")
def test_two_pools_at_once_have_different_workers(mp: Context) -> None:
    both = workers(mp, 4)
    with mp.Pool(4) as a, mp.Pool(4) as b:
        pids = [set(pool.map(jobs.pid_of, range(100), chunksize=1)) for pool in (a, b)]
    assert not pids[0] & pids[1]
    assert both & (pids[0] | pids[1])


@pytest.mark.needs("kills")
@pytest.mark.parametrize("end", ["terminate", "error"])
def test_a_pool_that_did_not_end_well_leaves_nobody(mp: Context, end: str) -> None:
    pool = mp.Pool(2)
    pids = set(pool.map(jobs.pid_of, range(10), chunksize=1))
    if end == "terminate":
        pool.terminate()
        pool.join()
    else:
        with pytest.raises(ZeroDivisionError), pool:
            1 / 0  # noqa: B018
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.needs("kills")
def test_surroundings_are_those_of_now(
    mp: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    first = workers(mp)
    monkeypatch.setenv("ALLCORES_TEST_OF_REUSE", "now")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "somewhere"))
    with mp.Pool(2) as pool:
        found = pool.apply(
            lambda: (os.getpid(), os.environ.get("ALLCORES_TEST_OF_REUSE"), os.getcwd(), sys.path, print("out"))
        )
    assert found[0] in first
    assert found[1:] == ("now", str(tmp_path), sys.path, None)
    assert capfd.readouterr().out == "out\n"


@pytest.mark.needs("kills")
def test_what_a_job_sets_in_the_environment_is_gone(mp: Context) -> None:
    first = workers(mp, job=_move)
    with mp.Pool(2) as pool:
        pid, value, cwd = pool.apply(lambda: (os.getpid(), os.environ.get("ALLCORES_TEST_OF_REUSE"), os.getcwd()))
    assert (pid in first, value, cwd) == (True, None, os.getcwd())


def _move() -> None:
    os.environ["ALLCORES_TEST_OF_REUSE"] = "then"
    os.chdir("/")


@pytest.mark.needs("kills")
def test_globals_of_a_script_begin_anew(mp: Context) -> None:
    """Functions by value share the globals of their script with the jobs of their pool, not with those of another."""
    script: dict[str, Any] = {"__name__": "a_script"}
    exec("import os\ncount = 0\ndef job(_):\n    global count\n    count += 1\n    return os.getpid(), count", script)
    seen = []
    for _ in range(2):
        with mp.Pool(1) as pool:
            seen.append(pool.map(script["job"], range(3)))
    (first, *_), (second, *_) = seen
    assert first == second
    assert [count for _, count in seen[1]] == [1, 2, 3]


@pytest.mark.needs("kills")
def test_modules_of_ones_own_are_those_of_now(mp: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "edited_between_pools.py"
    seen = []
    for version in ("first", "the second, and longer"):
        module.write_text(f"import os\nversion = {version!r}\n")
        with mp.Pool(1) as pool:
            seen.append(pool.apply(_version_in_a_worker))
    assert [version for version, _ in seen] == ["first", "the second, and longer"]
    assert seen[0][1] == seen[1][1]


def _version_in_a_worker() -> tuple[str, int]:
    import edited_between_pools  # type: ignore[import-not-found]

    return edited_between_pools.version, os.getpid()


@pytest.mark.needs("kills")
@pytest.mark.parametrize(
    "job",
    [
        pytest.param(lambda: threading.Thread(target=threading.Event().wait, daemon=True).start(), id="a thread"),
        pytest.param(lambda: setattr(jobs, "kept_open", os.open(os.devnull, os.O_RDONLY)), id="an open file"),
        pytest.param(lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN), id="a handler"),
        pytest.param(lambda: signal.setitimer(signal.ITIMER_REAL, 1000), id="a timer"),
        pytest.param(lambda: os.umask(0o077), id="the umask"),
        pytest.param(lambda: os.nice(1), id="the priority"),
        pytest.param(lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}), id="the affinity"),
        pytest.param(lambda: sys.setrecursionlimit(5000), id="a limit"),
        pytest.param(lambda: os.fork() or os._exit(0), id="a child"),
        pytest.param(lambda: os.dup2(os.open(os.devnull, os.O_RDONLY), 0), id="a descriptor"),
        pytest.param(lambda: atexit.register(int), id="an exit function"),
        pytest.param(lambda: weakref.finalize(os, int), id="a finalizer"),
    ],
)
def test_who_is_not_as_it_began_ends(mp: Context, job: Job) -> None:
    assert not workers(mp, job=job) & workers(mp)
    assert workers(mp) == workers(mp)


@pytest.mark.needs("kills")
def test_exit_functions_run_when_the_pool_ends(mp: Context) -> None:
    queue = mp.Queue()
    with mp.Pool(1) as pool:
        pool.apply(lambda: (atexit.register(queue.put, "at exit"), None)[1])
        assert queue.empty()
    assert queue.get(block=False) == "at exit"


@pytest.mark.needs("kills")
def test_those_of_the_standard_library_change_nothing(mp: Context) -> None:
    def job() -> int:
        importlib.import_module("logging")
        weakref.finalize(threading.Event(), int)  # at once
        return os.getpid()

    assert workers(mp, job=job) == workers(mp)


@pytest.mark.needs("kills")
def test_nothing_shared_is_held_by_the_parked(mp: Context) -> None:
    workers(mp)
    before = _native.usage()[0]
    with mp.Pool(2) as pool:
        queue, shared = mp.Queue(), mp.share({"a": [1, 2, 3]})
        assert pool.starmap(_hold, [(queue, shared, bytes(1 << 20))] * 4) == [1 << 20] * 4
    del queue, shared, pool
    assert len(parked()) == 2
    assert _native.usage()[0] <= before + (1 << 16)


def _hold(queue: Any, shared: Any, data: bytes) -> int:
    circle: list[Any] = [queue, shared, data]
    circle.append(circle)
    _hold.held = circle  # type: ignore[attr-defined]
    return len(data)


@pytest.mark.needs("kills")
def test_who_reads_what_they_wrote_sees_its_end(mp: Context) -> None:
    """A parked worker does not keep the caller's standard output open."""
    read, write = os.pipe()
    saved = os.dup(1)
    try:
        os.dup2(write, 1)
        os.close(write)
        with mp.Pool(2) as pool:
            pool.apply(os.write, (1, b"said"))
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    with open(read, "rb") as pipe:
        assert pipe.read() == b"said"
    assert len(parked()) == 2


@pytest.mark.needs("kills")
def test_what_one_said_last_is_not_the_next_ones(mp: Context, capfd: pytest.CaptureFixture[str]) -> None:
    first = workers(mp, 1, job=lambda: print("of the first pool", file=sys.stderr))
    with mp.Pool(1) as pool:
        assert {pool.apply(os.getpid)} == first
        with pytest.raises(Exception, match="SIGKILL") as caught:
            pool.apply(jobs.die_by_signal)
    assert "of the first pool" not in str(caught.value)


@pytest.mark.needs("kills")
def test_parked_workers_cost_no_time(mp: Context) -> None:
    workers(mp)
    before = [(p.pid, p.cpu_times()[:2], p.num_ctx_switches()) for p in parked()]
    threading.Event().wait(1.2)  # longer than the net of the core's own waits
    assert [(p.pid, p.cpu_times()[:2], p.num_ctx_switches()) for p in parked()] == before
    assert len(before) == 2


@pytest.mark.needs("kills")
@pytest.mark.parametrize("victims", [1, 2])
def test_killed_while_parked(mp: Context, victims: int) -> None:
    workers(mp)
    for process in parked()[:victims]:
        process.kill()
    with mp.Pool(2) as pool:
        assert pool.map(jobs.square, range(100)) == [x * x for x in range(100)]


@pytest.mark.needs("kills")
def test_killed_as_they_are_taken(mp: Context) -> None:
    """At whatever moment: the pool goes on with fresh ones, and loses nothing, since nothing was in their hands."""
    for delay in (0, 1e-4, 3e-4, 1e-3) * 3:
        workers(mp)
        killer = threading.Timer(delay, _kill_all, (parked(),))
        killer.start()
        with mp.Pool(2) as pool:
            killer.join()
            assert pool.map(jobs.square, range(20), retries=3) == [x * x for x in range(20)]


def _kill_all(victims: list[psutil.Process]) -> None:
    for process in victims:
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.needs("kills")
def test_a_signal_to_a_former_life_reaches_nobody(mp: Context) -> None:
    pool = mp.Pool(1)
    (worker,) = mp.active_children()
    pid, life = worker.pid, worker._life
    pool.close()
    pool.join()
    start.send_signal(pid, signal.SIGKILL, life)
    assert workers(mp, 1) == {pid}


@pytest.mark.needs("kills")
def test_what_a_worker_has_parked_ends_with_its_pool(mp: Context) -> None:
    with mp.Pool(1) as pool:
        inner = pool.apply(workers, (mp,))
        assert all(psutil.pid_exists(pid) for pid in inner)
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in inner if psutil.pid_exists(pid)], PATIENCE)
    assert not alive
