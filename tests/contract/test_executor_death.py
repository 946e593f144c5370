"""Executor: a worker that dies fails its one call, in the words of concurrent.futures; ends of programs."""

import asyncio
import concurrent.futures
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Place


@pytest.mark.needs("kills")
def test_a_death_is_a_broken_process_pool_and_a_worker_died(mp: Context, place: Place) -> None:
    with mp.Executor(1) as executor:
        for each in (executor, executor.with_options(retries=1)):
            victim, other = each.submit(jobs.die_by_signal), each.submit(jobs.square, 3)
            with pytest.raises(BrokenProcessPool, match=place.end("SIGKILL")) as caught:
                victim.result(PATIENCE)
            assert isinstance(caught.value, allcores.WorkerDied)
            assert caught.value.exitcode == place.end(-signal.SIGKILL)
            assert other.result(PATIENCE) == 9


@pytest.mark.needs("kills")
def test_a_nested_death_is_the_inner_pool_s(mp: Context) -> None:
    def inner() -> None:
        with allcores.Pool(1) as pool:
            pool.apply(jobs.die_by_signal)

    with mp.Executor(1) as executor:
        error = executor.submit(inner).exception(PATIENCE)
        assert isinstance(error, allcores.WorkerDied)
        assert not isinstance(error, BrokenProcessPool)


@pytest.mark.needs("kills")
def test_a_death_in_a_map_likewise(mp: Context, place: Place) -> None:
    def inner(_: int) -> None:
        with allcores.Pool(1) as pool:
            pool.apply(jobs.die_by_signal)

    with mp.Executor(1) as executor:
        with pytest.raises(BrokenProcessPool, match=place.end("SIGKILL")) as caught:
            list(executor.map(jobs.square_or_die, range(6), [3] * 6, chunksize=1))
        assert isinstance(caught.value, allcores.WorkerDied)
        assert (caught.value.index, caught.value.failure.index) == (3, 3)
        assert any("item 3 of the input" in note for note in caught.value.__notes__)
        with pytest.raises(allcores.WorkerDied) as nested:
            list(executor.map(inner, [1]))
        assert not isinstance(nested.value, BrokenProcessPool)


class LeavesOnArrival:
    """Ends the program that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return jobs.leave, (3,)


class LeavesOnDeparture:
    """Ends the program that pickles it, a worker; here it can be."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __reduce__(self) -> tuple[object, ...]:
        if os.getpid() != self.home:
            sys.exit(3)
        return LeavesOnDeparture, (self.home,)


def same(x: object) -> object:
    return x


@pytest.mark.needs("copies")
@pytest.mark.parametrize("options", [{}, {"retries": 1}])
def test_what_cannot_be_rebuilt_fails_its_call_alone(mp: Context, options: Any) -> None:
    with mp.Executor(1) as executor:
        submit = executor.with_options(**options).submit
        worker = submit(os.getpid).result(PATIENCE)
        for call in (submit(same, jobs.Grudging("it")), submit(jobs.give_grudging)):
            with pytest.raises(BrokenProcessPool, match="cannot be rebuilt") as caught:
                call.result(PATIENCE)
            assert isinstance(caught.value, ValueError)
            assert isinstance(caught.value, allcores.UnpicklableError)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (type(again), str(again)) == (type(caught.value), str(caught.value))
        for left in (submit(same, LeavesOnArrival()), submit(LeavesOnArrival)):
            with pytest.raises(BrokenProcessPool, match="SystemExit: 3"):
                left.result(PATIENCE)
        with pytest.raises(SystemExit):
            submit(same, LeavesOnDeparture(os.getpid())).result(PATIENCE)
        with pytest.raises(SystemExit):
            list(executor.map(same, [1, LeavesOnDeparture(os.getpid())], chunksize=2))
        assert submit(os.getpid).result(PATIENCE) == worker


@pytest.mark.needs("kills")
def test_a_death_tells_who_waits(mp: Context) -> None:
    told = threading.Event()
    with mp.Executor(2) as executor:
        futures = [executor.submit(jobs.square_or_die, i, 3) for i in range(6)]
        futures[3].add_done_callback(lambda _: told.set())
        assert set(concurrent.futures.as_completed(futures, PATIENCE)) == set(futures)
        assert told.wait(PATIENCE)
        assert [f.exception() is None for f in futures] == [i != 3 for i in range(6)]


@pytest.mark.needs("parallel")
def test_a_terminated_pool_ends_its_futures(mp: Context) -> None:
    gate = mp.Event()
    executor = mp.Executor(1)
    futures = [executor.submit(jobs.wait_for, gate) for _ in range(3)]
    told = threading.Event()
    futures[2].add_done_callback(lambda _: told.set())
    executor.pool.terminate()
    gate.set()
    for future in futures:
        assert isinstance(future.exception(PATIENCE), allcores.PoolTerminated)
    assert told.wait(PATIENCE)


@pytest.mark.needs("kills")
def test_ctrl_c_in_the_block_ends_it(mp: Context) -> None:
    gate = mp.Event()
    executor = mp.Executor(1)
    future = executor.submit(jobs.wait_for, gate)
    with pytest.raises(KeyboardInterrupt), executor:
        raise KeyboardInterrupt
    assert isinstance(future.exception(), allcores.PoolTerminated)


@pytest.mark.needs("kills")
def test_in_a_fork_it_is_the_parent_s(mp: Context) -> None:
    with mp.Executor(1) as executor:
        future = executor.submit(jobs.square, 3)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for ask in (future.result, lambda: executor.submit(jobs.square, 3)):
                    try:
                        ask()
                    except RuntimeError:
                        code = 0
                    else:
                        code = 2
                        break
                executor.shutdown()
                gc.collect()
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert future.result(PATIENCE) == 9


ENDS = {
    "open": "",
    "dropped": "del executor",
    "shut down without waiting": "executor.shutdown(wait=False)",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_the_program_waits_for_what_was_submitted(mp: Context, end: str) -> None:
    code = f"""
import allcores, time
executor = allcores.get_context({mp.name!r}).Executor(2)
def job(x):
    time.sleep(0.05)
    return x
for i in range(4):
    executor.submit(job, i).add_done_callback(lambda f: print("done %d" % f.result() + chr(10), end="", flush=True))
{ENDS[end]}
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert run.stderr == ""
    assert sorted(run.stdout.split()) == sorted(["done", "0", "done", "1", "done", "2", "done", "3"])


@pytest.mark.needs("kills")
def test_ctrl_c_at_the_end_of_the_program_waits_for_nothing(mp: Context) -> None:
    code = f"""
import allcores, os, signal, time
executor = allcores.get_context({mp.name!r}).Executor(1)
future = executor.submit(time.sleep, 1000)
raise KeyboardInterrupt
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "KeyboardInterrupt" in run.stderr


@pytest.mark.needs("kills")
def test_cancel_ends_what_runs(mp: Context) -> None:
    never, started = mp.Event(), mp.Semaphore(0)
    with mp.Executor(1) as executor:
        for each in (executor, executor.with_options(retries=3)):
            running = each.submit(jobs.announce_and_wait, started, never)
            other = each.submit(jobs.square, 3)
            assert started.acquire(timeout=PATIENCE)
            assert running.running()
            assert not other.running()
            assert running.cancel() is True
            assert running.cancelled()
            with pytest.raises(concurrent.futures.CancelledError):
                running.result(PATIENCE)
            assert other.result(PATIENCE) == 9


@pytest.mark.needs("kills")
def test_a_timeout_in_a_loop_ends_what_runs(mp: Context) -> None:
    never = mp.Event()

    async def main(executor: concurrent.futures.Executor) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, jobs.wait_for, never), SHORT)
        assert await loop.run_in_executor(executor, jobs.square, 3) == 9

    with mp.Executor(1) as executor:
        asyncio.run(main(executor), debug=True)


@pytest.mark.needs("parallel")
def test_each_is_told_once(mp: Context) -> None:
    """Conditions are made while answers come: whichever is first, as_completed gives each future once."""
    with mp.Executor(2) as executor:
        for _ in range(20):
            futures = [executor.submit(jobs.square, i) for i in range(50)]
            assert len(list(concurrent.futures.as_completed(futures, PATIENCE))) == 50
