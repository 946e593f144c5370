"""JoinableQueue: which items are not done, who joins, and consumers that end with items in their hands."""

import os
import queue
import signal
from collections.abc import Callable

import pytest

import allcores
from allcores import errors

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Start = Callable[..., Handle]


def take_and_finish(q: Handle, n: int) -> None:
    for _ in range(n):
        q.get(timeout=PATIENCE)
        q.task_done()


def take_only(q: Handle, n: int) -> None:
    for _ in range(n):
        q.get(timeout=PATIENCE)


def take_and_die(q: Handle, n: int) -> None:
    take_only(q, n)
    os.kill(os.getpid(), signal.SIGKILL)


def take_and_wait(q: Handle, n: int, took: Handle, gate: Handle) -> None:
    take_only(q, n)
    took.release()
    gate.wait()


def put_and_join(q: Handle, n: int, joining: Handle) -> str:
    jobs.put_all(q, range(n))
    joining.release()
    try:
        q.join()
    except allcores.ConsumerDied as error:
        return f"{error.pid}: {error.items}"
    return "joined"


def test_join_of_an_empty_queue_returns_at_once(mp: Context) -> None:
    mp.JoinableQueue().join()


def test_put_get_done_join(mp: Context) -> None:
    q = mp.JoinableQueue(maxsize=5)
    for turn in range(3):
        jobs.put_all(q, range(5))
        with pytest.raises(queue.Full):
            q.put_nowait(turn)
        assert [q.get() for _ in range(5)] == list(range(5))
        for _ in range(5):
            q.task_done()
        q.join()
        q.join()


def test_without_maxsize_put_never_blocks(mp: Context) -> None:
    q = mp.JoinableQueue()
    for i in range(2_000):
        q.put(i, timeout=0)
    take_and_finish(q, 2_000)
    q.join()


def test_task_done_too_many_times(mp: Context) -> None:
    q = mp.JoinableQueue()
    with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
        q.task_done()
    q.put(1)
    q.get()
    q.task_done()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()
    q.join()


def test_done_before_it_was_taken(mp: Context) -> None:
    """As the standard counts: an item is unfinished from its put on."""
    q = mp.JoinableQueue()
    q.put("a")
    q.task_done()
    q.join()
    assert q.get() == "a"
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()
    q.put("b")
    assert q.statistics().unfinished == 1
    assert q.get() == "b"
    q.task_done()
    q.join()


def test_statistics(mp: Context) -> None:
    q = mp.JoinableQueue(10, max_bytes=1_000_000)
    jobs.put_all(q, ["abc"] * 3)
    q.get()
    seen = q.statistics()
    assert (seen.items, seen.maxsize, seen.max_bytes) == (2, 10, 1_000_000)
    assert (seen.bytes, seen.unfinished, seen.in_hands, seen.lost) == (6, 3, 1, 0)
    q.task_done()
    assert (q.statistics().unfinished, q.statistics().in_hands) == (2, 0)


def test_workers_take_and_join_waits_for_them(mp: Context, start: Start, place: Place) -> None:
    q = mp.JoinableQueue()
    jobs.put_all(q, range(400))
    workers = [start(take_and_finish, q, 100) for _ in range(4)]
    q.join()
    assert q.empty()
    assert q.statistics().unfinished == 0
    for p in workers:
        p.join(PATIENCE)
        assert p.exitcode == 0


@pytest.mark.needs("parallel")
def test_many_to_many_with_a_bound(mp: Context, start: Start) -> None:
    q = mp.JoinableQueue(3, max_bytes=100)
    consumers = [start(take_and_finish, q, 300) for _ in range(3)]
    producers = [start(jobs.put_all, q, [b"x" * (i % 90) for i in range(300)]) for _ in range(3)]
    for p in producers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    q.join()
    for p in consumers:
        p.join(PATIENCE)
        assert p.exitcode == 0
    assert (q.statistics().items, q.statistics().bytes, q.statistics().in_hands) == (0, 0, 0)


@pytest.mark.needs("parallel")
def test_join_waits_for_what_is_in_hands(mp: Context, start: Start) -> None:
    q, joining = mp.JoinableQueue(), mp.Semaphore(0)
    p = start(put_and_join, q, 2, joining)
    assert joining.acquire(timeout=PATIENCE)
    assert (q.get(timeout=PATIENCE), q.get(timeout=PATIENCE)) == (0, 1)
    q.task_done()
    p.join(0.05)
    assert p.is_alive()
    q.task_done()
    assert p.result(PATIENCE) == "joined"


@pytest.mark.needs("parallel")
def test_another_may_mark_it_done(mp: Context, start: Start) -> None:
    """One takes an item and passes it on; who does the work says so."""
    q, passed, gate, took = mp.JoinableQueue(), mp.Queue(), mp.Event(), mp.Semaphore(0)
    q.put("job")
    p = start(take_and_wait, q, 1, took, gate)
    assert took.acquire(timeout=PATIENCE)
    passed.put("job")
    q.task_done()
    q.join()
    gate.set()
    p.join(PATIENCE)
    q.join()


def test_a_worker_that_ended_with_items_in_its_hands(mp: Context, start: Start) -> None:
    q = mp.JoinableQueue()
    jobs.put_all(q, range(3))
    p = start(take_only, q, 2)
    p.join(PATIENCE)
    for _ in range(2):
        with pytest.raises(allcores.ConsumerDied, match=rf"process {p.pid} .* with 2 items .*recover\(\)") as raised:
            q.join()
        assert (raised.value.pid, raised.value.items, raised.value.name) == (p.pid, 2, p.name)
        assert raised.value.consumers == [errors.LostItems(p.pid, p.name, 2)]
    seen = q.statistics()
    assert (seen.items, seen.unfinished, seen.in_hands, seen.lost) == (1, 3, 2, 2)
    assert q.recover() == 2
    assert q.recover() == 0
    take_and_finish(q, 1)
    q.join()
    with pytest.raises(ValueError, match="too many times"):
        q.task_done()


def test_done_by_another_after_its_end(mp: Context, start: Start) -> None:
    q = mp.JoinableQueue()
    q.put(1)
    start(take_only, q, 1).join(PATIENCE)
    q.task_done()
    q.join()
    assert q.recover() == 0


@pytest.mark.needs("copies")
def test_an_item_that_cannot_be_unpickled_was_taken(mp: Context) -> None:
    q = mp.JoinableQueue()
    q.put(jobs.Grudging("the item"))
    with pytest.raises(ValueError, match="cannot be rebuilt"):
        q.get()
    assert q.statistics().in_hands == 1
    q.task_done()
    q.join()


@pytest.mark.needs("copies")
def test_what_cannot_be_sent_is_no_item(mp: Context) -> None:
    q = mp.JoinableQueue()
    with pytest.raises(TypeError, match="pickle"):
        q.put(jobs.Unpicklable("no").lock)
    q.join()
    assert q.statistics().unfinished == 0


@pytest.mark.needs("kills")
def test_a_join_ends_when_a_consumer_is_killed(mp: Context, start: Start) -> None:
    q, took, joining, gate = mp.JoinableQueue(), mp.Semaphore(0), mp.Semaphore(0), mp.Event()
    victim = start(take_and_wait, q, 2, took, gate)
    waits = start(put_and_join, q, 3, joining)
    assert took.acquire(timeout=PATIENCE)
    assert joining.acquire(timeout=PATIENCE)
    victim.kill()
    assert waits.result(PATIENCE) == f"{victim.pid}: 2"
    take_and_finish(q, 1)
    assert q.recover() == 2
    q.join()


@pytest.mark.needs("kills")
def test_a_consumer_that_let_go_of_the_queue_is_missed_as_well(mp: Context, start: Start) -> None:
    took, gate, joining = mp.Semaphore(0), mp.Event(), mp.Semaphore(0)

    def take_and_forget(arrives: Handle) -> None:
        arrives.get().get()
        took.release()
        gate.wait()

    q, sends = mp.JoinableQueue(), mp.Queue()
    sends.put(q)
    victim = start(take_and_forget, sends)
    waits = start(put_and_join, q, 1, joining)
    assert took.acquire(timeout=PATIENCE)
    assert joining.acquire(timeout=PATIENCE)
    victim.kill()
    assert waits.result(PATIENCE) == f"{victim.pid}: 1"


@pytest.mark.needs("kills")
def test_consumers_that_die_one_after_the_other(mp: Context, start: Start) -> None:
    """They have the same slot in the table of processes: what each of them took is still counted."""
    q = mp.JoinableQueue()
    jobs.put_all(q, range(12))
    for n in range(1, 5):
        p = start(take_and_die, q, n)
        p.join(PATIENCE)
        with pytest.raises(allcores.ConsumerDied) as raised:
            q.join()
        assert sum(each.items for each in raised.value.consumers) == n * (n + 1) // 2
        assert p.pid in {each.pid for each in raised.value.consumers}
    assert q.recover() == 10
    take_and_finish(q, 2)
    q.join()


@pytest.mark.needs("kills")
def test_a_producer_killed_in_put_leaves_nothing_unfinished(mp: Context, start: Start) -> None:
    q = mp.JoinableQueue(4)

    def put_for_ever() -> None:
        while True:
            q.put(b"x" * 5_000)

    for _ in range(5):
        victim = start(put_for_ever)
        take_and_finish(q, 20)
        victim.kill()
        victim.join(PATIENCE)
        while not q.empty():
            take_and_finish(q, 1)
        q.join()
    assert q.statistics().in_hands == 0
    jobs.put_all(q, range(4))
    assert q.full()


@pytest.mark.needs("kills")
def test_consumers_killed_at_any_moment(mp: Context, place: Place, start: Start) -> None:
    """Every item is either done, or still in the queue, or named by the error."""
    q, done, progress = mp.JoinableQueue(), mp.Value("i", 0), mp.Semaphore(0)

    def consume() -> None:
        while True:
            q.get()
            q.task_done()
            done.add(1)
            progress.release()

    some = place.some(1_000) * (4 if place.cluster else 1)
    for _ in range(8):
        jobs.put_all(q, range(some))
        before = done.value
        victim = start(consume)
        for _ in range(some // 10):
            assert progress.acquire(timeout=PATIENCE)
        victim.kill()
        victim.join(PATIENCE)
        while progress.acquire(block=False):
            pass
        left = q.qsize()
        take_and_finish(q, left)
        lost = q.recover()
        assert lost <= 1
        q.join()
        assert left + lost + done.value - before in (some - 1, some)  # killed between task_done() and its being noted
