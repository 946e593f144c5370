"""wait([...]): several things at once, of every kind."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle, Place


class Thing:
    """Something to wait for, and how it becomes ready and is not ready again."""

    def __init__(
        self, obj: Any, make: Callable[[], object], undo: Callable[[], object], close: Callable[[], object] = int
    ) -> None:
        self.obj, self.make, self.undo, self.close = obj, make, undo, close


def of_connection(mp: Context) -> Thing:
    a, b = mp.Pipe()
    return Thing(b, lambda: a.send(1), b.recv)


def of_queue(mp: Context) -> Thing:
    q = mp.Queue()
    return Thing(q, lambda: q.put(1), q.get)


def of_simple_queue(mp: Context) -> Thing:
    q = mp.SimpleQueue()
    return Thing(q, lambda: q.put(1), q.get)


def of_counting_queue(mp: Context) -> Thing:
    q = mp.JoinableQueue(max_bytes=1000)
    return Thing(q, lambda: q.put(1), q.get)


def of_lock(mp: Context) -> Thing:
    lock = mp.Lock()
    lock.acquire()
    return Thing(lock, lock.release, lock.acquire)


def of_semaphore(mp: Context) -> Thing:
    semaphore = mp.Semaphore(0)
    return Thing(semaphore, semaphore.release, semaphore.acquire)


def of_bounded(mp: Context) -> Thing:
    semaphore = mp.BoundedSemaphore(1)
    semaphore.acquire()
    return Thing(semaphore, semaphore.release, semaphore.acquire)


def of_event(mp: Context) -> Thing:
    event = mp.Event()
    return Thing(event, event.set, event.clear)


def of_socket(_: Context) -> Thing:
    a, b = socket.socketpair()

    def close() -> None:
        a.close()
        b.close()

    return Thing(b, lambda: a.send(b"1"), lambda: b.recv(1), close)


KINDS = {
    "connection": of_connection,
    "queue": of_queue,
    "simple queue": of_simple_queue,
    "counting queue": of_counting_queue,
    "lock": of_lock,
    "semaphore": of_semaphore,
    "bounded semaphore": of_bounded,
    "event": of_event,
    "socket": of_socket,
}


@pytest.fixture
def things(mp: Context) -> Iterator[list[Thing]]:
    made = [make(mp) for make in KINDS.values()]
    yield made
    for each in made:
        each.close()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(mp: Context, kind: str) -> None:
    thing = KINDS[kind](mp)
    for _ in range(3):
        assert mp.wait([thing.obj], 0) == []
        assert mp.wait([thing.obj], SHORT) == []
        thing.make()
        assert mp.wait([thing.obj]) == [thing.obj]
        assert mp.wait([thing.obj], 0) == [thing.obj]  # nothing was taken
        thing.undo()
    thing.close()


def test_those_that_are_ready_in_their_order(mp: Context, things: list[Thing]) -> None:
    objects = [each.obj for each in things]
    assert mp.wait(objects, 0) == []
    for each in reversed(things[::2]):
        each.make()
    assert mp.wait(objects) == objects[::2]
    assert mp.wait([*objects, *objects], PATIENCE) == objects[::2] * 2
    assert mp.wait(reversed(objects)) == objects[::2][::-1]


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("kind", KINDS)
def test_woken_by_each(mp: Context, things: list[Thing], kind: str) -> None:
    """Among things of all kinds, and among things of its own kind alone."""
    thing = things[list(KINDS).index(kind)]
    other = KINDS[kind](mp)
    for objects in ([each.obj for each in things], [thing.obj, other.obj]):
        for _ in range(5):
            got: list[Any] = []
            waiting = threading.Thread(target=lambda objects=objects, got=got: got.extend(mp.wait(objects, PATIENCE)))
            waiting.start()
            waiting.join(SHORT / 10)
            thing.make()
            waiting.join(PATIENCE)
            assert got == [thing.obj]
            thing.undo()
    other.close()


@pytest.mark.needs("parallel")
def test_many_who_wait(mp: Context) -> None:
    """All see it, though one wake-up goes to one who takes it."""
    event, a, b = mp.Event(), mp.Queue(), mp.Queue()
    got: list[Any] = []
    waiting = [threading.Thread(target=lambda: got.append(mp.wait([a, event, b], PATIENCE))) for _ in range(5)]
    for each in waiting:
        each.start()
    waiting[0].join(SHORT)
    event.set()
    for each in waiting:
        each.join(PATIENCE)
    assert got == [[event]] * 5


@pytest.mark.needs("parallel")
def test_beside_one_who_takes(mp: Context) -> None:
    """Each item is announced, whoever takes it."""
    q, r = mp.Queue(), mp.Queue()
    taken: list[Any] = []
    taker = threading.Thread(target=lambda: taken.extend(iter(q.get, None)))
    taker.start()
    seen = 0
    for i in range(200):
        q.put(i)
        r.put(i)
        assert r in mp.wait([q, r], PATIENCE)
        seen += r.get() == i
    q.put(None)
    taker.join(PATIENCE)
    assert taken == list(range(200))
    assert seen == 200


def test_the_end_of_a_connection(mp: Context) -> None:
    a, b = mp.Pipe()
    c, d = mp.Pipe()
    a.close()
    assert mp.wait([d, b]) == [b]
    c.close()
    assert mp.wait([d, b]) == [d, b]


def test_processes(mp: Context, place: Place, start: Callable[..., Handle]) -> None:
    if not place.parallel:
        p = start(jobs.square, 3)
        assert mp.wait([p, mp.Event()]) == [p]
        return
    go, never = mp.Event(), mp.Event()
    p, q = start(go.wait, PATIENCE), start(never.wait, PATIENCE)
    assert mp.wait([p, q], SHORT) == []
    go.set()
    assert mp.wait([q, p], PATIENCE) == [p]
    assert mp.wait([q, p, never, mp.Queue()], PATIENCE) == [p]
    if place.kills:
        assert mp.wait([q.sentinel, p.sentinel, never], PATIENCE) == [p.sentinel]
        assert mp.wait([q.sentinel, p.sentinel], PATIENCE) == [p.sentinel]
    never.set()
    assert mp.wait([never, q], PATIENCE)[0] is never
    assert mp.wait([q], PATIENCE) == [q]


@pytest.mark.needs("copies")
def test_woken_by_other_processes(mp: Context, start: Callable[..., Handle]) -> None:
    queues = [mp.Queue() for _ in range(5)]
    go = mp.Queue()

    def put_into(which: list[int]) -> None:
        for i in which:
            go.get()
            queues[i].put(i)

    order = [3, 1, 4, 0, 2] * 10
    start(put_into, order)
    for i in order:
        go.put(None)
        assert mp.wait(queues, PATIENCE) == [queues[i]]
        assert queues[i].get() == i


def test_nothing(mp: Context) -> None:
    assert mp.wait([]) == []
    assert mp.wait([], 0) == []


def test_what_cannot_be_waited_for(mp: Context) -> None:
    for bad in ("queue", None, 2.5, object()):
        with pytest.raises(TypeError, match="cannot wait for"):
            mp.wait([mp.Event(), bad], 0)
    with pytest.raises(ValueError, match="0 or more"):
        mp.wait([-1], 0)
    a, b = os.pipe()
    os.close(a)
    os.close(b)
    with pytest.raises(OSError, match="Bad file descriptor"):
        mp.wait([a], 0)
    _, writer = mp.Pipe(duplex=False)
    with pytest.raises(OSError, match="write-only"):
        mp.wait([writer], 0)


def test_a_process_that_is_not_started(mp: Context) -> None:
    with pytest.raises((ValueError, AssertionError), match="not started"):
        mp.wait([mp.Process(target=int)], 0)


@pytest.mark.lacks("parallel")
def test_serial_says_what_would_never_end(mp: Context) -> None:
    a, _ = mp.Pipe()
    with pytest.raises(allcores.WouldBlockForever):
        mp.wait([a, mp.Event(), mp.Queue()])
    assert mp.wait([a, mp.Event(), mp.Queue()], PATIENCE) == []
    one, other = socket.socketpair()
    with one, other:
        one.send(b"1")
        assert mp.wait([a, other]) == [other]


@pytest.mark.needs("copies")
def test_a_connection_that_is_closed_meanwhile(mp: Context) -> None:
    a, b = mp.Pipe()
    seen: list[str] = []

    def wait_here() -> None:
        try:
            mp.wait([b, mp.Event()])
        except OSError as error:
            seen.append(str(error))

    waiting = threading.Thread(target=wait_here)
    waiting.start()
    waiting.join(SHORT)
    b.close()
    waiting.join(PATIENCE)
    assert seen == ["handle is closed"]
    a.close()
