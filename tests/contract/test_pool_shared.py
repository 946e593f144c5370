"""One pool in the hands of several: threads, iterators and callbacks that use it themselves, callers that go away."""

import itertools
import os
import signal
import threading
from typing import Any

import pytest

import allcores

from .kit import PATIENCE, Context, Place


def square(x: int) -> int:
    return x * x


def test_maps_of_several_threads_lose_nothing(mp: Context) -> None:
    with mp.Pool(2) as pool:
        found: list[Any] = []

        def run() -> None:
            for _ in range(20):
                found.append(pool.map(square, iter(range(200))))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(found) == 80
        assert all(result == [x * x for x in range(200)] for result in found)


def test_an_input_that_comes_from_the_same_pool(mp: Context) -> None:
    with mp.Pool(2) as pool:
        assert pool.map(square, pool.imap(square, range(300))) == [x**4 for x in range(300)]


def test_a_callback_may_terminate_the_pool(mp: Context) -> None:
    with mp.Pool(2) as pool:
        result = pool.apply_async(square, (3,), callback=lambda _: pool.terminate())
        assert result.get(PATIENCE) == 9


def test_callbacks_of_what_fails_before_it_is_sent(mp: Context) -> None:
    def broken() -> Any:
        yield 1
        raise OSError("no more input")

    failed: list[BaseException] = []
    with mp.Pool(2) as pool:
        pool.map_async(square, broken(), error_callback=failed.append).wait(PATIENCE)
    assert [str(error) for error in failed] == ["no more input"]


def test_results_outlive_the_name_of_their_pool(mp: Context) -> None:
    with pytest.warns(ResourceWarning, match="unclosed running multiprocessing pool <Pool of 2 open>"):
        assert mp.Pool(2).map_async(square, range(5)).get(PATIENCE) == [0, 1, 4, 9, 16]
    with pytest.warns(ResourceWarning, match="unclosed"):
        assert list(mp.Pool(2).imap(square, range(5))) == [0, 1, 4, 9, 16]


@pytest.mark.filterwarnings("error")
def test_an_ended_pool_may_be_dropped(mp: Context) -> None:
    for end in ("close", "terminate"):
        pool = mp.Pool(1)
        getattr(pool, end)()
        pool.join()
        del pool
    with mp.Pool(1), pytest.raises(ValueError, match="at least 1"):
        mp.Pool(0)


@pytest.mark.needs("owns")
def test_what_programs_look_at_in_a_pool(mp: Context, place: Place) -> None:
    with mp.Pool(2, maxtasksperchild=1) as pool:
        assert pool._state == "RUN"
        before = pool._pool
        assert len(before) == (2 if place.parallel else 0)
        assert all(worker.is_alive() for worker in before)
        pool.map(square, range(8), chunksize=1)
        pool._repopulate_pool()
        if place.kills:
            ended = [worker for worker in before if worker.exitcode is not None]  # still to be looked at
            assert ended
            assert all(worker.exitcode == 0 for worker in ended)
            assert {worker.pid for worker in ended}.isdisjoint(worker.pid for worker in pool._pool)
        pool.close()
        assert pool._state == "CLOSE"
        pool.join()
        assert (pool._state, pool._pool == [] or not place.kills) == ("TERMINATE", True)


def test_one_imap_read_by_several_threads(mp: Context) -> None:
    with mp.Pool(2) as pool:
        results = pool.imap_unordered(square, range(2000))
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.extend(results)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert sorted(found) == [x * x for x in range(2000)]


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_workers_are_replaced_while_nobody_waits(mp: Context) -> None:
    done = mp.Queue()
    with mp.Pool(2, maxtasksperchild=1) as pool:
        for i in range(6):
            pool.apply_async(done.put, (i,))
        assert sorted(done.get(timeout=PATIENCE) for _ in range(6)) == list(range(6))


@pytest.mark.needs("kills")
def test_an_interrupted_map_leaves_a_pool_that_ends(mp: Context) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with mp.Pool(2) as pool:
            for after in (100, 1000, 5000):

                def items(after: int = after) -> Any:
                    yield from range(after)
                    os.kill(os.getpid(), signal.SIGUSR1)
                    yield from itertools.count(after)

                with pytest.raises(KeyboardInterrupt):
                    pool.map(square, items())
                assert pool.apply(square, (7,)) == 49
    finally:
        signal.signal(signal.SIGUSR1, before)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


@pytest.mark.needs("kills")
def test_an_error_that_cannot_be_printed_blames_its_own_item_only(mp: Context) -> None:
    def job(x: int) -> int:
        if x == 3:
            raise Unspeakable
        return x

    with mp.Pool(1) as pool:
        results = pool.imap(job, range(10))
        found: list[Any] = []
        for _ in range(10):
            try:
                found.append(next(results))
            except allcores.WorkerDied:
                raise
            except Exception as error:  # noqa: BLE001 - of its class, or a stand-in that names it
                found.append(type(error).__name__)
    assert found[:3] == [0, 1, 2]
    assert found[4:] == [4, 5, 6, 7, 8, 9]
    assert isinstance(found[3], str)
