"""The start method `fork`: the job is inherited, not sent; and the child is watched like any other."""

import gc
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any

import pytest

import allcores
from allcores import lineage, start

from . import jobs
from .kit import PATIENCE, SHORT, Handle

fork = allcores.get_context("fork")
state = {"set": "at first"}


@pytest.fixture
def started() -> Iterator[list[Handle]]:
    processes: list[Handle] = []
    yield processes
    for process in processes:
        process.kill()
        process.join(PATIENCE)
    processes.clear()


def run(target: Any, *args: Any) -> Any:
    process = fork.Process(target=target, args=args)
    process.start()
    return process.result(PATIENCE)


def test_the_child_is_a_copy_of_its_parent() -> None:
    state["set"] = "before the fork"
    try:
        assert run(lambda: state["set"]) == "before the fork"
    finally:
        state["set"] = "at first"
    assert run(lambda: (os.getppid(), allcores.parent_process().pid)) == (os.getpid(), os.getpid())


def test_what_cannot_be_pickled_is_there() -> None:
    """Sockets, locks, generators, local classes: nothing of the job travels."""

    class Local:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.numbers = (x for x in range(3))

    here, there = socket.socketpair()
    with here, there:
        thing = Local()

        def job(mine: Local, sock: socket.socket) -> list[int]:
            sock.sendall(b"from the child")
            assert not mine.lock.locked()
            return list(mine.numbers)

        assert run(job, thing, there) == [0, 1, 2]
        assert here.recv(100) == b"from the child"


def test_started_by_a_thread_that_ends(started: list[Handle]) -> None:
    """The kernel's own way to kill a child with its parent would kill it with the thread that forked."""
    gate = allcores.Event()
    process = fork.Process(target=jobs.wait_for, args=(gate, "done"))
    started.append(process)
    starter = threading.Thread(target=process.start)
    starter.start()
    starter.join()
    process.join(SHORT)
    assert process.is_alive()
    gate.set()
    assert process.result(PATIENCE) == "done"


def test_no_warning_though_there_are_threads() -> None:
    gate = threading.Event()
    waiting = threading.Thread(target=gate.wait)
    waiting.start()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert run(threading.active_count) == 1
        assert caught == []
    finally:
        gate.set()
        waiting.join()


def test_a_lock_of_the_link_to_the_template_held_by_another_thread() -> None:
    """Many threads start processes at once, and those start processes."""
    results: list[int] = []

    def nested(x: int) -> int:
        return int(run(jobs.square, x)) + 1

    threads = [threading.Thread(target=lambda x=x: results.append(run(nested, x))) for x in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(results) == [x * x + 1 for x in range(8)]


def test_a_death_is_settled_before_it_is_told() -> None:
    lock, held = allcores.Lock(), allcores.Event()

    def hold() -> None:
        lock.acquire()
        held.set()
        signal.pause()

    process = fork.Process(target=hold)
    process.start()
    assert held.wait(PATIENCE)
    os.kill(process.pid, signal.SIGKILL)
    assert wait([process.sentinel], PATIENCE) == [process.sentinel]
    with pytest.raises(allcores.OwnerDied):
        lock.acquire(block=False)
    assert process.exitcode == -signal.SIGKILL


def test_somebody_else_waits_for_any_child() -> None:
    """`os.wait()` in the program takes the exit status away: the template has seen it before, and says it."""
    process = fork.Process(target=os._exit, args=(7,))
    process.start()
    assert wait([process.sentinel], PATIENCE) == [process.sentinel]
    pid, status = os.wait()
    assert (pid, os.waitstatus_to_exitcode(status)) == (process.pid, 7)
    assert process.exitcode == 7


@pytest.mark.parametrize("watched", [False, True], ids=["not told of it", "already watching"])
def test_somebody_else_was_faster_than_the_template(watched: bool) -> None:
    """Which then finds no such process, and nothing is wrong with its own descriptors."""
    template = start.template_pid()
    assert template is not None
    gate = allcores.Event()
    process = fork.Process(target=lambda: gate.wait(PATIENCE) and os._exit(7))
    if watched:
        process.start()
        later = allcores.get_context("forkserver").Process(target=int)
        later.start()  # it is asked for after that, and serves one after the other
        assert later.result(PATIENCE) == 0
    os.kill(template, signal.SIGSTOP)
    try:
        if not watched:
            process.start()
        gate.set()
        os.waitpid(process.pid, 0)
    finally:
        os.kill(template, signal.SIGCONT)
    with pytest.raises(allcores.WorkerDied) as caught:
        process.result(PATIENCE)
    assert "ulimit" not in str(caught.value)
    assert process.exitcode == 255


def test_children_end_with_their_parent() -> None:
    told = allcores.Queue()

    def parent() -> None:
        child = fork.Process(target=signal.pause)
        child.start()
        told.put(child.pid)
        signal.pause()

    process = fork.Process(target=parent)
    process.start()
    grandchild = os.pidfd_open(told.get(timeout=PATIENCE))
    try:
        process.kill()
        assert wait([grandchild], PATIENCE) == [grandchild]
    finally:
        os.close(grandchild)
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def test_both_methods_in_one_program() -> None:
    def outer() -> tuple[int, int]:
        other = allcores.get_context("forkserver").Process(target=jobs.square, args=(3,))
        other.start()
        return other.result(PATIENCE), run(jobs.square, 4)

    assert run(outer) == (9, 16)


class Made:
    """Of the module; and there are classes of functions, which nobody finds by name."""

    def __init__(self, x: int) -> None:
        self.x = x


def test_classes_are_the_same_on_both_sides() -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    def make(x: int) -> Local:
        return Local(x)

    found = run(make, 3)
    assert type(found) is Local
    assert found.x == 3
    with fork.Pool(1) as pool:
        assert pool.apply(lambda thing: type(thing) is Local, (Local(1),))
        assert type(pool.apply(make, (4,))) is Local
        assert type(pool.apply(Made, (4,))) is Made

        class Later:
            pass

        assert type(pool.apply(lambda: Later())) is Later


def test_a_class_that_has_come_back_is_as_it_was() -> None:
    class Counting:
        made = 0

    def make() -> Counting:
        Counting.made += 1
        return Counting()

    Counting.made = 5
    assert type(run(make)) is Counting
    assert Counting.made == 5


def made_now(who: str) -> Any:
    class Local:
        maker = who

    return Local()


def test_a_class_made_after_the_fork_is_no_others() -> None:
    """Relatives that do the same make classes of the same name, and often at the same address."""
    kept = []
    with fork.Pool(1) as pool:
        for i in range(60):
            kept.append(made_now("parent"))
            kept.append(pool.apply(made_now, (f"worker {i}",)))
            assert kept[-1].maker == f"worker {i}"


def test_a_class_in_the_place_of_one_that_is_gone() -> None:
    for i in range(5):
        process = fork.Process(target=lambda thing: thing, args=(made_now(f"before {i}"),))
        process.start()
        later = made_now("later")  # often where that one was
        assert process.result(PATIENCE).maker == f"before {i}"
        assert later.maker == "later"


def test_the_names_of_classes_that_are_gone_are_given_up() -> None:
    gc.collect()
    run(int)
    before = len(lineage._known), len(lineage._named)
    for _ in range(3):
        kept = [made_now("parent") for _ in range(10)]
        run(int)
        assert len(lineage._named) >= before[1] + 10
        kept.clear()
        gc.collect()
    run(int)
    assert (len(lineage._known), len(lineage._named)) == before


def test_what_the_initializer_sets_the_jobs_find() -> None:
    def initialize() -> None:
        state["set"] = "by the initializer"
        globals()["added"] = 1

    with fork.Pool(1, initialize) as pool:
        assert pool.apply(lambda: (state["set"], globals()["added"])) == ("by the initializer", 1)
    assert "added" not in globals()


def test_what_a_child_holds_open_of_ours() -> None:
    """Besides what it has from its parent: its lifeline, its link, and the file of its last words."""

    def ours() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    here = ours()
    assert run(ours) <= here + 3
    assert run(lambda: run(ours)) <= here + 6
