"""Managers: the same in all contexts. Their objects live in a process of their own where workers are processes."""

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import allcores
from allcores import managers

from .kit import PATIENCE, Context, Handle, Place

pytestmark = pytest.mark.lacks("cluster")  # a manager is a process of one machine


def fill(things: Any, names: Any, numbers: Any) -> None:
    things.append(len(things))
    names["child"] = os.getpid()
    numbers.n += 1


def test_objects_are_shared(mp: Context, start: Callable[..., Handle]) -> None:
    with mp.Manager() as manager:
        things, names, numbers = manager.list([7]), manager.dict(), manager.Namespace(n=1)
        start(fill, things, names, numbers).join()
        assert list(things) == [7, 1]
        assert list(names.keys()) == ["child"]
        assert numbers.n == 2
        value, array = manager.Value("i", 3), manager.Array("d", [1, 2])
        value.value += 1
        assert value.value == 4
        assert array[1] == 2.0


def hold(lock: Any, told: Any) -> None:
    with lock:
        told.put("held")


@pytest.mark.parametrize("kind", ["Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition"])
def test_what_waits(mp: Context, start: Callable[..., Handle], kind: str) -> None:
    with mp.Manager() as manager:
        told = manager.Queue()
        start(hold, getattr(manager, kind)(), told).join()
        assert told.get() == "held"
        with pytest.raises(queue.Empty):
            told.get(block=False)


def test_events_and_barriers(mp: Context) -> None:
    with mp.Manager() as manager:
        event = manager.Event()
        event.set()
        assert event.wait(0)
        assert manager.Barrier(1).wait() == 0


def test_a_pool_in_the_manager(mp: Context) -> None:
    with mp.Manager() as manager, manager.Pool(2) as pool:
        assert pool.map(abs, [-1, 2]) == [1, 2]
        assert pool.apply_async(abs, (-3,)).get() == 3
        assert list(pool.imap(abs, [-4])) == [4]


class Counter:
    def __init__(self, n: int) -> None:
        self.n = n

    def up(self) -> int:
        self.n += 1
        return self.n


class Mine(managers.BaseManager):
    Counter: Any


Mine.register("Counter", Counter)


def test_a_manager_of_ones_own(mp: Context, start: Callable[..., Handle]) -> None:
    with Mine(ctx=mp) as manager:
        counter = manager.Counter(5)
        assert start(counter.up).result() == 6
        assert counter.up() == 7


def test_what_it_has_made_is_gone_with_it(mp: Context) -> None:
    manager = managers.SharedMemoryManager(ctx=mp)
    manager.start()
    memory, values = manager.SharedMemory(10), manager.ShareableList([1, "two"])
    assert (values[0], values[1]) == (1, "two")
    memory.close()
    values.shm.close()
    manager.shutdown()
    for name in (memory.name, values.shm.name):
        assert not Path("/dev/shm", name).exists()


def test_not_before_it_is_started_nor_after(mp: Context) -> None:
    manager = Mine(ctx=mp)
    with pytest.raises(AssertionError):
        manager.Counter(1)
    with pytest.raises(TypeError, match="callable"):
        manager.start(initializer=1)  # type: ignore[arg-type]
    manager.start()
    with pytest.raises(allcores.ProcessError, match="Already started"):
        manager.start()
    manager.shutdown()
    manager.join()
    with pytest.raises(allcores.ProcessError, match="shut down"):
        manager.start()
    with pytest.raises(AssertionError):
        manager.Counter(1)


def refuse() -> None:
    raise LookupError("not like this")


def test_an_initializer_that_fails_is_told(mp: Context) -> None:
    with pytest.raises(LookupError, match="not like this"):
        managers.SyncManager(ctx=mp).start(refuse)


@pytest.mark.lacks("parallel")
def test_what_nobody_could_put_is_not_waited_for(mp: Context) -> None:
    with mp.Manager() as manager:
        with pytest.raises(allcores.WouldBlockForever):
            manager.Queue().get()
        lock = manager.Lock()
        lock.acquire()
        with pytest.raises(allcores.WouldBlockForever):
            lock.acquire()


@pytest.mark.needs("kills")
def test_a_manager_that_is_killed(mp: Context) -> None:
    manager = mp.Manager()
    things = manager.list([1])
    os.kill(manager._process.pid, signal.SIGKILL)
    manager._process.join()
    with pytest.raises((EOFError, ConnectionError)):
        things.append(2)
    with pytest.raises((EOFError, ConnectionError, FileNotFoundError)):
        manager.list()
    manager.shutdown()


def wait_in_it(things: Any, told: Any) -> None:
    told.put(None)
    things.get()


@pytest.mark.needs("kills")
def test_a_client_that_is_killed_leaves_the_manager(mp: Context, start: Callable[..., Handle]) -> None:
    with mp.Manager() as manager:
        things, told = manager.Queue(), manager.Queue()
        client = start(wait_in_it, things, told)
        told.get()
        client.kill()
        client.join()
        assert manager.list([1])[0] == 1


PROGRAM = """
import os, signal, sys, allcores
def outer(told):
    manager = allcores.Manager()
    told.put((manager._process.pid, manager.list([1])[0]))
if __name__ == "__main__":
    told = allcores.Queue()
    child = allcores.Process(target=outer, args=(told,))
    child.start()
    manager = allcores.Manager()
    things = manager.list()
    pid, one = told.get()
    child.join()
    print(pid, manager._process.pid, one, child.exitcode, flush=True)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def has_ended(pid: int) -> bool:
    """Whether that manager is gone, in time; who buries it is another question, and another may have its number."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        another: bool = not Path(f"/proc/{pid}/comm").read_text().startswith("SyncManager")
        return another or bool(allcores.wait([pidfd], PATIENCE))
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("how", ["end", "die"])
def test_managers_end_with_who_made_them(how: str, tmp_path: Path) -> None:
    """One that was made in a child ends with that; the program's own with the program, however it ends."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, script, how],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    *pids, one, code = map(int, done.stdout.split())
    assert (one, code, done.stderr) == (1, 0, "")
    assert all(has_ended(pid) for pid in pids)
    if how == "end":
        assert os.listdir(tmp_path) == ["program.py"]  # nor the folder of its socket


def test_the_place_of_a_manager(mp: Context, place: Place) -> None:
    with mp.Manager() as manager:
        assert isinstance(manager, managers.SyncManager)
        assert (manager.address is None) == (not place.copies)
