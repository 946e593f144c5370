"""Pool: timeout=, the seconds that an item may run: only the stuck item is ended, with all that it has started."""

import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Call = Callable[..., Any]
SOON = 0.15  # a timeout that a stuck item is to run into; quick ones are over in a hundredth of it
LONG = 0.4  # what "stuck" takes where nothing can end it

METHODS: dict[str, Call] = {
    "map": lambda pool, job, items, **o: pool.map(job, items, **o),
    "map in chunks": lambda pool, job, items, **o: pool.map(job, items, 5, **o),
    "map_async": lambda pool, job, items, **o: pool.map_async(job, items, **o).get(PATIENCE),
    "starmap": lambda pool, job, items, **o: pool.starmap(job, [(x,) for x in items], **o),
    "starmap_async": lambda pool, job, items, **o: pool.starmap_async(job, [(x,) for x in items], 4, **o).get(PATIENCE),
    "imap": lambda pool, job, items, **o: list(pool.imap(job, items, **o)),
    "imap in chunks": lambda pool, job, items, **o: list(pool.imap(job, items, 10, **o)),
    "imap_unordered": lambda pool, job, items, **o: sorted(pool.imap_unordered(job, items, **o), key=place_of),
}


def place_of(result: Any) -> Any:
    return result.index if isinstance(result, allcores.Failure) else result


def stuck(place: Place) -> None:
    """As long as somebody can end it; else a while."""
    end = time.monotonic() + (PATIENCE if place.kills else LONG)
    while time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("method", METHODS)
def test_only_the_stuck_item_is_ended(mp: Context, place: Place, method: str) -> None:
    def job(x: int) -> int:
        if x == 6:
            stuck(place)
        return x

    with mp.Pool(2) as pool:
        results = METHODS[method](pool, job, range(12), timeout=SOON, errors="return")
        assert [x for x in results if isinstance(x, int)] == [x for x in range(12) if x != 6]
        (failure,) = (x for x in results if not isinstance(x, int))
        error: Any = failure.error
        assert type(error) is allcores.TaskTimeout
        assert issubclass(allcores.TaskTimeout, TimeoutError)
        assert (failure.index, error.index, error.timeout, error.attempts) == (6, 6, SOON, 1)
        assert "6" in error.item
        assert failure.pid == error.pid
        assert SOON <= error.seconds < PATIENCE / 2
        assert "timeout" in str(error)
        assert results.index(failure) == 6
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]
        with pytest.raises(allcores.TaskTimeout) as caught:
            METHODS[method](pool, job, range(12), timeout=SOON)
        error = caught.value
        assert error.index == error.failure.index == 6


def test_single_calls(mp: Context, place: Place) -> None:
    with mp.Pool(2) as pool:
        with pytest.raises(allcores.TaskTimeout) as caught:
            pool.apply(stuck, (place,), timeout=SOON)
        assert caught.value.index is None
        assert "kills" in caught.value.item
        with pytest.raises(allcores.TimeoutError, match="timeout"):
            pool.apply_async(stuck, kwds={"place": place}, timeout=SOON).get(PATIENCE)
        told: list[BaseException] = []
        pool.apply_async(stuck, (place,), error_callback=told.append, timeout=SOON).wait(PATIENCE)
        assert [type(error) for error in told] == [allcores.TaskTimeout]
        assert pool.apply(jobs.square, (3,), timeout=SOON) == 9
        copy = pickle.loads(pickle.dumps(caught.value))
        assert str(copy) == str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("nan")])
def test_what_is_no_timeout(mp: Context, timeout: Any) -> None:
    with mp.Pool(1) as pool, pytest.raises((TypeError, ValueError), match="timeout"):
        pool.map(jobs.square, range(3), timeout=timeout)


def test_the_deadline_is_of_each_item(mp: Context) -> None:
    """All together take longer than one may."""
    with mp.Pool(1) as pool:
        assert pool.map(time.sleep, [0.02] * 20, 20, timeout=0.3) == [None] * 20


def test_one_of_fifty_in_a_chunk(mp: Context, place: Place) -> None:
    def job(x: int) -> int:
        if x == 20:
            stuck(place)
        return x

    with mp.Pool(2) as pool:
        results: list[Any] = pool.map(job, range(50), 50, timeout=SOON, errors="return")
    assert results[:20] + results[21:] == [x for x in range(50) if x != 20]
    assert isinstance(results[20].error, allcores.TaskTimeout)


def test_items_that_took_too_long_are_tried_again(mp: Context, place: Place) -> None:
    begun = mp.Value("i", 0)

    def job(x: int) -> int:
        if x == 3 and begun.add(1) <= 2:
            stuck(place)
        return x

    with mp.Pool(2) as pool:
        assert pool.map(job, range(6), 3, timeout=SOON, retries=2) == list(range(6))
        assert begun.value == 3
        begun.value = 0
        assert pool.apply(job, (3,), timeout=SOON, retries=2) == 3
        begun.value = 0
        with pytest.raises(allcores.TaskTimeout, match="attempt 2") as caught:
            list(pool.imap(job, range(6), 2, timeout=SOON, retries=1))
        assert caught.value.attempts == begun.value == 2
        begun.value = 0
        with pytest.raises(allcores.TaskTimeout, match="attempt 2"):
            pool.apply(job, (3,), timeout=SOON, retries=1)


@pytest.mark.needs("parallel")
def test_others_go_on_meanwhile(mp: Context, place: Place) -> None:
    with mp.Pool(2) as pool:
        slow = pool.apply_async(stuck, (place,), timeout=SOON)
        assert pool.map(jobs.square, range(100), 1) == [x * x for x in range(100)]
        with pytest.raises(allcores.TaskTimeout):
            slow.get(PATIENCE)


@pytest.mark.needs("kills", "owns")  # a cluster's worker looks at the clock itself, in a thread
def test_stuck_in_c(mp: Context) -> None:
    """Where no signal handler of Python would run, and with all signals held back."""

    def huge(held_back: bool) -> None:
        if held_back:
            signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        pow(3, 1 << 40)

    with mp.Pool(2) as pool:
        results: list[Any] = pool.map(huge, [False, True], 1, timeout=SOON, errors="return")
        assert [type(x.error) for x in results] == [allcores.TaskTimeout] * 2
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


CHILDREN = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(1000)'])"


@pytest.mark.needs("kills")
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_all_that_it_has_started_is_gone(mp: Context, tmp_path: Path, how: str) -> None:
    """Subprocesses and theirs, one in a session of its own, and a Process with a subprocess."""

    def start_many(come: Any) -> None:
        def start_one() -> None:
            subprocess.run([sys.executable, "-c", CHILDREN], check=False)

        nested = allcores.Process(target=start_one)
        nested.start()
        children = [subprocess.Popen([sys.executable, "-c", CHILDREN], start_new_session=new) for new in (False, True)]
        while len(family(nested.pid)) < 2 or any(len(family(child.pid)) < 1 for child in children):
            time.sleep(0.01)
        come.put([os.getpid(), nested.pid, *(child.pid for child in children)])
        come.put([pid for root in (os.getpid(), nested.pid) for pid in family(root)])
        time.sleep(1000)

    def family(pid: int | None) -> list[int]:
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]

    come = mp.Queue()
    with mp.Pool(1) as pool:
        result: Any = pool.apply_async(start_many, (come,), timeout=5.0 if how == "timeout" else None)
        found = [psutil.Process(pid) for _ in range(2) for pid in come.get(timeout=PATIENCE)]
        assert len(found) >= 4 + 6
        if how == "cancel":
            assert result.cancel()
        else:
            with pytest.raises(allcores.TaskTimeout):
                result.get(PATIENCE)
        _, alive = psutil.wait_procs(found, timeout=PATIENCE)
        assert not alive
        assert pool.apply(jobs.square, (3,)) == 9


@pytest.mark.needs("kills")
def test_many_in_a_row(mp: Context, place: Place) -> None:
    count = 20 if place.cluster else 100  # a worker of Ray takes a second to start
    with mp.Pool(2) as pool:
        results: list[Any] = pool.map(lambda _: time.sleep(1000), range(count), 1, timeout=0.002, errors="return")
        assert [x.index for x in results] == list(range(count))
        assert {type(x.error) for x in results} == {allcores.TaskTimeout}
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


@pytest.mark.needs("kills")
def test_no_item_is_hit_that_has_ended(mp: Context, place: Place) -> None:
    """Items that take about as long as they may: each either gave its result or is overdue, and never both."""
    count = 20 if place.cluster else 100
    done = mp.Array("i", count)

    def job(x: int) -> int:
        time.sleep(0.004 + x % 7 * 0.0005)
        done[x] += 1
        return x

    with mp.Pool(2) as pool:
        results: list[Any] = pool.map(job, range(count), 1, timeout=0.0065, errors="return")
    assert len(results) == count
    for x, result in enumerate(results):
        assert result == x or isinstance(result.error, allcores.TaskTimeout)
        if result == x:
            assert done[x] == 1


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_workers_killed_while_they_are_being_ended(mp: Context) -> None:
    """A kill from outside at about the deadline: one of the two is what the item fails with."""
    rest = random.Random(1)
    pool: Any
    with mp.Pool(2) as pool:
        for _ in range(15):
            result = pool.apply_async(time.sleep, (1000,), timeout=0.02)
            time.sleep(0.015 + rest.random() * 0.01)
            for pid in list(pool._crew._workers):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with pytest.raises((allcores.TaskTimeout, allcores.WorkerDied)):
                result.get(PATIENCE)
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


@pytest.mark.needs("kills")
def test_the_caller_is_killed(mp: Context) -> None:
    """In the middle of its timeouts; nothing of it stays, which a fixture looks for."""

    def caller(come: Handle) -> None:
        with allcores.Pool(2) as pool:
            come.put([os.getpid(), *pool._crew._workers])
            pool.map(lambda _: time.sleep(1000), range(1000), 1, timeout=0.01, errors="skip")

    come = mp.Queue()
    for delay in (0.0, 0.05, 0.1):
        process: Handle = mp.Process(target=caller, args=(come,))
        process.start()
        found = [psutil.Process(pid) for pid in come.get(timeout=PATIENCE)]
        time.sleep(delay)
        process.kill()
        _, alive = psutil.wait_procs(found, timeout=PATIENCE)
        assert not alive
        process.join(PATIENCE)
        process.close()


@pytest.mark.needs("kills")
def test_ctrl_c_among_timeouts(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for delay in (0.02, 0.05, 0.08):
            timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                pool.map(lambda _: time.sleep(1000), range(1000), 1, timeout=0.01, errors="skip")
            timer.join()
            assert pool.map(jobs.square, range(20), timeout=PATIENCE) == [x * x for x in range(20)]


@pytest.mark.needs("owns")  # a cluster's worker looks at the clock itself
@pytest.mark.needs("parallel")
def test_nobody_looks_while_nothing_is_out(mp: Context, place: Place) -> None:
    """Who looks after deadlines sleeps as soon as no item has one."""
    pool: Any
    with mp.Pool(2) as pool:
        assert pool.map(jobs.square, range(10), timeout=0.01) == [x * x for x in range(10)]
        time.sleep(0.1)
        assert pool._crew._expected._next == float("inf")
        with pytest.raises(allcores.TaskTimeout):
            pool.apply(stuck, (place,), timeout=SOON)


def test_what_is_said_of_it_holds_of_threads_too(mp: Context) -> None:
    """A thread goes on: nothing may be said to have ended."""
    with mp.Pool(1) as pool:
        failed = pool.map(time.sleep, [0.3], timeout=0.1, errors="return")[0].error
        with pytest.raises(
            allcores.TaskTimeout, match=r"^this call of \(0\.3,\) took longer than its timeout of 0\.1 s"
        ):
            pool.apply(time.sleep, (0.3,), timeout=0.1)
    assert str(failed).startswith("item 0 (0.3) took longer than its timeout of 0.1 s, and was given up after ")
