"""Process.result(): what the function returned, or what it raised."""

import builtins
import multiprocessing
import pickle
import threading
from collections.abc import Callable

import numpy as np
import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle, report


@pytest.mark.parametrize("thing", [None, 0, "text", b"x" * 10_000_000, {"a": [1, (2.5, {3})]}], ids=type)
def test_any_value(start: Callable[..., Handle], thing: object) -> None:
    p = start(jobs.identity, thing)
    assert p.result() == thing
    p.join()
    assert p.result() == thing


def test_arrays(start: Callable[..., Handle]) -> None:
    array = np.arange(300_000, dtype=np.float64).reshape(3, -1)
    back = start(jobs.identity, array).result()
    assert np.array_equal(back, array)
    assert back.dtype == array.dtype
    assert back.flags.writeable


@pytest.mark.needs("parallel")
def test_timeout(mp: Context, start: Callable[..., Handle]) -> None:
    gate = mp.Event()
    p = start(jobs.wait_for, gate, "late")
    for timeout in (0, -1, SHORT):
        with pytest.raises(allcores.TimeoutError) as caught:
            p.result(timeout)
        assert isinstance(caught.value, builtins.TimeoutError)
        assert isinstance(caught.value, multiprocessing.TimeoutError)
    gate.set()
    assert p.result(PATIENCE) == "late"


def test_error_comes_back_as_itself(start: Callable[..., Handle]) -> None:
    p = start(jobs.fail, 5)
    p.join()
    assert p.exitcode == 1
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^no 5$") as caught:
            p.result()
    assert "in fail" in report(caught.value)
    assert "jobs.py" in report(caught.value)


@pytest.mark.needs("copies")
def test_remote_traceback_is_the_cause(start: Callable[..., Handle]) -> None:
    with pytest.raises(ValueError, match="no 5") as caught:
        start(jobs.fail, 5).result()
    assert "in fail" in str(caught.value.__cause__)


def test_the_errors_own_cause_is_told(start: Callable[..., Handle]) -> None:
    with pytest.raises(KeyError) as caught:
        start(jobs.fail_with_cause, "inner").result()
    assert "no inner" in report(caught.value)


def test_error_whose_class_is_local(start: Callable[..., Handle]) -> None:
    class Local(Exception):
        pass

    def raise_it() -> None:
        raise Local("mine")

    with pytest.raises(Local, match="mine"):
        start(raise_it).result()


def test_error_with_a_two_argument_init(start: Callable[..., Handle]) -> None:
    with pytest.raises(jobs.TwoArguments, match="here: it broke") as caught:
        start(jobs.fail_with_two_arguments).result()
    assert (caught.value.where, caught.value.what) == ("here", "it broke")
    assert "in fail_with_two_arguments" in report(caught.value)


def test_error_that_cannot_be_pickled(start: Callable[..., Handle]) -> None:
    """Nobody can bring it back as itself; its class, its message and its traceback can come."""
    p = start(jobs.fail_unpicklably)
    with pytest.raises(Exception, match="cannot travel") as caught:
        p.result()
    p.join()
    assert p.exitcode == 1
    assert "Unpicklable" in report(caught.value)
    assert "in fail_unpicklably" in report(caught.value)


@pytest.mark.parametrize(("code", "exitcode"), [(None, 0), (0, 0), (3, 3), ("a message", 1)])
def test_sys_exit(start: Callable[..., Handle], code: int | str | None, exitcode: int) -> None:
    p = start(jobs.leave, code)
    p.join()
    assert p.exitcode == exitcode


def test_sys_exit_has_no_result(start: Callable[..., Handle]) -> None:
    p = start(jobs.leave, 3)
    with pytest.raises((SystemExit, allcores.WorkerDied)):
        p.result()


@pytest.mark.needs("copies")
def test_result_that_cannot_be_pickled(start: Callable[..., Handle]) -> None:
    p = start(jobs.give_a_lock)
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        p.result()
    p.join()
    assert p.exitcode == 1


@pytest.mark.needs("copies")
def test_result_that_cannot_be_unpickled(start: Callable[..., Handle]) -> None:
    p = start(jobs.give_grudging)
    with pytest.raises(ValueError, match="the result cannot be rebuilt"):
        p.result()


@pytest.mark.needs("copies")
@pytest.mark.lacks("inherits")
def test_argument_that_cannot_be_pickled(mp: Context) -> None:
    p = mp.Process(target=jobs.nothing, args=(threading.Lock(),))
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        p.start()
    assert p.is_alive() is False
    assert mp.active_children() == []


@pytest.mark.needs("copies")
@pytest.mark.lacks("inherits")
def test_argument_that_cannot_be_unpickled(start: Callable[..., Handle]) -> None:
    p = start(jobs.nothing, jobs.Grudging("the argument"))
    with pytest.raises(ValueError, match="the argument cannot be rebuilt"):
        p.result()
    p.join()
    assert p.exitcode == 1


def test_threads_have_results_too(mp: Context) -> None:
    t, failing = mp.Thread(target=jobs.identity, args=([1],)), mp.Thread(target=jobs.fail, args=(5,))
    for thread in (t, failing):
        thread.start()
        thread.join()
    assert t.result() == [1]
    assert failing.exitcode == 1
    with pytest.raises(ValueError, match="no 5"):
        failing.result()


def test_a_thread_passes_by_reference_everywhere(mp: Context) -> None:
    thing = [1]
    t = mp.Thread(target=jobs.identity, args=(thing,))
    t.start()
    assert t.result() is thing
