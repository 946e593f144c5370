"""SimpleQueue: put, get, empty and close."""

from collections.abc import Callable

import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle

Start = Callable[..., Handle]


def test_first_in_first_out(mp: Context) -> None:
    q = mp.SimpleQueue()
    assert q.empty()
    for i in range(1000):
        q.put(i)
    assert not q.empty()
    assert [q.get() for _ in range(1000)] == list(range(1000))
    assert q.empty()


def test_it_takes_no_limit(mp: Context) -> None:
    make: Handle = mp.SimpleQueue
    with pytest.raises(TypeError):
        make(3)


def test_close(mp: Context) -> None:
    q = mp.SimpleQueue()
    q.put(1)
    q.close()
    q.close()
    with pytest.raises(ValueError, match="closed"):
        q.put(2)
    with pytest.raises(ValueError, match="closed"):
        q.get()


def test_what_a_worker_put_arrives_after_its_end(mp: Context, start: Start) -> None:
    q = mp.SimpleQueue()
    start(jobs.put_all, q, [b"x" * 1_000_000, None, 3]).join(PATIENCE)
    assert (len(q.get()), q.get(), q.get()) == (1_000_000, None, 3)


@pytest.mark.needs("parallel")
def test_a_put_wakes_a_get(mp: Context, start: Start) -> None:
    there, back = mp.SimpleQueue(), mp.SimpleQueue()

    def bounce() -> None:
        for item in iter(there.get, None):
            back.put(item + 1)

    p = start(bounce)
    for i in range(100):
        there.put(i)
        assert back.get() == i + 1
    there.put(None)
    p.join(PATIENCE)
    assert p.exitcode == 0


@pytest.mark.needs("kills")
def test_a_consumer_killed_in_get_takes_nothing_along(mp: Context, start: Start) -> None:
    q, ready = mp.SimpleQueue(), mp.Semaphore(0)

    def consume() -> None:
        ready.release()
        q.get()

    victim = start(consume)
    assert ready.acquire(timeout=PATIENCE)
    victim.kill()
    victim.join(PATIENCE)
    q.put("there")
    assert q.get() == "there"
