"""get_context: three places, one vocabulary, and the errors that belong to it."""

import builtins
import multiprocessing
import os
import queue
from typing import Any

import pytest

import allcores
from allcores import errors

from . import jobs
from .kit import PLACES, Context

VOCABULARY = (
    "Process",
    "Thread",
    "Queue",
    "Pool",
    "Value",
    "Array",
    "Lock",
    "RLock",
    "Semaphore",
    "BoundedSemaphore",
    "Event",
    "cpu_count",
    "current_process",
    "active_children",
)


@pytest.mark.parametrize("name", VOCABULARY)
def test_every_context_has_the_whole_vocabulary(mp: Context, name: str) -> None:
    assert callable(getattr(mp, name))
    assert callable(getattr(allcores, name))


def test_unknown_context_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="nowhere") as caught:
        allcores.get_context("nowhere")
    assert all(place.name in str(caught.value) for place in PLACES)


def test_process_is_the_default_context() -> None:
    process = allcores.get_context().Process(target=jobs.pid_of)
    process.start()
    assert process.result() != os.getpid()
    process.join()


def test_cpu_count_is_what_this_process_may_use(mp: Context) -> None:
    assert 1 <= mp.cpu_count() <= len(os.sched_getaffinity(0))


def test_the_program_itself_is_the_main_process(mp: Context) -> None:
    assert mp.current_process().name == "MainProcess"
    assert mp.current_process().pid == os.getpid()


def test_errors_are_what_existing_code_catches() -> None:
    assert issubclass(errors.TimeoutError, builtins.TimeoutError)
    assert issubclass(errors.TimeoutError, multiprocessing.TimeoutError)
    assert issubclass(errors.UsageError, ValueError)
    assert issubclass(errors.NotSupported, NotImplementedError)


@pytest.mark.parametrize(
    "name", ["WorkerDied", "OwnerDied", "WouldBlockForever", "UsageError", "TimeoutError", "NotSupported"]
)
def test_errors_are_at_hand_at_the_top(name: str) -> None:
    assert getattr(allcores, name) is getattr(errors, name)


def test_queues_raise_the_standard_errors(mp: Context) -> None:
    full = mp.Queue(1)
    full.put(1)
    with pytest.raises(queue.Full):
        full.put(2, block=False)
    with pytest.raises(queue.Empty):
        mp.Queue().get(block=False)


@pytest.mark.lacks("cluster")  # its objects are no descriptors nor memory, as code expects that asks for those
def test_isinstance_finds_the_standards_classes(mp: Context) -> None:
    import multiprocessing.connection
    import multiprocessing.queues
    import multiprocessing.synchronize

    for name in ("Queue", "JoinableQueue", "SimpleQueue"):
        assert isinstance(getattr(mp, name)(), getattr(multiprocessing.queues, name))
    for name in ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Event", "Condition"):
        assert isinstance(getattr(mp, name)(), getattr(multiprocessing.synchronize, name))
    assert isinstance(mp.Barrier(2), multiprocessing.synchronize.Barrier)
    assert not isinstance(mp.Lock(), multiprocessing.synchronize.RLock)
    for end in mp.Pipe():
        assert isinstance(end, multiprocessing.connection.Connection)


@pytest.mark.lacks("cluster")
def test_a_class_that_inherits_is_its_own(mp: Context) -> None:
    import multiprocessing.queues

    assert multiprocessing.queues
    base: Any = type(mp.Queue())
    mine = type("Mine", (base,), {"kind": "mine"})()
    assert mine.__class__.kind == "mine"
