"""Where nothing runs beside the caller: what only another could do later raises WouldBlockForever."""

import queue
from collections.abc import Callable

import pytest

import allcores

from . import jobs
from .kit import SHORT, Context, Handle

pytestmark = pytest.mark.lacks("parallel")


def test_start_runs_to_the_end(mp: Context) -> None:
    seen: list[int] = []
    for kind in (mp.Process, mp.Thread):
        kind(target=seen.append, args=(1,)).start()
    assert seen == [1, 1]


def test_pool_runs_each_call_when_it_is_submitted(mp: Context) -> None:
    seen: list[int] = []
    with mp.Pool(4) as pool:
        result = pool.apply_async(seen.append, (1,))
        assert seen == [1]
        assert result.ready()
        pool.map_async(seen.append, [2, 3])
        assert seen == [1, 2, 3]


def test_get_from_an_empty_queue(mp: Context) -> None:
    q = mp.Queue()
    with pytest.raises(allcores.WouldBlockForever, match="empty"):
        q.get()
    with pytest.raises(queue.Empty):
        q.get(timeout=SHORT)


def test_put_into_a_full_queue(mp: Context) -> None:
    q = mp.Queue(1)
    q.put(1)
    with pytest.raises(allcores.WouldBlockForever, match="full"):
        q.put(2)
    with pytest.raises(queue.Full):
        q.put(2, timeout=SHORT)
    assert q.get() == 1


def test_put_of_more_bytes_than_may_wait(mp: Context) -> None:
    q = mp.Queue(max_bytes=10)
    q.put(b"x" * 8)
    with pytest.raises(allcores.WouldBlockForever, match="full"):
        q.put(b"x" * 3)
    q.put(b"xx")


def test_join_of_a_queue_with_unfinished_items(mp: Context) -> None:
    q = mp.JoinableQueue()
    q.put(1)
    with pytest.raises(allcores.WouldBlockForever, match="1 unfinished"):
        q.join()
    q.get()
    q.task_done()
    q.join()


@pytest.mark.parametrize("kind", ["Lock", "Semaphore", "BoundedSemaphore"])
def test_acquire_of_what_is_held(mp: Context, kind: str) -> None:
    lock = getattr(mp, kind)()
    lock.acquire()
    with pytest.raises(allcores.WouldBlockForever):
        lock.acquire()
    assert lock.acquire(timeout=SHORT) is False
    assert lock.acquire(block=False) is False
    lock.release()
    assert lock.acquire() is True


def test_wait_for_an_event_nobody_will_set(mp: Context) -> None:
    event = mp.Event()
    with pytest.raises(allcores.WouldBlockForever):
        event.wait()
    assert event.wait(SHORT) is False
    event.set()
    assert event.wait() is True


def test_in_a_worker_it_is_the_workers_error(mp: Context, start: Callable[..., Handle]) -> None:
    p = start(jobs.get_until_none, mp.Queue())
    assert p.exitcode == 1
    with pytest.raises(allcores.WouldBlockForever):
        p.result()
