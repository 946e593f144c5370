"""Process and Thread: one shape, in every context."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from . import jobs
from .kit import MISUSE, PATIENCE, SHORT, Context, Handle, Place


@pytest.fixture(params=["Process", "Thread"])
def worker(mp: Context, request: pytest.FixtureRequest) -> Handle:
    """mp.Process and mp.Thread: everything in this file that takes it holds for both."""
    return getattr(mp, request.param)


def test_args_and_kwargs_arrive(worker: Handle) -> None:
    w = worker(target=jobs.echo, args=(1, "two"), kwargs={"three": [3]})
    w.start()
    w.join()
    assert w.result() == ((1, "two"), {"three": [3]})


def test_positional_arguments_in_the_standard_order(worker: Handle) -> None:
    w = worker(None, jobs.echo, "by position", (1,), {"b": 2})
    w.start()
    w.join()
    assert w.name == "by position"
    assert w.result() == ((1,), {"b": 2})


def test_without_a_target_it_ends_well(worker: Handle) -> None:
    w = worker()
    w.start()
    w.join()
    assert w.exitcode == 0
    assert w.result() is None


def test_before_the_start(worker: Handle) -> None:
    w = worker(target=jobs.nothing)
    assert w.pid is None
    assert w.exitcode is None
    assert w.is_alive() is False


def test_after_the_end(worker: Handle) -> None:
    w = worker(target=jobs.pid_of)
    w.start()
    w.join()
    assert w.is_alive() is False
    assert w.exitcode == 0
    assert w.pid == w.result()


def test_a_process_is_another_one_and_a_thread_is_not(mp: Context, place: Place) -> None:
    p, t = mp.Process(target=jobs.pid_of), mp.Thread(target=jobs.pid_of)
    for w in (p, t):
        w.start()
        w.join()
    assert (p.pid != os.getpid()) is place.copies
    assert t.pid == os.getpid()


@pytest.mark.needs("parallel")
def test_while_it_runs(mp: Context, worker: Handle) -> None:
    gate = mp.Event()
    w = worker(target=jobs.wait_for, args=(gate, "done"))
    w.start()
    try:
        assert w.is_alive() is True
        assert w.exitcode is None
        for timeout in (0, -1, SHORT):
            w.join(timeout)
            assert w.is_alive() is True
    finally:
        gate.set()
    w.join(PATIENCE)
    assert w.is_alive() is False
    assert w.result() == "done"


def test_names(worker: Handle) -> None:
    first, second = worker(target=jobs.nothing), worker(target=jobs.nothing)
    assert first.name != second.name
    assert worker(target=jobs.nothing, name="mine").name == "mine"
    first.name = "renamed"
    assert first.name == "renamed"
    with pytest.raises(AssertionError, match="name must be a string, not 5"):
        first.name = 5


def test_a_process_knows_itself(mp: Context, start: Callable[..., Handle]) -> None:
    def who() -> tuple[str, int | None]:
        me = mp.current_process()
        return me.name, me.pid

    p = start(who)
    p.join()
    assert p.result() == (p.name, p.pid)


def test_the_program_itself(mp: Context) -> None:
    me = mp.current_process()
    assert (me.name, me.daemon, me.exitcode, me.is_alive()) == ("MainProcess", False, None, True)
    assert me.pid == me.ident == os.getpid()
    assert mp.parent_process() is None
    with pytest.raises(ValueError, match="main process"):
        assert me.sentinel
    me.close()
    assert me.is_alive()


@pytest.mark.needs("kills")
@pytest.mark.lacks("cluster")  # it is elsewhere: a process of a cluster has the worker beside it for a parent
def test_a_parent_as_its_child_sees_it(mp: Context, start: Callable[..., Handle]) -> None:
    def look() -> tuple[object, ...]:
        parent = mp.parent_process()
        parent.join(SHORT)
        return parent.pid, parent.ident, parent.name, parent.is_alive(), mp.wait([parent.sentinel], SHORT)

    assert start(look).result() == (os.getpid(), os.getpid(), mp.current_process().name, True, [])


@pytest.mark.needs("kills")
def test_the_words_of_a_process(mp: Context, start: Callable[..., Handle]) -> None:
    kind, parent = mp.Process.__name__, os.getpid()
    p = mp.Process(target=jobs.nothing, name="me", daemon=True)
    assert repr(p) == f"<{kind} name='me' parent={parent} initial daemon>"
    gate = mp.Event()
    p = start(jobs.wait_for, gate)
    assert repr(p) == f"<{kind} name={p.name!r} pid={p.pid} parent={parent} started>"
    p.kill()
    p.join()
    assert repr(p) == f"<{kind} name={p.name!r} pid={p.pid} parent={parent} stopped exitcode=-SIGKILL>"
    p = mp.Process(target=sys.exit, args=(3,))
    p.start()
    p.join()
    assert repr(p).endswith(" stopped exitcode=3>")
    p.close()
    assert repr(p).endswith(" closed>")
    p = start(lambda: repr(mp.current_process()))
    assert " started" in p.result()


def test_daemon(worker: Handle) -> None:
    w = worker(target=jobs.nothing)
    assert w.daemon is False
    w.daemon = True
    assert w.daemon is True
    assert worker(target=jobs.nothing, daemon=True).daemon is True
    w.start()
    with pytest.raises(MISUSE):
        w.daemon = False
    w.join()


def test_start_twice(worker: Handle) -> None:
    w = worker(target=jobs.nothing)
    w.start()
    with pytest.raises(MISUSE, match=r"twice|once|already"):
        w.start()
    w.join()


def test_join_and_result_want_a_start(worker: Handle) -> None:
    w = worker(target=jobs.nothing)
    with pytest.raises(MISUSE, match="start"):
        w.join()
    with pytest.raises(MISUSE, match="start"):
        w.result()


@pytest.mark.parametrize(("args", "cure"), [(2, r"\(2,\)"), ("ab", r"\('ab',\)")])
def test_args_must_be_a_tuple(worker: Handle, args: object, cure: str) -> None:
    with pytest.raises((TypeError, ValueError), match="args must be a tuple.*" + cure):
        worker(target=jobs.nothing, args=args)


def test_a_list_of_args_will_do(worker: Handle) -> None:
    w = worker(target=jobs.echo, args=[1, 2])
    w.start()
    w.join()
    assert w.result() == ((1, 2), {})


def test_target_must_be_callable(worker: Handle) -> None:
    with pytest.raises((TypeError, ValueError), match="callable"):
        worker(target=5)


def test_close(worker: Handle) -> None:
    w = worker(target=jobs.nothing)
    w.start()
    w.join()
    w.close()
    w.close()
    for use in (w.is_alive, w.join, w.result):
        with pytest.raises(ValueError, match="closed"):
            use()


@pytest.mark.needs("parallel")
def test_close_wants_the_end_first(mp: Context, worker: Handle) -> None:
    gate = mp.Event()
    w = worker(target=jobs.wait_for, args=(gate,))
    w.start()
    try:
        with pytest.raises(ValueError, match=r"running|finished"):
            w.close()
    finally:
        gate.set()
    w.join(PATIENCE)


def test_arguments_are_copied_where_the_place_copies(start: Callable[..., Handle], place: Place) -> None:
    def grow(items: list[int]) -> None:
        items.append(1)

    items: list[int] = []
    start(grow, items).join()
    assert items == ([] if place.copies else [1])


@pytest.mark.needs("parallel")
def test_active_children(mp: Context, start: Callable[..., Handle]) -> None:
    gate = mp.Event()
    p = start(jobs.wait_for, gate)
    assert p in mp.active_children()
    gate.set()
    p.join(PATIENCE)
    assert p not in mp.active_children()


def test_many_at_once(start: Callable[..., Handle]) -> None:
    started = [start(jobs.square, i) for i in range(20)]
    assert [p.result(PATIENCE) for p in started] == [i * i for i in range(20)]


def test_a_process_can_start_processes(mp: Context, start: Callable[..., Handle]) -> None:
    def outer(x: int) -> int:
        inner = mp.Process(target=jobs.square, args=(x,))
        inner.start()
        inner.join()
        return int(inner.result()) + 1

    p = start(outer, 5)
    p.join()
    assert p.result() == 26


def test_a_class_of_ones_own_with_run(mp: Context, worker: Handle) -> None:
    q = mp.Queue()

    def run(self: Handle) -> None:
        q.put(self.greeting)

    own = type("Own", (worker,), {"run": run, "greeting": "hello"})
    w = own()
    w.start()
    w.join()
    assert w.exitcode == 0
    assert q.get() == "hello"


def test_a_worker_stands_where_its_starter_stands(
    start: Callable[..., Handle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Directory, sys.path and sys.argv are those of the moment of start()."""

    def surroundings() -> tuple[str, bool, list[str]]:
        return os.getcwd(), "/a/new/place" in sys.path, sys.argv

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("/a/new/place")
    monkeypatch.setattr(sys, "argv", ["prog", "--flag"])
    p = start(surroundings)
    p.join()
    assert p.result() == (str(tmp_path), True, ["prog", "--flag"])


@pytest.mark.lacks("cluster")  # there it is that of the machine
def test_a_worker_has_the_environment_of_its_starter(
    start: Callable[..., Handle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likewise, as it is at start()."""
    monkeypatch.setenv("ALLCORES_TEST", "set late")
    assert start(lambda: os.environ.get("ALLCORES_TEST")).result(PATIENCE) == "set late"
