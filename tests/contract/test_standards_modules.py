"""What the standard library has beside processes, queues and pools: its modules and its logger, in all contexts."""

import ctypes
import logging
import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import allcores
from allcores import connection, dummy, queues, sharedctypes
from allcores.pool import ThreadPool

from .kit import PATIENCE, Context, Handle


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_double))


RAW: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
    ("value", lambda: sharedctypes.RawValue("i", 7), lambda v: v.value),
    ("array", lambda: sharedctypes.RawArray("d", [1, 2]), lambda a: a[:]),
    ("text", lambda: sharedctypes.RawArray("c", b"text"), lambda a: a.value),
    ("structure", lambda: sharedctypes.RawValue(Point, 1, 2), lambda v: (v.x, v.y)),
    ("structures", lambda: sharedctypes.RawArray(Point, [(1, 2)]), lambda a: a[0].y),
]


@pytest.mark.parametrize(("make", "look"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
def test_copy_and_synchronized(make: Callable[[], Any], look: Callable[[Any], Any]) -> None:
    raw = make()
    copied = sharedctypes.copy(raw)
    assert look(copied) == look(raw)
    guarded = sharedctypes.synchronized(raw)
    with guarded.get_lock():
        assert look(guarded) == look(raw)
    lock = allcores.RLock()
    assert sharedctypes.synchronized(copied, lock).get_lock().offset == lock.offset
    with pytest.raises(AssertionError, match="already synchronized"):
        sharedctypes.synchronized(guarded)


def test_copy_of_what_is_not_shared() -> None:
    point = Point(3, 4)
    copied = sharedctypes.copy(point)
    point.x = 0
    assert (copied.x, copied.y) == (3, 4)
    assert sharedctypes.copy((ctypes.c_int * 2)(5, 6))[:] == [5, 6]
    with pytest.raises(TypeError, match="RawValue"):
        sharedctypes.synchronized(point)


def put_through(value: Any) -> None:
    with value.get_lock():
        value.value += 1


@pytest.mark.needs("shares")
def test_synchronized_travels(start: Callable[..., Handle]) -> None:
    raw = sharedctypes.RawValue("i", 1)
    start(put_through, sharedctypes.synchronized(raw)).join()
    assert raw.value == 2


def level_of_the_logger() -> int:
    level: int = allcores.get_logger().getEffectiveLevel()
    return level


@pytest.mark.lacks("cluster")  # it is another machine's: neither levels nor keys go with it
def test_a_child_logs_as_its_parent(mp: Context, start: Callable[..., Handle]) -> None:
    logger = mp.get_logger()
    assert logger is logging.getLogger("multiprocessing")
    before = logger.level
    try:
        logger.setLevel(33)
        assert start(level_of_the_logger).result() == 33
    finally:
        logger.setLevel(before)


def test_log_to_stderr() -> None:
    code = (
        "import allcores as mp\n"
        "mp.log_to_stderr().setLevel('INFO')\n"
        "p = mp.Process(target=lambda: mp.get_logger().info('from the child'), name='Child')\n"
        "p.start(); p.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert "[INFO/Child] from the child" in done.stderr


def double(x: int) -> int:
    return 2 * x


def test_thread_pool() -> None:
    with ThreadPool(2) as pool:
        assert pool.map(double, range(3)) == [0, 2, 4]
        assert pool.apply(os.getpid) == os.getpid()
    with dummy.Pool(2) as pool:
        assert isinstance(pool, ThreadPool)
        assert pool.map(double, range(3)) == [0, 2, 4]


def test_dummy() -> None:
    things: queue.Queue[int] = dummy.Queue()
    thread = dummy.Process(target=things.put, args=(1,))
    thread.start()
    thread.join()
    assert things.get() == 1
    assert dummy.Manager().list([1]) == [1]
    a, b = dummy.connection.Pipe()
    a.send(2)
    assert b.recv() == 2


def test_a_connection_of_a_descriptor() -> None:
    read, write = os.pipe()
    with connection.Connection(read, writable=False) as receives, connection.Connection(write, False) as sends:
        sends.send("by a pipe of the system's")
        assert allcores.wait([receives]) == [receives]
        assert receives.recv() == "by a pipe of the system's"


def speak(address: Any) -> None:
    with connection.Client(address, authkey=allcores.current_process().authkey) as client:
        client.send("hello")
        assert client.recv() == "and goodbye"


@pytest.mark.lacks("cluster")  # it is another machine's: neither levels nor keys go with it
def test_listener_and_client(start: Callable[..., Handle], mp: Context) -> None:
    if mp.name == "serial":
        pytest.skip("two that speak to each other")
    with connection.Listener(authkey=mp.current_process().authkey) as listener:
        client = start(speak, listener.address)
        with listener.accept() as conn:
            assert conn.recv() == "hello"
            conn.send("and goodbye")
        client.join()
        assert client.exitcode == 0


class Counting(queues.Queue):
    """As on the web: a queue that counts for itself."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize, ctx=allcores.get_context())
        self.n = allcores.Value("i", 0)

    def __getstate__(self) -> Any:
        return {"parent_state": super().__getstate__(), "n": self.n}

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state["parent_state"])
        self.n = state["n"]

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(obj, block, timeout)
        self.n += 1


class Noting(queues.SimpleQueue):
    """Without a word about how it travels."""

    note = "of the class"


def put_in(q: Any) -> str:
    q.put(1)
    return getattr(q, "note", "")


def by_value(cls: type) -> type:
    """The same class as if it were of the program itself: it travels by value."""
    return type(cls)(cls.__name__, cls.__bases__, {**vars(cls), "__module__": "__main__"})


@pytest.mark.needs("shares")
@pytest.mark.parametrize("where", [lambda cls: cls, by_value], ids=["importable", "of the program"])
def test_a_queue_of_ones_own(start: Callable[..., Handle], where: Callable[[type], type]) -> None:
    simple: Any = where(Noting)()
    simple.note = "of this one"
    assert start(put_in, simple).result() == "of this one"
    assert simple.get() == 1


@pytest.mark.needs("shares")
def test_a_queue_that_counts(start: Callable[..., Handle]) -> None:
    q = Counting()
    start(put_in, q).join()
    assert q.get() == 1
    assert q.n.value == 1


@pytest.mark.lacks("parallel")
@pytest.mark.parametrize("kind", ["Process", "Pool"])
def test_breakpoint_in_a_job(mp: Context, kind: str) -> None:
    code = (
        f"import allcores\nmp = allcores.get_context({mp.name!r})\n"
        "def job(x):\n    y = x + 1\n    breakpoint()\n    return y\n"
        + (
            "p = mp.Process(target=job, args=(41,)); p.start()\n"
            if kind == "Process"
            else "mp.Pool(2).map(job, [41])\n"
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="p y\nc\n", capture_output=True, text=True, timeout=PATIENCE
    )
    assert "(Pdb) 42" in done.stdout
    assert done.returncode == 0


def test_errors_of_the_standards_are_caught() -> None:
    assert issubclass(connection.AuthenticationError, allcores.ProcessError)
    with pytest.raises(TypeError):
        pickle.dumps(allcores.process.AuthenticationString(b"secret"))
