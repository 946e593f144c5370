"""Pool: cancel() drops what waits at once, and ends what runs by replacing the worker."""

import concurrent.futures
import contextlib
import os
import signal
import threading
import time
from typing import Any

import psutil
import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle

CancelledError = concurrent.futures.CancelledError


@pytest.mark.needs("parallel")
def test_what_waits_never_runs(mp: Context) -> None:
    come, gate, ran = mp.Semaphore(0), mp.Event(), mp.Value("i", 0)
    with mp.Pool(1) as pool:
        first = pool.apply_async(jobs.announce_and_wait, (come, gate))
        assert come.acquire(timeout=PATIENCE)
        waiting = [pool.apply_async(lambda: ran.add(1)) for _ in range(20)]
        assert all(each.cancel() for each in waiting[::2])
        assert all(each.cancel() and each.cancelled() for each in waiting[::2])  # twice
        for each in waiting[::2]:
            assert each.ready()
            assert not each.successful()
            with pytest.raises(CancelledError):
                each.get(PATIENCE)
        gate.set()
        first.get(PATIENCE)
        for each in waiting[1::2]:
            each.get(PATIENCE)
            assert not each.cancel()
            assert not each.cancelled()
    assert ran.value == 10


def test_what_is_done_is_not_cancelled(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for result in (pool.apply_async(jobs.square, (3,)), pool.apply_async(jobs.fail), pool.map_async(len, ["a"])):
            result.wait(PATIENCE)
            assert not result.cancel()
            assert not result.cancelled()


@pytest.mark.needs("kills")
@pytest.mark.parametrize("options", [{}, {"retries": 3}, {"timeout": PATIENCE, "retries": 1}])
def test_what_runs_is_ended(mp: Context, options: dict[str, Any]) -> None:
    come = mp.Queue()

    def job() -> None:
        come.put(os.getpid())
        time.sleep(1000)

    with mp.Pool(1) as pool:
        for _ in range(3):
            result = pool.apply_async(job, **options)
            worker = psutil.Process(come.get(timeout=PATIENCE))
            assert result.cancel()
            with pytest.raises(CancelledError):
                result.get(PATIENCE)
            psutil.wait_procs([worker], timeout=PATIENCE)
            assert not worker.is_running()
            assert pool.apply(jobs.square, (3,)) == 9
        assert come.empty()


@pytest.mark.needs("parallel")
@pytest.mark.lacks("kills")
def test_what_runs_in_a_thread_is_not(mp: Context) -> None:
    come, gate = mp.Semaphore(0), mp.Event()
    with mp.Pool(1) as pool:
        result = pool.apply_async(jobs.announce_and_wait, (come, gate))
        assert come.acquire(timeout=PATIENCE)
        assert not result.cancel()
        assert not result.cancelled()
        gate.set()
        result.get(PATIENCE)


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_a_map(mp: Context, chunksize: int | None) -> None:
    come, gate, ran = mp.Semaphore(0), mp.Event(), mp.Value("i", 0)

    def job(_: int) -> None:
        ran.add(1)
        jobs.announce_and_wait(come, gate)

    with mp.Pool(2) as pool:
        result = pool.map_async(job, range(1000), chunksize)
        assert come.acquire(timeout=PATIENCE)
        assert result.cancel()
        assert result.cancelled()
        with pytest.raises(CancelledError):
            result.get(PATIENCE)
        gate.set()
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]
    assert ran.value <= 4


@pytest.mark.needs("kills")
def test_others_are_not_hit(mp: Context) -> None:
    """Calls of some microseconds are cancelled while workers take, run and answer them: each is one or the other."""
    with mp.Pool(2) as pool:
        results = [pool.apply_async(jobs.square, (x,)) for x in range(600)]
        cancelled = {x for x in range(0, 600, 7) if results[x].cancel()}
        for x, result in enumerate(results):
            assert result.cancelled() == (x in cancelled)
            if x in cancelled:
                with pytest.raises(CancelledError):
                    result.get(PATIENCE)
            else:
                assert result.get(PATIENCE) == x * x
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


@pytest.mark.needs("kills")
def test_by_several_threads_while_another_waits(mp: Context) -> None:
    with mp.Pool(2) as pool:
        results = [pool.apply_async(time.sleep, (1000,)) for _ in range(20)]
        raised: list[BaseException] = []

        def wait_for(result: Handle) -> None:
            with contextlib.suppress(CancelledError):
                try:
                    result.get(PATIENCE)
                except BaseException as error:
                    raised.append(error)
                    raise

        waiting = [threading.Thread(target=wait_for, args=(result,)) for result in results]
        ending = [threading.Thread(target=result.cancel) for result in results]
        for thread in (*waiting, *ending):
            thread.start()
        for thread in (*waiting, *ending):
            thread.join(PATIENCE)
        assert [type(error) for error in raised] == [CancelledError] * 20
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


@pytest.mark.needs("kills")
def test_error_callbacks_are_told(mp: Context) -> None:
    told: list[BaseException] = []
    come = mp.Semaphore(0)

    def job() -> None:
        come.release()
        time.sleep(1000)

    with mp.Pool(1) as pool:
        running = pool.apply_async(job, error_callback=told.append)
        waiting = pool.apply_async(job, error_callback=told.append)
        assert come.acquire(timeout=PATIENCE)
        assert waiting.cancel()
        assert running.cancel()
    assert [type(error) for error in told] == [CancelledError] * 2


@pytest.mark.needs("kills")
def test_a_worker_killed_as_it_is_cancelled(mp: Context) -> None:
    come = mp.Queue()

    def job() -> None:
        come.put(os.getpid())
        time.sleep(1000)

    with mp.Pool(1) as pool:
        for _ in range(20):
            result = pool.apply_async(job)
            pid = come.get(timeout=PATIENCE)
            killer = threading.Thread(target=os.kill, args=(pid, signal.SIGKILL))
            killer.start()
            cancelled = result.cancel()
            killer.join()
            with pytest.raises(CancelledError if cancelled else allcores.WorkerDied):
                result.get(PATIENCE)
        assert pool.apply(jobs.square, (3,)) == 9


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("how", ["cancel", "give_up", "take_back"])
def test_ctrl_c_when_a_task_has_just_been_taken_back(mp: Context, how: str) -> None:
    """Before anybody could settle it: the pool's end does not wait for it all the same."""

    def interrupted(*args: Any) -> None:
        delattr(pool._crew, method)
        getattr(pool._crew, method)(*args)
        raise KeyboardInterrupt

    gate = mp.Event()
    with mp.Pool(1) as pool:
        running = pool.apply_async(jobs.wait_for, (gate,))
        queued = pool.executor(retries=1).submit(jobs.square, 2)
        others = pool.map_async(jobs.square, range(9), chunksize=1)
        end: Any = {
            "cancel": queued.cancel,
            "give_up": lambda: pool._engine.give_up(others),
            "take_back": lambda: pool.executor().shutdown(cancel_futures=True),
        }[how]
        if how == "give_up":
            others.abandon(allcores.PoolTerminated("as map() does at Ctrl-C"))
        method = "drop" if how == "take_back" else "give_up"
        setattr(pool._crew, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            end()
        gate.set()
        assert running.get(PATIENCE) is None
    assert queued.cancelled() == (how != "give_up")
    if how != "give_up":
        assert others.get(PATIENCE) == [x * x for x in range(9)]
