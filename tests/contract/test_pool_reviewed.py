"""Pool: faults that a review of its options found, each by what went wrong."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context

QUICK = 1_500


def late(x: int) -> int:
    """Quick items, then slow ones: the chunk that these are in is given back."""
    if x >= QUICK:
        time.sleep(0.005)
    return x


@pytest.mark.parametrize("known_length", [True, False])
def test_what_is_given_back_while_the_pool_closes_is_done(mp: Context, known_length: bool) -> None:
    items = range(QUICK + 40)
    with mp.Pool(2) as pool:
        results = pool.imap(late, items if known_length else iter(items))
        got = list(itertools.islice(results, 800))
    try:
        got.extend(results)
    except allcores.PoolTerminated:
        assert not known_length
        assert len(got) >= 800
    else:
        assert len(got) == len(items)
    assert got == list(range(len(got)))


@pytest.mark.needs("parallel")
def test_an_item_that_comes_when_the_pool_has_ended(mp: Context) -> None:
    inside, go = threading.Event(), threading.Event()
    got: list[Any] = []

    def items() -> Iterator[int]:
        yield 0
        inside.set()
        assert go.wait(PATIENCE)
        yield 1

    def consume(results: Iterator[int]) -> None:
        try:
            got.extend(results)
        except allcores.PoolTerminated as error:
            got.append(error)

    with mp.Pool(1) as pool:
        thread = threading.Thread(target=lambda: consume(pool.imap(jobs.square, items(), chunksize=1)))
        thread.start()
        assert inside.wait(PATIENCE)
    go.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert isinstance(got[-1], allcores.PoolTerminated)


def leave_a_thread(until: Any) -> Callable[[], int]:
    def job() -> int:
        threading.Thread(target=until.wait).start()
        return os.getpid()

    return job


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_a_retired_worker_whose_thread_goes_on_keeps_nobody_waiting(mp: Context) -> None:
    until = mp.Event()
    pool = mp.Pool(2, maxtasksperchild=1)
    pool.apply(leave_a_thread(until))
    with pytest.raises(allcores.TaskTimeout):
        pool.apply_async(time.sleep, (10 * PATIENCE,), timeout=0.1).get(PATIENCE)
    pool.terminate()  # and so it ends, whatever the thread waits for
    pool.join()


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_a_worker_whose_thread_goes_on_is_not_idle(mp: Context) -> None:
    until = mp.Event()
    with mp.Pool(1, idle_timeout=0.01) as pool:
        pid = pool.apply(leave_a_thread(until))
        threading.Event().wait(0.1)
        assert pool.apply(os.getpid) == pid
        until.set()


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_bytes_on_the_way_are_known_with_idle_timeout(mp: Context) -> None:
    with mp.Pool(1, idle_timeout=60) as pool:
        results: Any = pool.imap(len, [bytes(1 << 20)] * 4, chunksize=1)
        assert max(task.nbytes for task in list(results.pending)) >= 1 << 20
        assert list(results) == [1 << 20] * 4


@pytest.mark.needs("kills")
def test_a_cancel_that_fails_says_so(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_tasks: list[int], _into: list[int]) -> None:
        raise MemoryError("of the test")

    begun = mp.Event()

    def job() -> None:
        begun.set()
        time.sleep(10 * PATIENCE)

    pool = mp.Pool(1)
    result, queued = pool.apply_async(job), pool.apply_async(job)
    assert begun.wait(PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(pool._engine.crew, "condemn", refuse)
        with pytest.raises(MemoryError, match="of the test"):
            result.cancel()
        assert queued.cancel()  # that needs nobody's end
    assert result.cancel()
    pool.terminate()
    pool.join()
