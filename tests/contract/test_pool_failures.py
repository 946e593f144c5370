"""Pool: the ordinary failures. Each ends in a clear error on just that item, at once, and the pool goes on."""

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .deadly import (
    BAD,
    BrokenText,
    WithLambda,
    become_another_program,
    exit_from_a_thread,
    leave_at_once,
    throw,
    when_bad,
)
from .kit import PATIENCE, Context, Handle, Place

# Seconds within which each failure has been told; bench/failures.py measures them properly.
SOON = 2.0


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    """A pool that has to be as good as new after whatever the test did to it."""
    with mp.Pool(2) as pool:
        yield pool
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


def gather(results: Any) -> list[Any]:
    """What an imap iterator gives: values, and errors where it raises."""
    gathered: list[Any] = []
    while True:
        try:
            gathered.append(results.next(PATIENCE))
        except StopIteration:
            return gathered
        except allcores.TimeoutError:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it is the item's result
            gathered.append(error)


def check_only_the_bad_item_fails(
    pool: Handle, job: Callable[[Any], Any], items: list[Any], kind: type, soon: float = SOON
) -> None:
    started = time.monotonic()
    for chunksize in (None, 1, 4):
        results = gather(pool.imap(job, items, chunksize))
        assert isinstance(results[BAD], kind)
        assert [x for i, x in enumerate(results) if i != BAD] == [x for i, x in enumerate(items) if i != BAD]
        with pytest.raises(kind):
            pool.map(job, items, chunksize)
    with pytest.raises(kind):
        pool.apply(job, (items[BAD],))
    assert time.monotonic() - started < 7 * soon


# What the job does at the bad item, and the error that only this item has.
RAISED: dict[str, tuple[BaseException, type]] = {
    "holds a lambda": (WithLambda("held"), WithLambda),
    "broken __str__": (BrokenText(), BrokenText),
    "SystemExit": (SystemExit(1), SystemExit),
    "KeyboardInterrupt": (KeyboardInterrupt(), KeyboardInterrupt),
    "GeneratorExit": (GeneratorExit(), GeneratorExit),
    "StopAsyncIteration": (StopAsyncIteration(), StopAsyncIteration),
    "asserted": (AssertionError(), AssertionError),
}


@pytest.mark.parametrize("what", RAISED)
def test_an_error_in_a_task(pool: Handle, what: str) -> None:
    error, kind = RAISED[what]
    check_only_the_bad_item_fails(pool, when_bad(throw(error)), list(range(8)), kind)


@pytest.mark.parametrize(
    ("fail", "kind"), [(jobs.fail_with_two_arguments, jobs.TwoArguments), (jobs.fail_unpicklably, Exception)]
)
def test_an_error_that_pickle_cannot_carry(pool: Handle, fail: Callable[[], object], kind: type) -> None:
    check_only_the_bad_item_fails(pool, when_bad(fail), list(range(8)), kind)


def test_stop_iteration_in_a_task_ends_no_loop(pool: Handle) -> None:
    """Raised by an iterator as it is, it would end the caller's loop in silence."""
    job = when_bad(throw(StopIteration(7)))
    results = gather(pool.imap(job, range(8)))
    assert [x for x in results if isinstance(x, int)] == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(results[BAD], RuntimeError)
    with pytest.raises(StopIteration):
        pool.map(job, range(8))


TRAVELS: dict[str, tuple[Callable[[Any], Any], Callable[[], object], type]] = {
    "unpicklable argument": (jobs.identity, threading.Lock, TypeError),
    "argument that fails to unpickle": (jobs.identity, lambda: jobs.Grudging("the argument"), ValueError),
    "unpicklable result": (when_bad(jobs.give_a_lock), lambda: BAD, TypeError),
    "result that fails to unpickle": (when_bad(jobs.give_grudging), lambda: BAD, ValueError),
}


@pytest.mark.needs("copies")
@pytest.mark.parametrize("what", TRAVELS)
def test_what_cannot_travel(pool: Handle, what: str) -> None:
    job, bad, kind = TRAVELS[what]
    check_only_the_bad_item_fails(pool, job, [0, 1, 2, bad(), 4, 5, 6, 7], kind)


@pytest.mark.needs("copies")
def test_a_function_that_cannot_travel(pool: Handle) -> None:
    held = threading.Lock()
    job = when_bad(lambda: held)
    others = pool.map_async(jobs.square, range(50))
    for method in (pool.map, pool.imap, pool.map_async):
        with pytest.raises(TypeError, match="pickle"):
            method(job, range(8))
    assert others.get(PATIENCE) == [x * x for x in range(50)]


DEATHS: dict[str, tuple[Callable[[], object], int]] = {
    "SIGKILL": (jobs.die_by_signal, -9),
    "abort": (os.abort, -6),
    "os._exit(0)": (leave_at_once, 0),
    "os._exit in a thread": (exit_from_a_thread, 5),
    "exec": (become_another_program, 0),
}


@pytest.mark.needs("kills")
@pytest.mark.parametrize("how", DEATHS)
def test_the_worker_dies(place: Place, pool: Handle, how: str) -> None:
    die, exitcode = DEATHS[how]
    job = when_bad(die)
    soon = SOON * 4 if place.cluster else SOON  # it runs up to four times there, each time the end of a worker
    check_only_the_bad_item_fails(pool, job, list(range(8)), allcores.WorkerDied, soon)
    with pytest.raises(allcores.WorkerDied) as caught:
        pool.map(job, range(8))
    assert (caught.value.exitcode, caught.value.index, caught.value.item) == (
        place.end(exitcode),
        BAD,
        str(BAD),
    )


@pytest.mark.needs("kills")
def test_a_worker_that_became_another_program_is_waited_for(place: Place, pool: Handle) -> None:
    """While it runs, its item just takes long; the others go to the other worker."""
    result = pool.apply_async(os.execv, ("/bin/sh", ["sh", "-c", "sleep 0.2; exit 3"]))
    assert pool.map(jobs.square, range(20), chunksize=1) == [x * x for x in range(20)]
    with pytest.raises(allcores.WorkerDied, match=place.end("exit code 3")):
        result.get(PATIENCE)


INITIALIZERS: dict[str, Callable[[], object]] = {
    "raises": lambda: jobs.fail("licence"),
    "raises two arguments": jobs.fail_with_two_arguments,
    "sys.exit": lambda: sys.exit(1),
}


@pytest.mark.parametrize("how", INITIALIZERS)
def test_a_failing_initializer(mp: Context, how: str) -> None:
    pool = mp.Pool(2, INITIALIZERS[how])
    try:
        with pytest.raises(allcores.InitializerFailed):
            pool.map(jobs.square, range(8))
        for use in (pool.map, pool.imap, pool.map_async):
            with pytest.raises(allcores.InitializerFailed):
                use(jobs.square, range(8))
    finally:
        pool.terminate()


class Ending:
    """A module that ends the program when it is imported."""

    def __init__(self, code: object) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return jobs.leave, (self.code,)


@pytest.mark.needs("copies")
@pytest.mark.parametrize("code", [None, 0, 1, "words"])
def test_an_initializer_whose_module_ends_the_program(mp: Context, code: object) -> None:
    with mp.Pool(2, print, (Ending(code),)) as pool, pytest.raises(allcores.InitializerFailed):
        pool.map(jobs.square, range(8))


@pytest.mark.needs("copies")
def test_an_initializer_that_fails_to_unpickle(mp: Context) -> None:
    """Its traceback is what the worker said last."""
    with mp.Pool(2, print, (jobs.Grudging("the licence"),)) as pool:
        with pytest.raises(allcores.InitializerFailed) as caught:
            pool.map(jobs.square, range(8))
        assert "the licence cannot be rebuilt" in str(caught.value.__cause__)


@pytest.mark.needs("kills")
@pytest.mark.parametrize("how", DEATHS)
def test_workers_that_die_in_the_initializer_are_not_replaced_for_ever(mp: Context, place: Place, how: str) -> None:
    """The hang of the standard library: a new worker for each that died, without end."""
    started = mp.Value("i", 0)
    die = DEATHS[how][0]

    def initialize() -> None:
        started.add(1)
        die()

    with mp.Pool(2, initialize) as pool, pytest.raises(allcores.InitializerFailed) as caught:
        pool.map(jobs.square, range(8))
    assert isinstance(caught.value.__cause__, allcores.WorkerDied)
    assert caught.value.__cause__.exitcode == place.end(DEATHS[how][1])
    assert 3 <= started.value <= 8


@pytest.mark.needs("kills")
def test_an_initializer_that_kills_one_worker_in_two(mp: Context) -> None:
    started = mp.Value("i", 0)

    def initialize() -> None:
        if started.add(1) % 2 == 1:
            jobs.die_by_signal()

    with mp.Pool(2, initialize) as pool:
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit])
@pytest.mark.parametrize("chunksize", [None, 1, 7])
def test_an_iterator_that_fails_midway(pool: Handle, kind: type[BaseException], chunksize: int | None) -> None:
    def items() -> Iterator[int]:
        yield from range(1000)
        raise kind("no more")

    came = 1000 if chunksize is None else 1000 // chunksize * chunksize  # what was to be a whole chunk is lost
    *results, error = gather(pool.imap(jobs.square, items(), chunksize))
    assert results == [x * x for x in range(came)]
    assert isinstance(error, kind)
    for call in (pool.map, lambda *args: pool.map_async(*args).get(PATIENCE)):
        with pytest.raises(kind, match="no more"):
            call(jobs.square, items(), chunksize)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_callbacks_that_fail(pool: Handle, kind: type[BaseException]) -> None:
    fail = throw(kind("in the callback"))
    assert pool.apply_async(jobs.square, (2,), callback=lambda _: fail()).get(PATIENCE) == 4
    assert pool.map_async(jobs.square, [2], callback=lambda _: fail()).get(PATIENCE) == [4]
    failing = pool.apply_async(jobs.fail, (2,), error_callback=lambda _: fail())
    with pytest.raises(ValueError, match="no 2"):
        failing.get(PATIENCE)
    told: list[int] = []
    done = threading.Event()

    def tell(x: int) -> None:
        told.append(x)
        done.set()

    pool.apply_async(jobs.square, (3,), callback=tell)
    assert done.wait(PATIENCE)
    assert told == [9]


GARBAGE: list[tuple[int, int, Any]] = [
    (10**9, 0, "an answer to no task"),
    (0, 0, None),
    (0, 99, "an outcome that there is not"),
    (0, 3, "news of a death that are none"),
    (0, 5, "an initializer's error that is none"),
]


@pytest.mark.needs("copies", "shares")  # the channels are the process context's
@pytest.mark.parametrize("channel", ["_answers", "_news"])
def test_garbage_on_the_way_is_passed_over(mp: Context, channel: str) -> None:
    with mp.Pool(2) as pool:
        for number, info, body in GARBAGE[: 4 if channel == "_news" else 5]:
            getattr(pool._crew, channel).send(number, info, body)
            getattr(pool._crew, channel).put(body)
            assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


@pytest.mark.needs("copies", "shares")  # the channels are the process context's
@pytest.mark.parametrize("body", [None, "text", (), ([1], []), ([1, 2, 3], 5), (None, None)], ids=repr)
def test_garbage_for_a_task_fails_that_task(mp: Context, body: object) -> None:
    """Whatever a damaged answer says: the work is done again, or an error; never a wrong list, never a hang."""
    gate = mp.Event()
    pool: Handle
    with mp.Pool(2) as pool:
        waiting = pool.map_async(lambda x: jobs.wait_for(gate, x), [1, 2], chunksize=2)
        for number in itertools.islice(pool._engine._tasks, 1):
            pool._crew._answers.send(number, 2, body)
        other = pool.map(jobs.square, range(20), chunksize=20)
        gate.set()
        try:
            assert waiting.get(PATIENCE) == [1, 2]
        except allcores.UnpicklableError as error:
            assert "damaged" in str(error)  # noqa: PT017  either is right
        assert other == [x * x for x in range(20)]
