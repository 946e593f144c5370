"""Executor: what concurrent.futures promises, in every context."""

import concurrent.futures
import gc
import itertools
import logging
import multiprocessing
import os
import threading
import weakref
from collections.abc import Iterator

import pytest

import allcores
from allcores.pool import executor as ends
from allcores.pool.futures import Future

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle, Place


@pytest.fixture
def executor(mp: Context) -> Iterator[Handle]:
    with mp.Executor(2) as executor:
        yield executor


def test_it_is_the_standard_s(executor: Handle) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    future = executor.submit(jobs.square, 3)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result(PATIENCE) == 9
    assert future.exception() is None
    assert (future.done(), future.running(), future.cancelled(), future.cancel()) == (True, False, False, False)


def test_the_class_can_be_inherited_from(mp: Context) -> None:
    """As the standard's, which third parties do, and ask for."""

    class Mine(ends.Executor):
        def __init__(self) -> None:
            super().__init__(2, mp_context=mp)

    with Mine() as executor:
        assert isinstance(executor, allcores.Executor)
        assert executor.submit(jobs.square, 3).result(PATIENCE) == 9
        assert isinstance(executor.with_options(retries=1), allcores.Executor)
        assert isinstance(executor.pool.executor(), allcores.Executor)
    with mp.Executor(1) as other:
        assert isinstance(other, allcores.Executor)
        assert other.submit(os.getpid).result(PATIENCE) > 0


def test_all_arguments_are_the_function_s(executor: Handle) -> None:
    future = executor.submit(jobs.echo, 1, timeout=2, retries=3, fn=4, self=5)
    assert future.result() == ((1,), {"timeout": 2, "retries": 3, "fn": 4, "self": 5})
    assert executor.pool.submit(jobs.echo, timeout=2).result() == ((), {"timeout": 2})


def test_an_error_is_its_own(executor: Handle) -> None:
    future = executor.submit(jobs.fail, 3)
    with pytest.raises(ValueError, match="no 3"):
        future.result(PATIENCE)
    assert isinstance(future.exception(), ValueError)
    assert executor.submit(jobs.square, 3).result() == 9


def test_options_of_calls(executor: Handle) -> None:
    careful = executor.with_options(retries=1)
    assert isinstance(careful, concurrent.futures.Executor)
    assert careful.submit(jobs.square, 3).result() == 9
    assert isinstance(careful.submit(jobs.fail, 3).exception(), ValueError)
    assert list(careful.map(jobs.square, range(3))) == [0, 1, 4]
    assert executor.pool.executor(retries=1).submit(jobs.square, 3).result() == 9
    with pytest.raises(TypeError, match="retrys"):
        executor.with_options(retrys=1)
    with pytest.raises(allcores.UsageError, match="errors='return'"):
        executor.pool.executor(errors="skip")
    assert list(executor.with_options(errors="return").map(jobs.square, range(3))) == [0, 1, 4]


@pytest.mark.parametrize("lots", [5, 500])
def test_as_completed_and_wait(executor: Handle, lots: int) -> None:
    futures = [executor.submit(jobs.square, i) for i in range(lots)]
    in_time = concurrent.futures.as_completed(futures, PATIENCE)
    assert sorted(f.result() for f in in_time) == [i * i for i in range(lots)]
    done, undone = concurrent.futures.wait([executor.submit(jobs.square, i) for i in range(lots)], PATIENCE)
    assert (len(done), len(undone)) == (lots, 0)
    done, _ = concurrent.futures.wait(futures)  # done before
    assert done == set(futures)


def test_wait_for_the_first_error(executor: Handle) -> None:
    futures = [executor.submit(jobs.fail, 3), executor.submit(jobs.square, 3)]
    when = concurrent.futures.FIRST_EXCEPTION
    done, _ = concurrent.futures.wait(futures, PATIENCE, when)
    assert futures[0] in done


@pytest.mark.needs("parallel")
def test_wait_for_the_first(mp: Context, executor: Handle) -> None:
    gate = mp.Event()
    slow, quick = executor.submit(jobs.wait_for, gate), executor.submit(jobs.square, 2)
    done, undone = concurrent.futures.wait([slow, quick], PATIENCE, concurrent.futures.FIRST_COMPLETED)
    assert (done, undone) == ({quick}, {slow})
    with pytest.raises(TimeoutError):
        list(concurrent.futures.as_completed([slow], SHORT))
    for timeout in (0, SHORT):
        with pytest.raises(TimeoutError):
            slow.result(timeout)
        with pytest.raises(allcores.TimeoutError):
            slow.exception(timeout)
    gate.set()
    assert slow.result(PATIENCE) is None


def test_callbacks(executor: Handle) -> None:
    told: list[object] = []
    said = threading.Event()
    future = executor.submit(jobs.square, 3)
    for i in range(3):
        future.add_done_callback(lambda f, i=i: told.append((i, f.result())))
    future.add_done_callback(lambda _: said.set())
    assert said.wait(PATIENCE)
    assert told == [(0, 9), (1, 9), (2, 9)]
    future.add_done_callback(lambda f: told.append(f))
    assert told[3] is future


@pytest.mark.needs("parallel")
def test_callbacks_come_while_nobody_waits(mp: Context, executor: Handle) -> None:
    gate, said = mp.Event(), threading.Event()
    executor.submit(jobs.wait_for, gate).add_done_callback(lambda _: said.set())
    gate.set()
    assert said.wait(PATIENCE)


def test_a_callback_that_raises_stops_nothing(executor: Handle, caplog: pytest.LogCaptureFixture) -> None:
    said = threading.Event()
    future = executor.submit(jobs.square, 3)
    future.add_done_callback(jobs.fail)
    future.add_done_callback(lambda _: said.set())
    assert said.wait(PATIENCE)
    assert future.result() == 9
    assert "callback" in caplog.text


@pytest.mark.needs("parallel")
def test_cancel(mp: Context) -> None:
    gate, started = mp.Event(), mp.Semaphore(0)
    with mp.Executor(1) as executor:
        running = executor.submit(jobs.announce_and_wait, started, gate)
        queued = [executor.submit(jobs.square, i) for i in range(3)]
        assert started.acquire(timeout=PATIENCE)
        assert queued[1].cancel() is True
        assert queued[1].cancel() is True
        assert (queued[1].cancelled(), queued[1].done(), queued[1].running()) == (True, True, False)
        for ask in (queued[1].result, queued[1].exception):
            with pytest.raises(concurrent.futures.CancelledError):
                ask()
        told = threading.Event()
        queued[2].add_done_callback(lambda _: told.set())
        assert queued[2].cancel() is True
        assert told.wait(PATIENCE)
        assert concurrent.futures.wait(queued[1:]).done == set(queued[1:])
        assert not running.done()
        gate.set()
        assert running.result(PATIENCE) is None
        assert queued[0].result(PATIENCE) == 0
        assert running.cancel() is False


@pytest.mark.needs("parallel")
def test_who_waits_is_told_of_a_cancel(mp: Context) -> None:
    gate, started = mp.Event(), mp.Semaphore(0)
    with mp.Executor(1) as executor:
        executor.submit(jobs.announce_and_wait, started, gate)
        assert started.acquire(timeout=PATIENCE)
        queued = executor.submit(jobs.square, 2)
        got: list[object] = []

        def wait() -> None:
            got.extend(concurrent.futures.as_completed([queued], PATIENCE))
            try:
                queued.result(PATIENCE)
            except concurrent.futures.CancelledError as error:
                got.append(type(error))

        thread = threading.Thread(target=wait)
        thread.start()
        assert queued.cancel()
        thread.join(PATIENCE)
        assert got == [queued, concurrent.futures.CancelledError]
        gate.set()


@pytest.mark.needs("parallel")
def test_shutdown_cancels_what_is_queued(mp: Context) -> None:
    gate, started = mp.Event(), mp.Semaphore(0)
    executor = mp.Executor(1)
    running = executor.submit(jobs.announce_and_wait, started, gate)
    assert started.acquire(timeout=PATIENCE)
    queued = [executor.submit(jobs.square, i) for i in range(50)]
    careful = executor.with_options(retries=1).submit(jobs.square, 1)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(f.cancelled() for f in [*queued, careful])
    gate.set()
    assert running.result(PATIENCE) is None
    executor.shutdown()


def test_after_shutdown(mp: Context) -> None:
    executor = mp.Executor(1)
    future = executor.submit(jobs.square, 3)
    executor.shutdown()
    executor.shutdown()
    assert future.result() == 9
    for ask in (lambda: executor.submit(jobs.square, 3), lambda: executor.map(jobs.square, [3])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            ask()


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_finishes_what_was_submitted(mp: Context, wait: bool) -> None:
    executor = mp.Executor(2)
    futures = [executor.submit(jobs.square, i) for i in range(100)]
    executor.shutdown(wait)
    assert [f.result(PATIENCE) for f in futures] == [i * i for i in range(100)]
    executor.shutdown()


def test_a_dropped_executor_finishes(mp: Context) -> None:
    counted = mp.Value("i", 0)
    future = mp.Executor(1).submit(jobs.add_up, counted, 1)
    gc.collect()
    assert future.result(PATIENCE) is None
    executor = mp.Executor(1)
    for _ in range(20):
        executor.submit(jobs.add_up, counted, 1)
    pool = executor.pool
    del executor
    pool.join()
    for thread in list(ends._ending):
        thread.join()
    assert counted.value == 21


def test_map(executor: Handle) -> None:
    assert list(executor.map(jobs.square, range(1000))) == [i * i for i in range(1000)]
    assert list(executor.map(jobs.power, [2, 3, 4], [3, 2])) == [8, 9]
    assert list(executor.map(jobs.square, [])) == list(executor.map(jobs.square)) == []
    assert list(executor.map(jobs.square, iter(range(100)), chunksize=7)) == [i * i for i in range(100)]
    assert list(executor.map(jobs.square, range(100), buffersize=3)) == [i * i for i in range(100)]


def test_map_of_an_endless_input(executor: Handle) -> None:
    results = executor.map(jobs.square, itertools.count(), buffersize=4)
    assert list(itertools.islice(results, 5)) == [0, 1, 4, 9, 16]
    results.close()


def test_map_raises_at_its_place_and_ends(executor: Handle) -> None:
    results = executor.map(lambda x: jobs.fail_at(3, x), range(100), chunksize=1)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no 3"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


class Thing:
    """Can be referred to weakly."""


def make_a_thing(_: object) -> Thing:
    return Thing()


def test_a_map_holds_no_result_that_it_has_given(executor: Handle) -> None:
    for thing in executor.map(make_a_thing, range(5), chunksize=1):
        seen = weakref.ref(thing)
        del thing
        assert seen() is None


@pytest.mark.parametrize("items", [range(50), "generator"])
def test_a_map_that_nobody_looks_at_is_done(mp: Context, items: object) -> None:
    counted = mp.Value("i", 0)
    with mp.Executor(2) as executor:
        executor.map(lambda _: jobs.add_up(counted, 1), iter(range(50)) if items == "generator" else range(50))
    assert counted.value == 50


@pytest.mark.needs("parallel")
def test_map_with_a_timeout(mp: Context, executor: Handle) -> None:
    gate = mp.Event()
    results = executor.map(lambda x: jobs.wait_for(gate, x), [1, 2], timeout=SHORT, chunksize=1)
    with pytest.raises(TimeoutError):
        next(results)
    gate.set()


@pytest.mark.needs("parallel")
def test_closing_a_map_ends_its_work(mp: Context, place: Place) -> None:
    gate, counted = mp.Event(), mp.Value("i", 0)

    def job(x: int) -> int:
        if x:
            gate.wait(jobs.PATIENCE)
        jobs.add_up(counted, 1)
        return x

    with mp.Executor(2) as executor:
        results: Handle = executor.map(job, range(1000), chunksize=1)
        assert next(results) == 0
        results.close()
        gate.set()
    assert counted.value <= (6 if place.cluster else 3)  # there some are with a worker already


@pytest.mark.lacks("cluster")  # max_tasks_per_child is not to be had
def test_what_it_is_made_of(mp: Context) -> None:
    with mp.Executor(2, None, jobs.remember, ("key", 5), max_tasks_per_child=3) as executor:
        assert [executor.submit(jobs.recall, "key").result() for _ in range(8)] == [5] * 8
    with allcores.Executor(1, mp) as executor:
        assert executor.submit(jobs.square, 2).result() == 4
    with mp.Executor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(jobs.square, 2).result() == 4


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ({"max_workers": 0}, ValueError, "max_workers"),
        ({"mp_context": "spawn"}, TypeError, "mp_context"),
        ({"initializer": 3}, TypeError, "initializer"),
        ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child"),
        ({"max_tasks_per_child": 1.5}, TypeError, "max_tasks_per_child"),
    ],
)
def test_arguments_that_make_no_sense(
    mp: Context, given: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        mp.Executor(**given)  # type: ignore[arg-type]


def test_an_initializer_that_fails(mp: Context) -> None:
    with mp.Executor(1, initializer=jobs.fail) as executor:
        with pytest.raises(concurrent.futures.BrokenExecutor, match="no 0") as caught:
            executor.submit(jobs.square, 2).result(PATIENCE)
        assert isinstance(caught.value, allcores.InitializerFailed)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(jobs.square, 2)


def test_an_unasked_error_is_logged(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    with mp.Executor(1) as executor:
        executor.submit(jobs.fail, 1)
        seen = executor.submit(jobs.fail, 2)
        assert seen.exception() is not None
        told = executor.submit(jobs.fail, 3)
        told.add_done_callback(lambda _: None)
        careful = executor.with_options(retries=1).submit(jobs.fail, 4)
        del seen, told, careful
    gc.collect()
    assert "no 1" in caplog.text
    assert "no 4" in caplog.text
    assert "no 2" not in caplog.text
    assert "no 3" not in caplog.text


def test_a_light_future_has_no_condition(executor: Handle) -> None:
    future = executor.submit(jobs.square, 3)
    assert future.result() == 9
    assert "_made" not in vars(future)
    assert "finished returned int" in repr(future)
    assert future._condition is future._condition
    assert isinstance(future, Future)


def test_it_can_be_set_by_hand(executor: Handle) -> None:
    """Mocks do that; the standard's answer to whoever sets it twice is its own."""
    future = executor.submit(jobs.square, 3)
    assert future.result() == 9
    with pytest.raises(concurrent.futures.InvalidStateError):
        future.set_result(3)
    with pytest.raises(RuntimeError):
        future.set_running_or_notify_cancel()


class TellsOfItsEnd:
    """Sets an event where it ends in a process that is not its maker's."""

    def __init__(self, ended: Handle) -> None:
        self.home, self.ended = os.getpid(), ended

    def __del__(self) -> None:
        if os.getpid() != self.home:
            self.ended.set()


@pytest.mark.needs("copies")
def test_a_worker_keeps_no_argument_while_it_waits(mp: Context, executor: Handle) -> None:
    ended = mp.Event()
    executor.submit(id, TellsOfItsEnd(ended)).result(PATIENCE)
    assert ended.wait(PATIENCE)


class Held:
    def method(self) -> int:
        return 3


@pytest.mark.needs("copies")
def test_a_call_whose_future_is_dropped_is_forgotten(executor: Handle) -> None:
    """Nobody waits for its answer: it is taken in all the same, soon after the workers have nothing to do."""
    held, forgotten = Held(), threading.Event()
    kept = weakref.ref(held, lambda _: forgotten.set())
    executor.submit(held.method)
    del held
    assert forgotten.wait(PATIENCE)
    assert kept() is None


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_what_others_look_at(mp: Context) -> None:
    executor: Handle = mp.Executor(3)
    processes, keeper = executor._processes, executor._executor_manager_thread
    assert (len(processes), executor._max_workers, executor._broken) == (3, 3, False)
    assert {executor.submit(os.getpid).result(PATIENCE) for _ in range(9)} <= {p.pid for p in processes.values()}
    assert executor._mp_context is mp
    executor.shutdown(wait=False)
    keeper.join(PATIENCE)
    assert not processes
    executor._call_queue.join_thread()
    with pytest.raises(ValueError, match="fork"):
        allcores.Executor(1, allcores.get_context("fork"), max_tasks_per_child=2)
    with allcores.Executor(1, max_tasks_per_child=2) as executor:
        assert executor._mp_context.get_start_method() == "spawn"


def fail_to_begin(told: Handle) -> None:
    logger = logging.getLogger("concurrent.futures")
    handler = logging.Handler()
    handler.emit = lambda record: told.put(logging.Formatter().format(record))  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.propagate = False
    raise ValueError("no beginning")


@pytest.mark.needs("kills")
def test_an_initializer_that_fails_is_logged_in_the_worker(mp: Context) -> None:
    told = mp.Queue()
    executor: Handle = mp.Executor(1, initializer=fail_to_begin, initargs=(told,))
    future = executor.submit(jobs.square, 3)
    with pytest.raises(concurrent.futures.BrokenExecutor):
        future.result(PATIENCE)
    assert "no beginning" in executor._broken
    assert "ValueError: no beginning" in told.get(timeout=PATIENCE)
    executor.shutdown()


@pytest.mark.needs("kills")
def test_workers_that_are_just_being_started_begin_what_was_submitted(mp: Context) -> None:
    executor = mp.Executor(2, reuse=False)
    futures = [executor.submit(jobs.square, x) for x in range(50)]
    executor.shutdown(cancel_futures=True)
    done = [future for future in futures if not future.cancelled()]
    assert 0 < len(done) < 50
    assert all(future.exception() is None for future in done)
