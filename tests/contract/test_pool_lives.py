"""Workers that end on purpose in the middle of a pool's life: by memory, by the number of tasks, for want of work."""

import contextlib
import os
import random
import threading
from collections import Counter
from typing import Any

import psutil
import pytest

from allcores import start

from . import jobs
from .kit import PATIENCE, Context

MIB = 1 << 20


@pytest.mark.parametrize("name", ["max_memory", "idle_timeout"])
@pytest.mark.parametrize("value", [0, -1, "1", True])
def test_what_cannot_be(mp: Context, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{name}.*{value!r}"):
        mp.Pool(1, **{name: value})


@pytest.mark.needs("owns")
@pytest.mark.parametrize("how", [{"max_memory": 1 << 40}, {"idle_timeout": 60}, {"idle_timeout": 0.001}])
def test_the_results_are_the_same(mp: Context, how: dict[str, Any]) -> None:
    with mp.Pool(2, **how) as pool:
        assert pool.map(jobs.square, range(1000)) == [x * x for x in range(1000)]
        assert list(pool.imap(jobs.square, range(100), chunksize=3)) == [x * x for x in range(100)]
        assert pool.apply(jobs.square, (7,)) == 49


# Memory.


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
@pytest.mark.parametrize("chunksize", [1, 12])
def test_a_worker_above_max_memory_is_replaced_between_items(mp: Context, chunksize: int) -> None:
    """Each item keeps 32 MiB: after the third or fourth, a fresh worker has the next, or the rest of the chunk."""
    with mp.Pool(1, max_memory=128 * MIB) as pool:
        done = pool.map(jobs.hoard, [32 * MIB] * 12, chunksize=chunksize)
    times = Counter(pid for pid, _ in done)
    assert len(times) > 2
    assert max(times.values()) <= 4
    assert [n for _, n in done] == [n for count in times.values() for n in range(1, count + 1)]


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_what_is_shared_does_not_count(mp: Context) -> None:
    data = mp.share([bytes(MIB) for _ in range(64)])
    with mp.Pool(1, max_memory=48 * MIB) as pool:
        pids = pool.map(lambda _: (sum(map(len, data)), os.getpid()), range(20), chunksize=1)
    assert len(set(pids)) == 1


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
@pytest.mark.parametrize("tasks", [300, pytest.param(10_000, marks=(pytest.mark.slow, pytest.mark.timeout(95)))])
def test_recycled_by_all_means_and_killed_beside(mp: Context, tasks: int) -> None:
    """Each task answers once, and each that was not killed in its middle ran once."""
    runs = mp.Array("i", tasks)
    over, killed = threading.Event(), []
    at_random = random.Random(7)

    def kill_some() -> None:
        while not over.wait(0.05):
            for worker in psutil.Process(start.template_pid()).children():
                if at_random.random() < 0.3:
                    killed.append(worker.pid)
                    with contextlib.suppress(psutil.NoSuchProcess):  # it has just been recycled
                        worker.kill()

    with mp.Pool(3, maxtasksperchild=7, max_memory=1 << 30) as pool:
        killer = threading.Thread(target=kill_some)
        killer.start()
        try:
            done = pool.map(jobs.count_run, ((runs, i) for i in range(tasks)), chunksize=1, retries=100)
        finally:
            over.set()
            killer.join()
    assert done == list(range(tasks))
    assert min(runs) == 1
    assert sum(runs) - tasks <= len(killed)


# Idle.


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_workers_without_work_end_and_come_back(mp: Context) -> None:
    with mp.Pool(2, idle_timeout=0.01) as pool:
        for n in range(100):
            assert pool.map(jobs.square, range(n, n + 4), chunksize=1) == [x * x for x in range(n, n + 4)]
            if n % 10 == 0:
                until_nobody_works(mp)


def until_nobody_works(mp: Context) -> None:
    """Neither for the system, nor for who started them: the template hears of a death first, and then tells of it."""
    template = psutil.Process(start.template_pid())
    while workers := template.children() or mp.active_children():  # another may be started for a task that is just done
        psutil.wait_procs([each for each in workers if isinstance(each, psutil.Process)], PATIENCE)
        for each in mp.active_children():
            each.join(PATIENCE)


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_a_task_that_comes_as_the_last_worker_leaves(mp: Context) -> None:
    """Around the very moment, hundreds of times: each is done, by who is still there or by who is started for it."""
    with mp.Pool(1, idle_timeout=0.002) as pool:
        for n in range(150):
            threading.Event().wait(0.002 + 0.00002 * (n % 50))
            assert pool.apply_async(jobs.square, (n,)).get(PATIENCE) == n * n


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_who_works_does_not_idle(mp: Context) -> None:
    with mp.Pool(1, idle_timeout=0.05) as pool:
        assert pool.apply(lambda: threading.Event().wait(0.2)) is False
        (worker,) = mp.active_children()
        assert worker.is_alive()


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_an_idle_pool_ends_as_any(mp: Context) -> None:
    pool = mp.Pool(2, idle_timeout=0.01)
    until_nobody_works(mp)
    result = pool.apply_async(jobs.square, (3,))
    pool.close()
    pool.join()
    assert result.get() == 9


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_an_idle_pool_that_is_terminated(mp: Context) -> None:
    pool = mp.Pool(2, idle_timeout=0.01)
    until_nobody_works(mp)
    pool.terminate()
    pool.join()
