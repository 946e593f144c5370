"""Pools in pools: any mix of contexts, at any depth; all together keep no more cores busy than there are."""

import contextlib
import itertools
import os
import time
from typing import Any

import numpy as np
import psutil
import pytest

import allcores
from allcores import cores
from allcores.pool.plan import PoolOptions

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

CORES = 4


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.OVERRIDE, str(CORES))


def tree_of_squares(names: tuple[str, ...], workers: int, x: int) -> Any:
    """A pool in each task of a pool, as deep as there are names of contexts."""
    if not names:
        return jobs.square(x)
    with allcores.get_context(names[0]).Pool(workers, oversubscribe=True) as pool:
        return pool.starmap(tree_of_squares, [(names[1:], workers, x + i) for i in range(2)], chunksize=1)


# Each worker of a cluster has a core, whatever this program's environment says.
has_these_cores = pytest.mark.lacks("cluster")


MIXES = [
    *itertools.product(("serial", "thread", "process"), repeat=2),
    ("fork", "fork"),
    ("process", "fork"),
    ("fork", "spawn"),
]


@pytest.mark.parametrize("inner", MIXES, ids="-".join)
def test_any_mix_of_contexts(mp: Context, inner: tuple[str, str]) -> None:
    assert tree_of_squares((mp.name, *inner), 1, 1) == [[[1, 4], [4, 9]], [[4, 9], [9, 16]]]


def test_every_worker_waits_for_an_inner_map(mp: Context) -> None:
    """Three deep, as many workers as tasks: nobody is left at any level who could do the work of another."""
    assert tree_of_squares((mp.name,) * 3, 2, 0) == tree_of_squares(("serial",) * 3, 1, 0)


def sizes(names: tuple[str, ...], asked: int | None) -> list[int]:
    """How many workers pools have that are made in each other's workers."""
    if not names:
        return []
    with allcores.get_context(names[0]).Pool(asked) as pool:
        return [pool._crew.size, *pool.apply(sizes, (names[1:], asked))]


@has_these_cores
@pytest.mark.needs("parallel")
@pytest.mark.parametrize("inner", ["thread", "process"])
def test_by_default_a_pool_has_the_share_of_its_maker(mp: Context, inner: str) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(sizes, ((inner, mp.name), None)) == [2, 1]
    with mp.Pool(1) as pool:
        assert pool.apply(sizes, ((inner, mp.name), None)) == [4, 1]
    with mp.Pool(3) as pool:
        assert pool.apply(sizes, ((inner, mp.name), None)) == [1, 1]


@has_these_cores
@pytest.mark.needs("parallel")
def test_who_asks_for_more_gets_the_share(mp: Context) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(sizes, ((mp.name, mp.name), 3)) == [2, 1]
        assert pool.apply(sizes, ((mp.name, mp.name), 1)) == [1, 1]


@pytest.mark.needs("parallel")
@pytest.mark.lacks("copies")
def test_that_it_is_fewer_is_told_to_who_listens(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "allcores")
    with mp.Pool(2) as pool:
        pool.apply(sizes, ((mp.name,), 3))
    assert ["2 instead of 3 workers; oversubscribe=True" in record.getMessage() for record in caplog.records] == [True]


def size_of(name: str, asked: int | None, options: PoolOptions) -> int:
    with allcores.get_context(name).Pool(asked, **options) as pool:
        size: int = pool._crew.size
        return size


@has_these_cores
def test_oversubscribe(mp: Context) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(size_of, (mp.name, 5, {"oversubscribe": True})) == 5


@has_these_cores
def test_the_program_itself_gets_what_it_asks_for(mp: Context) -> None:
    assert size_of(mp.name, CORES + 3, {}) == CORES + 3
    assert size_of(mp.name, None, {}) == CORES


@has_these_cores
def test_a_process_of_the_program_has_all_cores(mp: Context) -> None:
    process = mp.Process(target=size_of, args=(mp.name, None, {}))
    process.start()
    assert process.result(PATIENCE) == CORES


def size_in_a_child(kind: str, name: str) -> int:
    child = getattr(allcores.get_context(name), kind)(target=size_of, args=(name, 9, {}))
    child.start()
    size: int = child.result(PATIENCE)
    return size


@has_these_cores
@pytest.mark.needs("parallel")
@pytest.mark.parametrize("kind", ["Process", "Thread"])
def test_what_a_worker_starts_has_the_workers_share(mp: Context, kind: str) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(size_in_a_child, (kind, mp.name)) == 2


@has_these_cores
@pytest.mark.needs("parallel")
def test_the_count_of_cores_is_the_same_everywhere(mp: Context) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(allcores.cpu_count) == allcores.cpu_count() == CORES


@has_these_cores
@pytest.mark.needs("kills")
def test_whoever_replaces_a_worker_has_its_share(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for _ in range(3):
            with pytest.raises(allcores.WorkerDied):
                pool.apply(jobs.die_by_signal)
        assert pool.starmap(size_of, [(mp.name, None, {})] * 4, chunksize=1) == [2] * 4


def inner_pids_then_die(pids: Handle) -> None:
    pool = allcores.Pool(2)
    pids.put([pool.apply(jobs.pid_of), *(each.pid for each in allcores.active_children())])
    jobs.die_by_signal()


@pytest.mark.needs("kills")
def test_a_worker_that_dies_takes_its_inner_workers_along(mp: Context, place: Place) -> None:
    pids = mp.Queue()
    with mp.Pool(1) as pool:
        with pytest.raises(allcores.WorkerDied):
            pool.apply(inner_pids_then_die, (pids,), **place.once)
        inner = pids.get(timeout=PATIENCE)
        assert pool.apply(sizes, ((mp.name,), None)) == [1 if place.cluster else CORES]
    for pid in set(inner):  # its end has been settled before anybody heard of the worker's, where that is ours
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(PATIENCE if place.cluster else 0)


def seconds_of_threads() -> dict[int, float]:
    """Of each thread of this process, the seconds of a core that it has had."""
    found = {}
    for tid in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(OSError):  # ended meanwhile
            found[tid] = time.clock_gettime(~tid << 3 | 6)  # the kernel's number of such a clock
    return found


def multiply(_: object) -> tuple[int, int]:
    """This process, and how many threads of it did the work."""
    before = seconds_of_threads()
    a = np.ones((400, 400))
    for _i in range(5):
        a = (a @ a) / 400
    spent = [seconds - before.get(tid, 0) for tid, seconds in seconds_of_threads().items()]
    return os.getpid(), sum(each > sum(spent) / 10 for each in spent)


def multiply_in_inner(_: object) -> tuple[int, list[tuple[int, int]], int]:
    with allcores.Pool(CORES) as inner:
        return inner._crew.size, inner.map(multiply, range(8), chunksize=1), multiply(0)[1]


@has_these_cores
@pytest.mark.needs("kills")
def test_all_together_stay_within_the_cores(mp: Context) -> None:
    """Each of two workers asks for four, each of which would have a thread of BLAS for every core."""
    parents, share = 2, CORES // 2
    with mp.Pool(parents) as pool:
        for size, found, alone in pool.map(multiply_in_inner, range(4), chunksize=1):
            assert size == share
            assert len({pid for pid, _ in found}) <= size
            assert {threads for _, threads in found} == {1}
            assert alone <= share  # the parent, while its workers have nothing to do
