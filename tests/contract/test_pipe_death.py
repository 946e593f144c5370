"""The other end of a pipe is killed, in whatever it was doing: what had been sent arrives once, and then the end."""

import os
import select
import signal
from collections.abc import Callable
from typing import Any

import pytest

import allcores

from .kit import PATIENCE, SHORT, Context, Handle, Place

Start = Callable[..., Handle]
pytestmark = pytest.mark.needs("kills")


def kill(process: Handle) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)


def hold_it(connection: Handle, held: Handle, never: Handle) -> None:
    held.set()
    never.wait(PATIENCE)
    connection.close()


def count_for_ever(connection: Handle, sent: Handle) -> None:
    i = 0
    while True:
        connection.send(i)
        i += 1
        sent.value = i


def receive_for_ever(connection: Handle, got: Handle) -> None:
    while True:
        got.put(connection.recv())


def drained(connection: Handle) -> list[Any]:
    items = []
    try:
        while True:
            items.append(connection.recv())
    except EOFError:
        return items


def start_other(mp: Context, start: Start) -> tuple[Handle, Handle]:
    """A connection, and the process that has its other end."""
    a, b = mp.Pipe()
    held = mp.Event()
    process = start(hold_it, b, held, mp.Event())
    b.close()
    assert held.wait(PATIENCE)
    return a, process


def wait_by_recv(a: Handle) -> bool:
    with pytest.raises(EOFError):
        a.recv()
    return True


def wait_by_recv_bytes(a: Handle) -> bool:
    with pytest.raises(EOFError):
        a.recv_bytes()
    return True


def wait_by_poll(a: Handle) -> bool:
    return bool(a.poll(PATIENCE)) and wait_by_recv(a)


def wait_by_wait(a: Handle) -> bool:
    return allcores.wait([allcores.Queue(), a], PATIENCE) == [a] and wait_by_recv(a)


def wait_by_select(a: Handle) -> bool:
    return select.select([a], [], [], PATIENCE)[0] == [a] and wait_by_recv(a)


WAYS = (wait_by_recv, wait_by_recv_bytes, wait_by_poll, wait_by_wait, wait_by_select)


@pytest.mark.parametrize("way", WAYS)
def test_whoever_waits_sees_it(mp: Context, place: Place, start: Start, way: Callable[[Handle], bool]) -> None:
    if place.cluster and way in (wait_by_select, wait_by_wait):
        pytest.skip("a connection there is no descriptor, and known to the cluster's wait() only")
    a, process = start_other(mp, start)
    waiting = mp.Thread(target=way, args=(a,))
    waiting.start()
    waiting.join(SHORT)
    assert waiting.is_alive()
    kill(process)
    assert waiting.result(PATIENCE)
    with pytest.raises(BrokenPipeError):
        a.send(1)
    a.close()


def test_another_process_that_waits_sees_it(mp: Context, start: Start) -> None:
    a, process = start_other(mp, start)
    waiting = [start(drained, a) for _ in range(2)]
    waiting[0].join(SHORT)
    kill(process)
    assert [each.result(PATIENCE) for each in waiting] == [[], []]


def test_all_that_was_sent_arrives_once(mp: Context, start: Start) -> None:
    """The sender is killed in the middle of sending."""
    for _ in range(5):
        a, b = mp.Pipe()
        sent = mp.Value("q", 0)
        process = start(count_for_ever, b, sent)
        b.close()
        assert a.poll(PATIENCE)
        kill(process)
        items = drained(a)
        assert items == list(range(len(items)))
        assert len(items) - sent.value in (0, 1)


def test_of_two_who_receive_one_dies(mp: Context, start: Start) -> None:
    """At most what it had in its hands is gone."""
    reader, writer = mp.Pipe(duplex=False)
    got = mp.Queue()
    receivers = [start(receive_for_ever, reader, got) for _ in range(2)]
    n = 2000
    for i in range(n):
        writer.send(i)
        if i == n // 2:
            kill(receivers[0])
    rest = []
    kill(receivers[1])
    writer.close()
    rest = drained(reader)
    taken = []
    while not got.empty():
        taken.append(got.get())
    assert len(set(taken) | set(rest)) == len(taken) + len(rest)
    assert n - len(taken) - len(rest) in (0, 1, 2)


def test_a_receiver_killed_while_it_waits(mp: Context, start: Start) -> None:
    reader, writer = mp.Pipe(duplex=False)
    process = start(drained, reader)
    process.join(SHORT)
    kill(process)
    writer.send("for the next")
    writer.close()
    assert drained(reader) == ["for the next"]
    reader.close()


def test_nobody_is_left_to_receive(mp: Context, start: Start) -> None:
    reader, writer = mp.Pipe(duplex=False)
    process = start(drained, reader)
    reader.close()
    writer.send([b"x" * 100_000])
    kill(process)
    with pytest.raises(BrokenPipeError):
        writer.send(1)


def test_an_end_on_its_way_from_one_who_is_killed(mp: Context, start: Start) -> None:
    """What it had put arrives, the end with it."""
    a, b = mp.Pipe()
    q, done = mp.Queue(), mp.Event()

    def put_and_stay() -> None:
        q.put(b)
        done.set()
        mp.Event().wait(PATIENCE)

    process = start(put_and_stay)
    assert done.wait(PATIENCE)
    b.close()
    kill(process)
    assert not a.poll(SHORT)
    q.get().send(1)
    assert drained(a) == [1]


def test_one_who_waits_for_several_is_killed(mp: Context, start: Start) -> None:
    """It leaves nothing that disturbs others."""
    q, r = mp.Queue(), mp.Queue()
    for _ in range(3):
        process = start(mp.wait, [q, r, mp.Event()])
        process.join(SHORT)
        kill(process)
        q.put(1)
        assert mp.wait([r, q], PATIENCE) == [q]
        assert q.get() == 1


def test_waiting_for_a_lock_whose_holder_is_killed(mp: Context, start: Start) -> None:
    lock, held = mp.Lock(), mp.Event()

    def hold() -> None:
        lock.acquire()
        held.set()
        mp.Event().wait(PATIENCE)

    process = start(hold)
    assert held.wait(PATIENCE)
    waiting = mp.Thread(target=mp.wait, args=([mp.Queue(), lock], PATIENCE))
    waiting.start()
    waiting.join(SHORT)
    kill(process)
    (ready,) = waiting.result(PATIENCE)
    assert ready is lock
    with pytest.raises(allcores.OwnerDied):
        lock.acquire()


@pytest.mark.lacks("cluster")  # a connection there is no descriptor
def test_a_fork_has_the_ends_too(mp: Context) -> None:
    """Also one that nobody of ours is the parent of; and what it shows a selector is its own."""
    a, b = mp.Pipe()
    fd = b.fileno()
    pid = os.fork()
    if pid == 0:
        try:
            a.close()
            assert b.recv() == "go"
            assert not select.select([b], [], [], 0)[0]
            b.send("from the fork")
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert fd == b.fileno()
    b.close()
    a.send("go")
    assert a.recv() == "from the fork"
    assert drained(a) == []
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    a.close()
