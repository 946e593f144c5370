"""How a process ends when it does not end by itself: terminate, kill, signals, and who gets told."""

import atexit
import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle


@pytest.mark.needs("kills")
@pytest.mark.parametrize(("how", "number"), [("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)])
def test_terminate_and_kill(mp: Context, start: Callable[..., Handle], how: str, number: int) -> None:
    p = start(jobs.wait_for, mp.Event())
    getattr(p, how)()
    p.join(PATIENCE)
    assert p.is_alive() is False
    assert p.exitcode == -number


@pytest.mark.needs("kills")
def test_result_of_a_killed_process(mp: Context, start: Callable[..., Handle]) -> None:
    p = start(jobs.wait_for, mp.Event())
    p.kill()
    with pytest.raises(allcores.WorkerDied, match=str(p.pid)) as caught:
        p.result(PATIENCE)
    assert (caught.value.pid, caught.value.exitcode, caught.value.index) == (p.pid, -signal.SIGKILL, None)


@pytest.mark.needs("kills")
def test_worker_died_travels_with_its_fields(start: Callable[..., Handle]) -> None:
    with pytest.raises(allcores.WorkerDied) as caught:
        start(jobs.die_by_signal).result(PATIENCE)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.pid, copy.exitcode, str(copy)) == (caught.value.pid, -signal.SIGKILL, str(caught.value))


@pytest.mark.needs("kills")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_exitcode_names_the_signal(start: Callable[..., Handle], number: int) -> None:
    p = start(jobs.die_by_signal, number)
    p.join(PATIENCE)
    assert p.exitcode == -number


@pytest.mark.needs("kills")
def test_os_exit(start: Callable[..., Handle]) -> None:
    p = start(jobs.die_by_exit, 7)
    with pytest.raises(allcores.WorkerDied) as caught:
        p.result(PATIENCE)
    p.join()
    assert p.exitcode == caught.value.exitcode == 7


@pytest.mark.needs("kills")
def test_ending_an_ended_process_changes_nothing(start: Callable[..., Handle]) -> None:
    p = start(jobs.square, 3)
    p.join()
    p.terminate()
    p.kill()
    assert p.exitcode == 0
    assert p.result() == 9


@pytest.mark.needs("kills")
def test_a_death_wakes_who_waits_for_the_result(mp: Context, start: Callable[..., Handle]) -> None:
    gate = mp.Event()

    def wait_and_die() -> None:
        jobs.wait_for(gate)
        jobs.die_by_signal()

    p = start(wait_and_die)
    opener = mp.Thread(target=gate.set)
    opener.start()
    with pytest.raises(allcores.WorkerDied):
        p.result(PATIENCE)
    opener.join()


@pytest.mark.needs("kills")
def test_sentinel(mp: Context, start: Callable[..., Handle]) -> None:
    gate = mp.Event()
    quick, slow = start(jobs.nothing), start(jobs.wait_for, gate)
    assert wait([quick.sentinel, slow.sentinel], PATIENCE) == [quick.sentinel]
    assert wait([slow.sentinel], SHORT) == []
    gate.set()
    assert wait([slow.sentinel], PATIENCE) == [slow.sentinel]


@pytest.mark.needs("kills")
def test_sentinel_tells_a_kill(mp: Context, start: Callable[..., Handle]) -> None:
    p = start(jobs.wait_for, mp.Event())
    os.kill(p.pid, signal.SIGKILL)
    assert wait([p.sentinel], PATIENCE) == [p.sentinel]
    p.join(PATIENCE)
    assert p.exitcode == -signal.SIGKILL


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_thread_cannot_be_ended_and_says_so(mp: Context, how: str) -> None:
    gate = mp.Event()
    t = mp.Thread(target=jobs.wait_for, args=(gate, "unharmed"))
    t.start()
    try:
        with pytest.raises(allcores.NotSupported, match="thread"):
            getattr(t, how)()
    finally:
        gate.set()
    assert t.result(PATIENCE) == "unharmed"


@pytest.mark.needs("parallel")
@pytest.mark.lacks("kills")
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_place_that_cannot_kill_says_so(mp: Context, start: Callable[..., Handle], how: str) -> None:
    gate = mp.Event()
    p = start(jobs.wait_for, gate, "unharmed")
    try:
        with pytest.raises(allcores.NotSupported, match="thread"):
            getattr(p, how)()
    finally:
        gate.set()
    assert p.result(PATIENCE) == "unharmed"


@pytest.mark.needs("kills")
@pytest.mark.lacks("cluster")  # it ends with its worker, and with who started it
@pytest.mark.parametrize("daemon", [False, True])
def test_who_looks_after_its_parent_outlives_it(mp: Context, start: Callable[..., Handle], daemon: bool) -> None:
    """As programs of the standard's do: they wait for the parent's end, and put something in order then."""
    receives, sends = mp.Pipe(duplex=False)

    def watch(looks: bool) -> None:
        parent = mp.parent_process()
        sends.send((os.getpid(), parent.is_alive() if looks else None))
        if looks:
            parent.join()
            sends.send((os.getpid(), parent.is_alive()))
        else:
            mp.Event().wait()

    def parent() -> None:
        for looks in (True, False):
            mp.Process(target=watch, args=(looks,), daemon=daemon).start()
        sends.send((os.getpid(), "has started both"))
        mp.Event().wait()

    p = start(parent)
    sends.close()
    told = dict(receives.recv() for _ in range(3))
    assert sorted(told.values(), key=str) == [None, True, "has started both"]
    p.kill()
    p.join()
    last: list[object] = []
    with contextlib.suppress(EOFError):  # who does not look is ended, and so are those that are daemonic
        while True:
            last.append(receives.recv())
    watcher = next(pid for pid, alive in told.items() if alive is True)
    assert last == [(watcher, False)] or (daemon and not last)
    receives.close()


def register(done: Handle, how: str) -> None:
    atexit.register(done.put, "first registered, last run")
    atexit.register(done.put, "last registered")
    done.put("job")
    if how == "raise":
        raise SystemExit(3)
    if how == "thread":
        threading.Thread(target=done.put, args=("thread",)).start()


@pytest.mark.needs("kills")
@pytest.mark.parametrize("how", ["return", "raise", "thread"])
def test_what_is_registered_for_the_end_of_a_process_is_run(
    mp: Context, start: Callable[..., Handle], how: str
) -> None:
    done = mp.Queue()
    start(register, done, how).join(PATIENCE)
    came = [done.get(timeout=PATIENCE) for _ in range(done.qsize())]
    assert came == ["job", *["thread"] * (how == "thread"), "last registered", "first registered, last run"]


@pytest.mark.needs("kills", "owns")
def test_what_is_registered_in_a_worker_is_run(mp: Context) -> None:
    done = mp.Queue()
    with mp.Pool(1, maxtasksperchild=1) as pool:
        pool.apply(register, (done, "return"))
        assert [done.get(timeout=PATIENCE) for _ in range(3)][1:] == ["last registered", "first registered, last run"]


@pytest.mark.needs("kills")
def test_what_is_registered_here_is_not_run_there(mp: Context, start: Callable[..., Handle]) -> None:
    done = mp.Queue()
    atexit.register(done.put, "of the parent")
    try:
        start(jobs.nothing).join(PATIENCE)
    finally:
        atexit.unregister(done.put)
    assert done.empty()
