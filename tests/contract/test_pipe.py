"""Pipe and Connection: the standard's methods, the ends of the other end, and bad input."""

import array
import asyncio
import gc
import multiprocessing
import pickle
import select
import selectors
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import allcores

from .kit import PATIENCE, SHORT, Context, Handle, Place

ITEMS: tuple[Any, ...] = (None, True, 7, 1 << 80, 2.5, "x" * 5000, b"y" * 5000, [1, {"a": (2, 3)}], {"k": [None] * 3})


def echo(conn: Handle) -> None:
    """Sends back what comes, until the other end is gone."""
    try:
        while True:
            conn.send(conn.recv())
    except EOFError:
        conn.close()


def send_all(conn: Handle, items: list[Any]) -> None:
    for item in items:
        conn.send(item)


def recv_all(conn: Handle) -> list[Any]:
    got = []
    try:
        while True:
            got.append(conn.recv())
    except EOFError:
        return got


def wait_for_end(conn: Handle) -> str:
    try:
        conn.recv()
    except EOFError:
        return "end"
    return "something"


@pytest.fixture
def ends(mp: Context) -> Any:
    a, b = mp.Pipe()
    yield a, b
    a.close()
    b.close()


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_both_ways(ends: Any, item: Any) -> None:
    a, b = ends
    for one, other in ((a, b), (b, a)):
        one.send(item)
        assert other.recv() == item
    assert not a.poll()
    assert not b.poll()


def test_in_order_and_without_limit(ends: Any, place: Place) -> None:
    a, b = ends
    times = place.some(10_000)
    for i in range(times):
        a.send(i)
    assert [b.recv() for _ in range(times)] == list(range(times))


def test_one_way(mp: Context) -> None:
    reader, writer = mp.Pipe(duplex=False)
    assert (reader.readable, reader.writable) == (True, False)
    assert (writer.readable, writer.writable) == (False, True)
    writer.send("x")
    assert reader.recv() == "x"
    with pytest.raises(OSError, match="read-only"):
        reader.send(1)
    with pytest.raises(OSError, match="read-only"):
        reader.send_bytes(b"1")
    for call in (
        writer.recv,
        writer.recv_bytes,
        writer.poll,
        writer.fileno,
        lambda: writer.recv_bytes_into(bytearray(9)),
    ):
        with pytest.raises(OSError, match="write-only"):
            call()


def test_names_and_repr(mp: Context, ends: Any) -> None:
    a, _ = ends
    assert (a.readable, a.writable, a.closed) == (True, True, False)
    assert "duplex" in repr(a)
    with a as same:
        assert same is a
    assert a.closed
    assert "closed" in repr(a)
    a.close()
    reader, writer = mp.Pipe(False)
    assert "read-only" in repr(reader)
    assert "write-only" in repr(writer)


def test_closed_handle(mp: Context) -> None:
    a, b = mp.Pipe()
    a.close()
    calls: list[Callable[[], object]] = [
        a.recv,
        a.recv_bytes,
        a.poll,
        a.fileno,
        lambda: a.send(1),
        lambda: a.send_bytes(b"1"),
        lambda: a.recv_bytes_into(bytearray(9)),
        lambda: mp.wait([a], 0),
    ]
    for call in calls:
        with pytest.raises(OSError, match="handle is closed"):
            call()
    b.close()


def test_what_was_sent_before_the_end_is_received(ends: Any) -> None:
    a, b = ends
    send_all(a, [1, 2])
    a.close()
    assert b.poll()
    assert [b.recv(), b.recv()] == [1, 2]
    for _ in range(3):
        assert b.poll()  # as the standard has it: the end is something to receive
        with pytest.raises(EOFError):
            b.recv()
    with pytest.raises(EOFError):
        b.recv_bytes()
    with pytest.raises(BrokenPipeError):
        b.send(1)


def test_an_end_that_is_garbage_is_gone(mp: Context) -> None:
    a, b = mp.Pipe()
    del a
    gc.collect()
    with pytest.raises(EOFError):
        b.recv()
    with pytest.raises(BrokenPipeError):
        b.send(1)


def test_what_nobody_can_receive_any_more(mp: Context) -> None:
    reader, writer = mp.Pipe(duplex=False)
    writer.send("lost")
    reader.close()
    with pytest.raises(BrokenPipeError) as caught:
        writer.send("x")
    assert caught.value.errno == 32
    with pytest.raises(BrokenPipeError):
        writer.send_bytes(b"x")


@pytest.mark.parametrize("size", [0, 1, 215, 216, 217, 5000, 3_000_000])
def test_bytes(ends: Any, size: int) -> None:
    a, b = ends
    data = bytes(i % 251 for i in range(min(size, 5000))) * (1 if size <= 5000 else size // 5000)
    a.send_bytes(data)
    assert b.recv_bytes() == data
    a.send_bytes(bytearray(data))
    buffer = bytearray(len(data) + 10)
    assert b.recv_bytes_into(buffer, 4) == len(data)
    assert bytes(buffer) == b"\0" * 4 + data + b"\0" * 6


def test_parts_of_a_buffer(ends: Any) -> None:
    a, b = ends
    a.send_bytes(b"0123456789", 3)
    a.send_bytes(b"0123456789", offset=3, size=4)
    a.send_bytes(b"0123456789", 10)
    a.send_bytes(b"0123456789", 2, 0)
    a.send_bytes(memoryview(b"0123456789")[2:4])
    a.send_bytes(array.array("i", [1, 2]))
    assert [b.recv_bytes() for _ in range(5)] == [b"3456789", b"3456", b"", b"", b"23"]
    numbers = array.array("i", [0, 0, 0])
    assert b.recv_bytes_into(numbers, 4) == 8
    assert list(numbers) == [0, 1, 2]
    grid = np.arange(6, dtype=np.int16).reshape(2, 3)
    a.send_bytes(grid)
    assert b.recv_bytes() == grid.tobytes()


@pytest.mark.parametrize(
    ("offset", "size", "says"),
    [(-1, None, "offset is negative"), (11, None, "length < offset"), (0, -1, "size is negative"), (5, 6, "offset")],
)
def test_parts_that_are_none(ends: Any, offset: int, size: int | None, says: str) -> None:
    a, b = ends
    with pytest.raises(ValueError, match=says):
        a.send_bytes(b"0123456789", offset, size)
    assert not b.poll()


def test_bytes_that_do_not_fit(ends: Any) -> None:
    a, b = ends
    for data in (b"0123456789", b"z" * 5000):
        a.send_bytes(data)
        with pytest.raises(multiprocessing.BufferTooShort) as caught:
            b.recv_bytes_into(bytearray(8))
        assert type(caught.value) is allcores.BufferTooShort
        assert caught.value.args[0] == data
    a.send_bytes(b"01")
    with pytest.raises(allcores.BufferTooShort):
        b.recv_bytes_into(bytearray(2), 1)
    for offset, says in ((-1, "negative offset"), (3, "offset too large")):
        with pytest.raises(ValueError, match=says):
            b.recv_bytes_into(bytearray(2), offset)
    a.send_bytes(b"01")
    with pytest.raises(TypeError):
        b.recv_bytes_into(b"not writable")
    assert b.recv_bytes(2) == b"01"  # nothing was taken


def test_maxlength(mp: Context) -> None:
    a, b = mp.Pipe()
    a.send_bytes(b"0123456789")
    with pytest.raises(ValueError, match="negative maxlength"):
        b.recv_bytes(-1)
    assert b.recv_bytes(10) == b"0123456789"
    a.send_bytes(b"0123456789")
    with pytest.raises(OSError, match="bad message length"):
        b.recv_bytes(9)
    with pytest.raises(OSError, match="write-only"):  # as the standard has it
        b.recv()
    b.send(1)
    assert a.recv() == 1
    reader, writer = mp.Pipe(False)
    writer.send_bytes(b"01")
    with pytest.raises(OSError, match="bad message length"):
        reader.recv_bytes(1)
    assert reader.closed


def test_bytes_and_objects_are_each_others_pickle(ends: Any) -> None:
    """As in the standard, where an object is its pickle."""
    a, b = ends
    a.send_bytes(pickle.dumps({"x": 1}))
    assert b.recv() == {"x": 1}
    a.send({"x": 1})
    assert pickle.loads(b.recv_bytes()) == {"x": 1}
    a.send([1, 2])
    buffer = bytearray(100)
    n = b.recv_bytes_into(buffer)
    assert pickle.loads(buffer[:n]) == [1, 2]


def test_poll(ends: Any) -> None:
    a, b = ends
    assert b.poll() is False
    assert b.poll(0) is False
    assert b.poll(-1) is False
    assert b.poll(SHORT) is False
    a.send(1)
    assert b.poll() is True
    assert b.poll(PATIENCE) is True
    assert b.poll(None) is True


def test_what_cannot_travel(place: Place, ends: Any) -> None:
    a, b = ends
    if place.copies:
        with pytest.raises(allcores.UnpicklableError):
            a.send(threading.Lock())
        assert not b.poll()


def test_with_a_process(mp: Context, place: Place, start: Callable[..., Handle]) -> None:
    a, b = mp.Pipe()
    if not place.parallel:
        send_all(a, [1, "two"])
        a.close()
        assert start(recv_all, b).result(PATIENCE) == [1, "two"]
        return
    p = start(echo, b)
    b.close()
    for item in ITEMS:
        a.send(item)
        assert a.recv() == item
    a.close()
    p.join(PATIENCE)
    assert p.exitcode == 0


@pytest.mark.needs("parallel")
def test_the_end_of_a_process_is_the_end(mp: Context, start: Callable[..., Handle]) -> None:
    """Whatever it had sent is received, and then the end."""
    a, b = mp.Pipe()
    p = start(send_all, b, list(range(100)))
    b.close()
    assert recv_all(a) == list(range(100))
    p.join(PATIENCE)
    with pytest.raises(BrokenPipeError):
        a.send(1)


@pytest.mark.needs("parallel")
def test_an_end_that_is_kept_keeps_the_pipe_open(mp: Context, start: Callable[..., Handle]) -> None:
    a, b = mp.Pipe()
    p = start(send_all, b, [1])
    p.join(PATIENCE)
    assert a.recv() == 1
    assert a.poll(SHORT) is False
    b.close()
    assert a.poll(PATIENCE)
    with pytest.raises(EOFError):
        a.recv()


@pytest.mark.needs("parallel")
def test_a_thread_that_waits_sees_the_end(mp: Context) -> None:
    a, b = mp.Pipe()
    waiting = [mp.Thread(target=wait_for_end, args=(b,)) for _ in range(3)]
    for each in waiting:
        each.start()
    waiting[0].join(SHORT)
    a.close()
    assert [each.result(PATIENCE) for each in waiting] == ["end"] * 3


@pytest.mark.needs("copies")
def test_close_while_another_thread_waits_in_it(mp: Context) -> None:
    a, b = mp.Pipe()
    seen: list[BaseException] = []

    def wait_here() -> None:
        try:
            b.recv()
        except OSError as error:
            seen.append(error)

    waiting = threading.Thread(target=wait_here)
    waiting.start()
    waiting.join(SHORT)
    b.close()
    waiting.join(PATIENCE)
    assert [str(error) for error in seen] == ["handle is closed"]
    with pytest.raises(BrokenPipeError):
        a.send(1)


@pytest.mark.needs("copies")
def test_travels_in_everything(mp: Context, start: Callable[..., Handle]) -> None:
    a, b = mp.Pipe()
    q = mp.Queue()
    q.put([b])
    (again,) = q.get()
    a.send("by a queue")
    assert again.recv() == "by a queue"
    c, d = mp.Pipe()
    c.send(b)
    assert d.recv().poll() is False
    p = start(lambda: b.send("by a closure"))
    p.join(PATIENCE)
    assert a.recv() == "by a closure"
    with mp.Pool(1) as pool:
        pool.apply(send_all, (b, ["by a pool"]))
    assert a.recv() == "by a pool"
    for each in (b, again):
        assert not a.poll()
        each.close()
    gc.collect()
    assert recv_all(a) == []


@pytest.mark.needs("copies")
def test_a_closed_end_cannot_travel(mp: Context) -> None:
    a, _ = mp.Pipe()
    a.close()
    with pytest.raises(OSError, match="handle is closed"):
        mp.Queue().put(a)


@pytest.mark.needs("copies")
def test_what_is_on_its_way_keeps_the_pipe_open(mp: Context) -> None:
    a, b = mp.Pipe()
    q = mp.Queue()
    q.put(b)
    b.close()
    del b
    assert not a.poll(SHORT)
    q.get().send("still")
    assert recv_all(a) == ["still"]
    c, d = mp.Pipe()
    q.put(d)
    d.close()
    del q  # what is in it is given up
    gc.collect()
    assert recv_all(c) == []


# Descriptors.


def readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


@pytest.mark.lacks("cluster")  # a connection there is no descriptor
def test_the_descriptor_is_readable_while_there_is_something(ends: Any) -> None:
    a, b = ends
    fd = b.fileno()
    assert fd == b.fileno()
    assert not readable(fd)
    for _ in range(3):
        a.send(1)
        a.send(2)
        assert select.select([b], [], [], PATIENCE)[0] == [b]
        b.recv()
        assert select.select([b], [], [], PATIENCE)[0] == [b]
        b.recv()
        assert not readable(fd)
    a.close()
    assert select.select([b], [], [], PATIENCE)[0] == [b]
    with pytest.raises(EOFError):
        b.recv()
    assert readable(fd)


@pytest.mark.lacks("cluster")  # a connection there is no descriptor
def test_a_selector(ends: Any) -> None:
    a, b = ends
    with selectors.DefaultSelector() as selector:
        selector.register(a, selectors.EVENT_READ, "a")
        selector.register(b, selectors.EVENT_READ, "b")
        assert selector.select(0) == []
        a.send("x")
        ((key, _),) = selector.select(PATIENCE)
        assert key.data == "b"
        assert b.recv() == "x"
        assert selector.select(0) == []


@pytest.mark.lacks("cluster")  # a connection there is no descriptor
def test_the_standards_wait(ends: Any) -> None:
    from multiprocessing.connection import wait

    a, b = ends
    assert wait([a, b], 0) == []
    a.send(1)
    assert wait([a, b], PATIENCE) == [b]


@pytest.mark.lacks("cluster")  # a connection there is no descriptor
@pytest.mark.needs("parallel")
def test_asyncio(mp: Context, start: Callable[..., Handle]) -> None:
    a, b = mp.Pipe()
    start(send_all, b, ["x", "y", "z"])
    b.close()

    async def collect() -> list[Any]:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        got: list[Any] = []

        def one() -> None:
            try:
                got.append(a.recv())
            except EOFError:
                loop.remove_reader(a)
                done.set_result(got)

        loop.add_reader(a, one)
        return await asyncio.wait_for(done, PATIENCE)

    assert asyncio.run(collect()) == ["x", "y", "z"]


def test_serial_says_what_would_never_end(mp: Context, place: Place, ends: Any) -> None:
    _, b = ends
    if place.parallel:
        return
    with pytest.raises(allcores.WouldBlockForever):
        b.recv()
    with pytest.raises(allcores.WouldBlockForever):
        b.poll(None)
