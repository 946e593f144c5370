"""Pool: single calls, results that come later, and callbacks."""

import builtins
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    with mp.Pool(2) as pool:
        yield pool


class Told:
    """A callback that can be waited for."""

    def __init__(self) -> None:
        self._said = threading.Event()
        self._what: list[Any] = []

    def __call__(self, what: Any) -> None:
        self._what.append(what)
        self._said.set()

    def what(self) -> Any:
        assert self._said.wait(PATIENCE)
        assert len(self._what) == 1
        return self._what[0]

    def nothing_yet(self) -> bool:
        return not self._said.wait(SHORT)


def test_apply(pool: Handle) -> None:
    assert pool.apply(jobs.square, (3,)) == 9
    assert pool.apply(jobs.echo, (1, 2), {"three": 3}) == ((1, 2), {"three": 3})
    assert pool.apply(jobs.echo, args=[1], kwds={"a": {"b": [2]}}) == ((1,), {"a": {"b": [2]}})
    assert pool.apply(jobs.nothing) is None


def test_apply_async(pool: Handle) -> None:
    assert pool.apply_async(jobs.square, (2,)).get() == 4
    assert pool.apply_async(jobs.echo, (1,), {"b": 2}).get() == ((1,), {"b": 2})
    assert pool.apply_async(jobs.echo, kwds={"b": 2}).get() == ((), {"b": 2})


def test_ten_of_them_give_what_map_gives(pool: Handle) -> None:
    results = [pool.apply_async(jobs.square, (i,)) for i in range(10)]
    assert [result.get() for result in results] == pool.map(jobs.square, range(10))


def test_results_in_any_order_and_again(pool: Handle) -> None:
    results = [pool.apply_async(jobs.square, (i,)) for i in range(200)]
    assert [result.get(PATIENCE) for result in reversed(results)] == [i * i for i in reversed(range(200))]
    assert results[7].get() == results[7].get() == 49


@pytest.mark.parametrize(("args", "cure"), [(2, r"\(2,\)"), ("ab", r"\('ab',\)")])
@pytest.mark.parametrize("method", ["apply", "apply_async"])
def test_args_must_be_a_tuple(pool: Handle, method: str, args: object, cure: str) -> None:
    message = f"args must be a tuple: write {cure} for one argument"
    with pytest.raises((TypeError, ValueError), match=message):
        getattr(pool, method)(jobs.square, args)


@pytest.mark.needs("parallel")
def test_a_result_that_is_not_there_yet(mp: Context, pool: Handle) -> None:
    gate = mp.Event()
    result = pool.apply_async(jobs.wait_for, (gate, "late"))
    assert result.ready() is False
    with pytest.raises(ValueError, match=r"ready|there"):
        result.successful()
    result.wait(SHORT)
    for timeout in (0, SHORT):
        with pytest.raises(allcores.TimeoutError) as caught:
            result.get(timeout=timeout)
        assert isinstance(caught.value, builtins.TimeoutError)
        assert isinstance(caught.value, multiprocessing.TimeoutError)
    gate.set()
    result.wait(PATIENCE)
    assert result.ready() is True
    assert result.successful() is True
    assert result.get(0) == "late"


def test_ready_and_successful(pool: Handle) -> None:
    good, bad = pool.apply_async(jobs.square, (2,)), pool.apply_async(jobs.fail, (2,))
    for result in (good, bad):
        result.wait(PATIENCE)
        assert result.ready() is True
    assert (good.successful(), bad.successful()) == (True, False)
    with pytest.raises(ValueError, match="no 2"):
        bad.get()


@pytest.mark.needs("parallel")
def test_map_async_is_not_there_before_its_last_item(mp: Context, pool: Handle) -> None:
    gate = mp.Event()
    result = pool.map_async(lambda x: jobs.wait_for(gate, x) if x == 5 else x, range(10))
    assert result.ready() is False
    with pytest.raises(allcores.TimeoutError):
        result.get(SHORT)
    gate.set()
    assert result.get(PATIENCE) == list(range(10))


@pytest.mark.needs("parallel")
def test_next_with_a_timeout(mp: Context, pool: Handle) -> None:
    gate = mp.Event()
    results = pool.imap(lambda x: jobs.wait_for(gate, x), [1, 2])
    for _ in range(2):
        with pytest.raises(allcores.TimeoutError):
            results.next(SHORT)
    gate.set()
    assert [results.next(PATIENCE), next(results)] == [1, 2]


def test_callback_gets_the_result(pool: Handle) -> None:
    told, error = Told(), Told()
    pool.apply_async(jobs.square, (3,), callback=told, error_callback=error)
    assert told.what() == 9
    assert error.nothing_yet()


def test_callback_of_the_map_family_gets_the_list(pool: Handle) -> None:
    mapped, starmapped = Told(), Told()
    pool.map_async(jobs.square, range(4), callback=mapped)
    pool.starmap_async(jobs.power, [(2, 3)], callback=starmapped)
    assert mapped.what() == [0, 1, 4, 9]
    assert starmapped.what() == [8]


@pytest.mark.parametrize(("method", "given"), [("apply_async", (5,)), ("map_async", [5]), ("starmap_async", [(5,)])])
def test_error_callback_gets_the_error(pool: Handle, method: str, given: object) -> None:
    told, error = Told(), Told()
    getattr(pool, method)(jobs.fail, given, callback=told, error_callback=error)
    assert isinstance(error.what(), ValueError)
    assert str(error.what()) == "no 5"
    assert told.nothing_yet()


def test_callback_runs_in_this_program(pool: Handle) -> None:
    told = Told()
    pool.apply_async(jobs.nothing, callback=lambda _: told(jobs.pid_of()))
    assert told.what() == jobs.pid_of()


def test_callback_comes_while_somebody_else_waits(pool: Handle) -> None:
    told = Told()
    pool.apply_async(jobs.square, (3,), callback=told)
    assert pool.map(jobs.square, range(100)) == [x * x for x in range(100)]
    assert told.what() == 9


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_callback_that_raises_stops_nothing(pool: Handle) -> None:
    told = Told()
    failing = pool.apply_async(jobs.square, (2,), callback=jobs.fail)
    pool.apply_async(jobs.square, (3,), callback=told)
    assert told.what() == 9
    assert failing.get(PATIENCE) == 4
    assert pool.map(jobs.square, range(3)) == [0, 1, 4]


def test_a_callback_may_submit(pool: Handle) -> None:
    told = Told()
    pool.apply_async(jobs.square, (2,), callback=lambda x: pool.apply_async(jobs.square, (x,), callback=told))
    assert told.what() == 16


def test_many_threads_submit_to_one_pool(mp: Context, pool: Handle) -> None:
    def submit(k: int) -> list[int]:
        return [pool.apply(jobs.power, (k, i % 3)) for i in range(50)]

    threads = [mp.Thread(target=submit, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for k, t in enumerate(threads):
        assert t.result(PATIENCE) == [k ** (i % 3) for i in range(50)]


class SlowSet(set[Any]):
    """Lets another thread do something just before an element is discarded."""

    def __init__(self, elements: set[Any], meanwhile: Callable[[], object]) -> None:
        super().__init__(elements)
        self._meanwhile = meanwhile

    def discard(self, element: Any) -> None:
        if element in self:
            other = threading.Thread(target=self._meanwhile)
            other.start()
            other.join(PATIENCE)
        super().discard(element)


@pytest.mark.needs("parallel")
def test_who_asks_while_the_last_chunk_is_handed_over_is_told(mp: Context) -> None:
    """Another thread has the results of a chunk at once, and finds that one more is pending: just this one."""
    gate, told, asking = mp.Event(), list[Any](), list[threading.Thread]()

    def ask() -> None:
        told.append(results.next(PATIENCE))
        second = threading.Thread(target=lambda: told.append(next(results, "the end")))
        second.start()
        while not pool._engine._followers and second.is_alive():
            time.sleep(0.001)  # no event tells that it waits
        asking.append(second)

    with mp.Pool(1) as pool:
        results: Any = pool.imap(lambda x: gate.wait(PATIENCE) and x, [3], chunksize=1)
        results.pending = SlowSet(results.pending, ask)
        gate.set()
        pool.apply(abs, (1,))  # has the seat
        asking[0].join(PATIENCE)
        assert told == [3, "the end"]


@pytest.mark.needs("parallel")
def test_a_map_ends_whoever_feeds_it_while_its_last_chunk_is_handed_over(mp: Context) -> None:
    gate = mp.Event()
    with mp.Pool(1) as pool:
        result = pool.map_async(lambda x: gate.wait(PATIENCE) and x, [3], chunksize=1)
        result.pending = SlowSet(result.pending, pool._engine._run_later)
        gate.set()
        assert result.get(PATIENCE) == [3]
