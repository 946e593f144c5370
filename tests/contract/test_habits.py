"""What programs written for the standard library rely on beside what its documentation says."""

import ctypes
import os
import pickle
import queue
from collections.abc import Callable
from multiprocessing import resource_sharer, resource_tracker

import pytest

import allcores
from allcores import process, reduction
from allcores.queues import JoinableQueue, Queue, SimpleQueue

from .kit import PATIENCE, SHORT, Context, Handle

Start = Callable[..., Handle]


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double)]


class Refuses:
    """Something that cannot be pickled, and says so in an error of its own."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> str:
        raise self.error


class OwnError(AttributeError):
    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)


# --- Value and Array ------------------------------------------------------------------------------


@pytest.mark.needs("shares")
def test_what_has_no_lock_has_none_of_its_methods(mp: Context) -> None:
    """hasattr(x, "get_lock") is how programs tell the two apart."""
    for raw in (mp.Value("i", 5, lock=False), mp.RawValue("d"), mp.RawArray("i", 3)):
        assert not any(hasattr(raw, name) for name in ("get_lock", "get_obj", "acquire", "release"))
        with pytest.raises(AttributeError, match="lock=False"):
            raw.acquire()
    for raw in (mp.RawValue(Point), mp.RawArray(Point, 2)):
        assert not any(hasattr(raw, name) for name in ("get_lock", "acquire", "release"))
        assert ctypes.sizeof(raw.get_obj()) in (8, 16)  # else nobody could get at the ctypes object
    for guarded in (mp.Value("i"), mp.Array("i", 3), mp.Value(Point), mp.Array(Point, 2)):
        assert all(hasattr(guarded, name) for name in ("get_lock", "get_obj", "acquire", "release"))


# --- queues ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_empty_after_close(mp: Context, kind: str) -> None:
    full, empty = getattr(mp, kind)(), getattr(mp, kind)()
    full.put(1)
    full.close()
    empty.close()
    with pytest.raises(OSError, match="is closed"):
        full.empty()
    if kind == "SimpleQueue":
        with pytest.raises(OSError, match="is closed"):
            empty.empty()
    else:
        assert empty.empty()


@pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
def test_the_end_that_is_waited_for(mp: Context, start: Start, kind: str) -> None:
    q = getattr(mp, kind)()
    reader = q._reader
    assert mp.wait([reader], SHORT) == []
    start(q.put, 5).join(PATIENCE)
    assert mp.wait([reader], PATIENCE) == [reader]
    assert q.get() == 5
    q.close()
    assert q._reader.closed
    assert q._writer.closed


@pytest.mark.parametrize("kind", [Queue, JoinableQueue, SimpleQueue])
def test_a_subclass_gives_a_context(kind: type) -> None:
    class Mine(kind):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(ctx=allcores.get_context())

    q = Mine()
    q.put(1)
    assert q.get() == 1


class Told(Queue):
    """As concurrent.futures has one."""

    told: list[object]

    def _on_queue_feeder_error(self, error: BaseException, obj: object) -> None:
        self.told.append((error, obj))


def test_a_queue_that_is_told_of_what_cannot_travel() -> None:
    q = Told(1, ctx=allcores.get_context())
    q.told = []
    error = AttributeError("no")
    refused = Refuses(error)
    q.put(refused)  # takes no room
    q.put(3, True, SHORT)
    with pytest.raises(queue.Full):
        q.put(4, block=False)
    assert q.get() == 3
    assert q.told == [(error, refused)]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [AttributeError("no"), pickle.PicklingError("no"), TypeError("no"), OwnError(1, "no")]
)
def test_what_cannot_travel_is_caught_as_what_it_raised(error: Exception) -> None:
    with pytest.raises(allcores.UnpicklableError, match="no") as caught:
        Queue().put([Refuses(error)])
    assert isinstance(caught.value, type(error))
    assert caught.value.__cause__ is error
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))


@pytest.mark.parametrize("error", [RuntimeError("no"), OSError(5, "no")])
def test_what_says_itself_what_is_wrong_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        Queue().put([Refuses(error)])
    assert caught.value is error


def make_refused() -> object:
    return Refuses(AttributeError("not this"))


@pytest.mark.needs("copies")
def test_in_a_pool(mp: Context) -> None:
    with mp.Pool(1) as pool:
        for error in (RuntimeError("not here"), AttributeError("not here")):
            with pytest.raises(type(error), match="not here"):
                pool.map(abs, [Refuses(error)] * 3)
        with pytest.raises(AttributeError, match="not this") as caught:
            pool.apply(make_refused)
    assert isinstance(caught.value, allcores.UnpicklableError)


# --- what is printed ------------------------------------------------------------------------------


def test_events_say_whether_they_are_set(mp: Context) -> None:
    event = mp.Event()
    assert repr(event) == f"<Event at {id(event):#x} unset>"
    event.set()
    assert repr(event) == f"<Event at {id(event):#x} set>"


# --- descriptors over a connection ----------------------------------------------------------------


def write_to_what_comes(conn: Handle) -> None:
    fd = reduction.recv_handle(conn)
    os.write(fd, b"foo")
    os.close(fd)


@pytest.mark.lacks("cluster")
@pytest.mark.needs("copies")
def test_a_descriptor_is_sent(mp: Context, start: Start) -> None:
    ours, theirs = mp.Pipe()
    child = start(write_to_what_comes, theirs)
    r, w = os.pipe()
    try:
        reduction.send_handle(ours, w, child.pid)
        os.close(w)
        assert os.read(r, 10) == b"foo"
        assert os.read(r, 10) == b""
    finally:
        os.close(r)
        resource_sharer.stop(PATIENCE)
    child.join(PATIENCE)
    ours.send("no descriptor")
    with pytest.raises(RuntimeError, match="not 'no descriptor'"):
        reduction.recv_handle(theirs)
    ours.close()
    with pytest.raises(EOFError):
        reduction.recv_handle(theirs)


# --- a pool that cannot be made -------------------------------------------------------------------


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_a_pool_that_cannot_start_all_its_workers_leaves_none(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    left, real = [3], process.Process.start

    def start(self: process.Process) -> None:
        if not left[0]:
            raise OSError("no more")
        left[0] -= 1
        real(self)

    monkeypatch.setattr(process.Process, "start", start)
    with pytest.raises(OSError, match="no more"):
        mp.Pool(5)
    assert left == [0]
    assert mp.active_children() == []


def test_a_resource_of_too_long_a_name() -> None:
    allcores.Queue()  # the program has begun, and its tracker
    with pytest.raises(ValueError, match="too long"):
        resource_tracker.register("a" * 512, "shared_memory")
