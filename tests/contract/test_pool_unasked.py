"""Pool: errors of calls that nobody asked for are logged at its end; no other error is."""

import gc
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Ending = Callable[[Handle], object]


@pytest.fixture(autouse=True)
def collections_at_the_ends() -> Iterator[None]:
    """No thread of another test collects garbage meanwhile: what it is just dropping is logged when it comes to it."""
    gc.disable()
    yield
    gc.enable()


def join(pool: Handle) -> None:
    pool.close()
    pool.join()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    gc.collect()
    return [record.getMessage() for record in caplog.records if record.name == "allcores"]


def leave(pool: Handle) -> None:
    with pool:
        pass


ENDINGS: dict[str, Ending] = {"join": join, "with": leave}


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize(
    "submit",
    [
        lambda pool: pool.apply_async(jobs.fail, (1,)),
        lambda pool: pool.map_async(jobs.fail, [1, 2]),
        lambda pool: pool.starmap_async(jobs.fail, [(1,)]),
        lambda pool: pool.apply_async(jobs.fail, (1,), callback=bool),
    ],
    ids=["apply_async", "map_async", "starmap_async", "callback only"],
)
def test_a_dropped_error_is_logged(
    mp: Context, caplog: pytest.LogCaptureFixture, submit: Callable[[Handle], object], end: str
) -> None:
    pool = mp.Pool(1)
    submit(pool)
    ENDINGS[end](pool)
    assert messages(caplog) == ["nobody asked for the result of a call of fail, which failed"]
    record = caplog.records[-1]
    assert record.levelno == logging.ERROR
    assert "no 1" in caplog.text
    assert "in fail" in caplog.text  # the traceback, from where it happened


def test_it_is_logged_by_close_if_it_is_there(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    pool = mp.Pool(1)
    pool.apply_async(jobs.fail).wait(PATIENCE)
    pool.close()
    assert len(messages(caplog)) == 1
    pool.join()
    assert len(messages(caplog)) == 1


def test_terminate_logs_what_is_there_and_not_its_own_errors(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    pool = mp.Pool(1)
    pool.apply_async(jobs.fail).wait(PATIENCE)
    for x in range(100):
        pool.apply_async(jobs.square, (x,))
    pool.terminate()
    pool.join()
    assert messages(caplog) == ["nobody asked for the result of a call of fail, which failed"]


def get(result: Any) -> None:
    with pytest.raises(ValueError, match="no "):
        result.get(PATIENCE)


ASK: dict[str, Callable[[Any], object]] = {
    "get": get,
    "successful": lambda result: (result.wait(PATIENCE), result.successful()),
}


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("when", ["before the end", "after it"])
def test_what_was_asked_for_is_not_logged(mp: Context, caplog: pytest.LogCaptureFixture, ask: str, when: str) -> None:
    pool = mp.Pool(1)
    results = [pool.apply_async(jobs.fail), pool.map_async(jobs.fail, [1])]
    if when == "after it":
        join(pool)
    for result in results:
        ASK[ask](result)
    join(pool)
    del result, results
    assert messages(caplog) == []


def test_what_an_error_callback_was_told_is_not_logged(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    told: list[BaseException] = []
    with mp.Pool(1) as pool:
        pool.apply_async(jobs.fail, error_callback=told.append)
        pool.map_async(jobs.fail, [1], error_callback=told.append)
    assert len(told) == 2
    assert messages(caplog) == []


def test_what_map_raised_is_not_logged(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    with mp.Pool(1) as pool:
        for method in (pool.map, pool.apply, lambda *args: list(pool.imap(*args))):
            with pytest.raises(ValueError, match="no 1"):
                method(jobs.fail, [1])
    assert messages(caplog) == []


def test_a_result_that_is_still_held_may_yet_be_asked_for(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    with mp.Pool(1) as pool:
        result = pool.apply_async(jobs.fail)
    assert messages(caplog) == []
    del result
    assert len(messages(caplog)) == 1


@pytest.mark.parametrize("count", [10, 11, 30])
def test_of_many_the_first_ten_and_the_number(mp: Context, caplog: pytest.LogCaptureFixture, count: int) -> None:
    with mp.Pool(2) as pool:
        for x in range(count):
            pool.apply_async(jobs.fail, (x,))
    logged = messages(caplog)
    if count > 10:
        assert logged.pop() == f"and {count - 10} more calls of this pool failed unasked for"
    assert logged == ["nobody asked for the result of a call of fail, which failed"] * 10


def test_of_many_that_were_held_the_number_too(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    with mp.Pool(2) as pool:
        held = [pool.apply_async(jobs.fail, (x,)) for x in range(12)]
    del pool
    assert messages(caplog) == []
    held.clear()
    assert messages(caplog)[10:] == ["and 2 more calls of this pool failed unasked for"]


def test_one_reason_for_many_is_logged_once(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    """The pool is broken: every call fails with the same error."""
    gate = mp.Event()

    def initialize() -> None:
        jobs.wait_for(gate)
        jobs.fail("licence")

    if mp.get_context().name == "serial":
        gate.set()
    with mp.Pool(1, initialize) as pool:
        for _ in range(5):
            pool.apply_async(jobs.square, (2,))
        gate.set()
    assert len(messages(caplog)) == 1
    assert "no licence" in caplog.text


@pytest.mark.needs("kills")
def test_a_death_that_nobody_asked_for(mp: Context, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with mp.Pool(1) as pool:
        pool.apply_async(jobs.die_by_signal)
    assert place.end("killed by SIGKILL") in caplog.text


AT_EXIT = """
import sys
import allcores
def fail():
    raise ValueError("unheard of")
def never():
    raise ValueError("heard of")
pool = allcores.get_context(sys.argv[1]).Pool(1)
held = pool.apply_async(fail)
held.wait()
heard = pool.apply_async(never)
try:
    heard.get()
except ValueError:
    pass
if sys.argv[2] == "joined":
    pool.close()
    pool.join()
"""


@pytest.mark.parametrize("ended", ["joined", "open"])
def test_the_end_of_the_program_tells_the_rest(mp: Context, ended: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, mp.get_context().name, ended],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr.count("nobody asked for") == 1, done.stderr
    assert "ValueError: unheard of" in done.stderr
    assert "ValueError: heard of" not in done.stderr


def test_success_costs_nothing(mp: Context) -> None:
    """No bookkeeping for a call that returned."""
    with mp.Pool(1) as pool:
        result: Any = pool.apply_async(jobs.square, (2,))
        assert result.get(PATIENCE) == 4
    assert "_unseen" not in vars(result)


def test_the_answers_of_calls_that_nobody_waits_for_are_taken_in(mp: Context, place: Place) -> None:
    """They would fill the shared memory."""
    pool: Any
    with mp.Pool(2) as pool:
        for _ in range(20):
            for x in range(place.some(500)):
                pool.apply_async(jobs.square, (x,))
            pool.apply_async(jobs.square, (2,))  # and whoever is behind comes up
        assert pool.apply(jobs.square, (3,)) == 9
        assert len(pool._engine._tasks) < 20_000


def test_an_unheard_error_keeps_its_class(mp: Context, caplog: pytest.LogCaptureFixture) -> None:
    with mp.Pool(1) as pool:
        pool.apply_async(jobs.fail_with_two_arguments)
    assert caplog.records[-1].exc_info is not None
    assert caplog.records[-1].exc_info[0] is jobs.TwoArguments
    assert isinstance(allcores.WorkerDied(1), RuntimeError)
