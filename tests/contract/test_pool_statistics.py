"""Pool.statistics(): what a pool has done, and what its workers are at."""

import inspect
import os
import pickle
import signal
import threading
import time
from typing import Any

import pytest

import allcores
from allcores.pool import statistics
from allcores.pool.crew import Outcome

from . import jobs
from .kit import PATIENCE, Context, Handle, Place


def test_tasks_and_items(mp: Context, place: Place) -> None:
    with mp.Pool(2) as pool:
        for x in range(5):
            pool.apply(abs, (x,))
        pool.map(abs, range(100), chunksize=10)
        with pytest.raises(ZeroDivisionError):
            pool.apply(divmod, (1, 0))
        now = pool.statistics()
        assert (now.tasks, now.items, now.waiting) == (16, 106, 0)
        assert sum(w.tasks for w in now.workers) == 16
        assert sum(w.items for w in now.workers) == 106
        assert (now.retries, now.deaths, now.timeouts, now.recycled) == (0, 0, 0, 0)
        # One of a cluster that is starting is not heard of.
        assert len(now.workers) in ((1, 2) if place.cluster else (2,) if place.parallel else (1,))
        assert all(w.name.startswith("PoolWorker-") for w in now.workers)
        if place.copies:
            assert {w.pid for w in now.workers}.isdisjoint({os.getpid()})
            assert all(w.memory is not None and w.memory > 100_000 for w in now.workers)
        else:
            assert {w.pid for w in now.workers} == {os.getpid()}


def test_asking_counts_for_nothing(mp: Context) -> None:
    with mp.Pool(1) as pool:
        pool.apply(int)
        for _ in range(3):
            assert pool.statistics().tasks == 1
        pool.apply(int)
        assert pool.statistics().tasks == 2


@pytest.mark.needs("parallel")
def test_who_is_busy(mp: Context) -> None:
    begun, go_on = mp.Event(), mp.Event()

    def hold(begun: Handle, go_on: Handle) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    with mp.Pool(2) as pool:
        result = pool.apply_async(hold, (begun, go_on))
        assert begun.wait(PATIENCE)
        now = pool.statistics()
        assert now.waiting == 1
        assert sorted(w.state for w in now.workers if w.state != "starting")[:1] == ["busy"]
        go_on.set()
        result.get()
        assert pool.statistics().waiting == 0


@pytest.mark.needs("parallel")
def test_shares_and_waits(mp: Context) -> None:
    """The clock of the records has steps of some milliseconds."""

    def sleep(seconds: float) -> None:
        import time

        time.sleep(seconds)

    with mp.Pool(1) as pool:
        pool.apply(int)
        before = pool.statistics()
        for _ in range(3):
            pool.apply(sleep, (0.1,))
        now = pool.statistics()
        (worker,) = now.workers
        assert now.waited - before.waited >= 0.28
        assert worker.busy > 0.2
        assert (1 - worker.busy) * 0.3 / worker.busy >= now.idle * 0.1
        assert worker.state == "idle"


@pytest.mark.needs("copies")
def test_bytes(mp: Context) -> None:
    with mp.Pool(1) as pool:
        pool.apply(len, (b"x" * 1_000_000,))
        now = pool.statistics()
        assert 1_000_000 <= now.bytes_sent < 1_010_000
        assert now.bytes_received < 10_000
        pool.apply(bytes, (2_000_000,))
        assert 2_000_000 <= pool.statistics().bytes_received < 2_020_000


@pytest.mark.needs("kills")
def test_deaths_and_retries(mp: Context, place: Place) -> None:
    flag = mp.Value("i", 0)

    def die_once(flag: Handle) -> int:
        if flag.add(1) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return 5

    with mp.Pool(1) as pool:
        assert pool.apply(die_once, (flag,), retries=2) == 5
        now = pool.statistics()
        assert (now.deaths, now.retries) == (1, 1)
        with pytest.raises(allcores.WorkerDied):
            pool.apply(jobs.die_by_signal, **place.once)
        flag.value = 0
        assert pool.map(die_once, [flag], retries=1) == [5]
        now = pool.statistics()
        assert (now.deaths, now.retries) == (3, 2)


@pytest.mark.needs("parallel")
def test_timeouts(mp: Context, place: Place) -> None:
    def wait_for(go_on: Handle) -> None:
        if go_on is not None:
            go_on.wait(PATIENCE)

    go_on = mp.Event()
    with mp.Pool(2) as pool:
        failed, *others = pool.map(wait_for, [go_on, None, None], timeout=0.1, errors="return", chunksize=1)
        assert isinstance(failed, allcores.Failure)
        assert others == [None, None]
        now = pool.statistics()
        assert (now.timeouts, now.deaths, now.tasks, now.waiting) == (1, 0, 2, 0)
        go_on.set()
        assert len(now.workers) == 2 or place.cluster  # where one is replaced, in its time


@pytest.mark.needs("kills", "owns")
def test_recycled(mp: Context) -> None:
    with mp.Pool(1, maxtasksperchild=2) as pool:
        for _ in range(5):
            pool.apply(int)
    assert pool.statistics().recycled == 2
    assert pool.statistics().tasks == 5


@pytest.mark.needs("kills", "owns")
def test_a_recycling_that_the_pool_hears_of_at_its_end(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next worker has done the rest before the pool's own thread came to say so."""
    with mp.Pool(1, maxtasksperchild=1) as pool:
        post, finish, ends = pool._engine.post_news, pool._crew.finish, threading.Event()

        def post_late(message: tuple[int, int, Any]) -> None:
            if message[1] & 0xFF == Outcome.RETIRED:
                ends.wait(PATIENCE)
            post(message)

        def end() -> None:
            ends.set()
            finish()

        monkeypatch.setattr(pool._engine, "post_news", post_late)
        monkeypatch.setattr(pool._crew, "finish", end)
        assert [pool.apply(int), pool.apply(int)] == [0, 0]
        pool.close()
        pool.join()
    assert pool.statistics().recycled >= 1


@pytest.mark.parametrize("end", ["close", "terminate"])
def test_after_the_end(mp: Context, end: str) -> None:
    with mp.Pool(2) as pool:
        pool.map(abs, range(10), chunksize=1)
        if end == "terminate":
            pool.terminate()
    last = pool.statistics()
    assert (last.tasks, last.items) == (10, 10)
    assert {w.state for w in last.workers} == {"ended"}
    assert pool.statistics() == last
    assert pickle.loads(pickle.dumps(last)) == last


def test_in_words(mp: Context) -> None:
    with mp.Pool(1) as pool:
        pool.map(abs, range(10), chunksize=5)
        text = str(pool.statistics())
    assert text.splitlines()[0].split() == ["worker", "pid", "tasks", "items", "busy", "memory", "state"]
    assert "PoolWorker-" in text.splitlines()[1]
    assert "2 tasks done with 10 items, 0 waiting" in text


def test_every_field_has_a_line() -> None:
    for cls in (statistics.WorkerStatistics, statistics.PoolStatistics):
        lines = inspect.getsource(cls).splitlines()
        for field, kind in cls.__annotations__.items():
            at = next(i for i, line in enumerate(lines) if line.startswith(f"    {field}: "))
            assert lines[at + 1].strip().startswith('"""'), (field, kind)


@pytest.mark.needs("kills")
def test_a_cancelled_call_is_no_death(mp: Context, place: Place) -> None:
    begun = mp.Event()

    def stay() -> None:
        begun.set()
        time.sleep(1000)

    with mp.Pool(1) as pool:
        call = pool.apply_async(stay)
        assert begun.wait(PATIENCE)
        assert call.cancel()
        assert pool.apply(jobs.square, (3,)) == 9
        assert pool.statistics().deaths == 0
        with pytest.raises(allcores.WorkerDied):
            pool.apply(jobs.die_by_signal, **place.once)
        assert pool.statistics().deaths == 1
