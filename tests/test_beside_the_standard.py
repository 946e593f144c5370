"""The standard library's multiprocessing beside this package: one key, one name, and whose objects go where."""

import concurrent.futures
import gc
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_sharer
import multiprocessing.resource_tracker
import multiprocessing.sharedctypes
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import allcores

PATIENCE = 30.0
# The standard opens memory for its values once, and keeps it.
KEPT = multiprocessing.sharedctypes.RawValue("i")


def run(code: str) -> str:
    """What a program of its own prints, in which nothing was imported yet."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def result_of(target: Any, *args: Any) -> Any:
    p = allcores.Process(target=target, args=args)
    p.start()
    try:
        return p.result(PATIENCE)
    finally:
        p.close()


# One key, one name.


def keys() -> tuple[bytes, bytes]:
    return bytes(allcores.current_process().authkey), bytes(multiprocessing.current_process().authkey)


def test_one_key_for_all_processes() -> None:
    mine = keys()
    assert len(mine[0]) == 32
    assert mine == result_of(keys) == result_of(lambda: result_of(keys))
    assert bytes(allcores.Process().authkey) == mine[0]


def test_one_key_where_the_standard_is_imported_late() -> None:
    """First by a child, then by a child's child, and last by the program itself."""
    assert (
        run(
            "import sys, allcores as mp\n"
            "def key(depth):\n"
            "    me, before = mp.current_process(), 'multiprocessing' in sys.modules\n"
            "    below = []\n"
            "    if depth: p = mp.Process(target=key, args=(depth - 1,)); p.start(); below = p.result()\n"
            "    import multiprocessing\n"
            "    theirs = multiprocessing.current_process()\n"
            "    assert bytes(theirs.authkey) == bytes(me.authkey) and theirs.name == me.name, theirs\n"
            "    assert multiprocessing.parent_process() is mp.parent_process()\n"
            "    return [(bytes(theirs.authkey), before), *below]\n"
            "found = key(2)\n"
            "print(len({each for each, _ in found}), [before for _, before in found])\n"
        )
        == "1 [False, False, False]\n"
    )


def test_a_key_that_is_set() -> None:
    p = allcores.Process(target=keys)
    p.authkey = b"its own"
    p.start()
    assert p.result(PATIENCE) == (b"its own", b"its own")
    assert p.authkey == b"its own"
    p.close()
    assert (
        run(
            "import allcores as mp\n"
            "mp.current_process().authkey = b'ours'\n"
            "import multiprocessing; print(multiprocessing.current_process().authkey)\n"
            "multiprocessing.current_process().authkey = b'theirs'\n"
            "p = mp.Process(target=lambda: bytes(mp.current_process().authkey)); p.start(); print(p.result())\n"
        )
        == "b'ours'\nb'theirs'\n"
    )


def test_the_key_refuses_to_be_pickled() -> None:
    with pytest.raises(TypeError, match="disallowed for security reasons"):
        pickle.dumps(allcores.current_process().authkey)


def test_imports_of_the_standard_go_on_as_ever() -> None:
    code = (
        "import sys, allcores as mp\n"
        "def spec():\n"
        "    import multiprocessing.process as theirs\n"
        "    ours = [f for f in sys.meta_path if 'allcores' in type(f).__module__ and f._wanted(theirs.__name__)]\n"
        "    return type(theirs.__spec__.loader).__name__, ours\n"
        "p = mp.Process(target=spec); p.start(); print(p.result())\n"
    )
    assert run(code) == "('SourceFileLoader', [])\n"


# The standard's objects in a Process of ours.


@pytest.fixture(autouse=True)
def no_tracker() -> Iterator[None]:
    """The process of the standard's that knows the names of its semaphores ends with the test."""
    yield
    gc.collect()
    multiprocessing.resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@pytest.fixture
def no_sharer() -> Iterator[None]:
    """The thread of the standard's that hands out descriptors ends with the test."""
    yield
    multiprocessing.resource_sharer.stop(PATIENCE)


def send_back(conn: Any, what: Any) -> None:
    conn.send((os.getpid(), what))
    conn.close()


def test_a_connection() -> None:
    ours, theirs = multiprocessing.Pipe()
    p = allcores.Process(target=send_back, args=(theirs, "hello"))
    p.start()
    theirs.close()
    assert ours.poll(PATIENCE)
    assert ours.recv() == (p.pid, "hello")
    with pytest.raises(EOFError):  # no other process has that end
        ours.recv()
    p.join()
    p.close()
    ours.close()


def test_many_descriptors_each_as_itself() -> None:
    pairs = [socket.socketpair() for _ in range(20)]
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(20)]

    def answer(sockets: list[socket.socket], writers: list[Any]) -> None:
        for i, (sock, writer) in enumerate(zip(sockets, writers, strict=True)):
            sock.sendall(b"%d" % i)
            writer.send(i)

    p = allcores.Process(target=answer, args=([b for _, b in pairs][::-1], [w for _, w in pipes]))
    p.start()
    p.result(PATIENCE)
    p.close()
    assert [a.recv(9) for a, _ in pairs] == [b"%d" % i for i in range(20)][::-1]
    assert [r.recv() for r, _ in pipes] == list(range(20))
    ends: list[Any] = [end for each in (*pairs, *pipes) for end in each]
    for end in ends:
        end.close()


def test_the_child_has_no_descriptor_beside(tmp_path: Any) -> None:
    def there() -> list[str]:
        return sorted(os.listdir("/proc/self/fd"))

    plain = result_of(there)
    a, b = socket.socketpair()
    with a, b:
        assert len(result_of(lambda sock: there(), b)) == len(plain) + 1


def test_a_socket_where_the_standard_is_not_loaded() -> None:
    code = (
        "import socket, sys, allcores as mp\n"
        "a, b = socket.socketpair()\n"
        "p = mp.Process(target=lambda s: s.sendall(b'hello'), args=(b,)); p.start(); p.result(); b.close()\n"
        "print(a.recv(9), a.recv(9), 'multiprocessing' in sys.modules)\n"
    )
    assert run(code) == "b'hello' b'' False\n"


def test_a_socket_through_a_queue(no_sharer: None) -> None:
    q = allcores.Queue()
    a, b = socket.socketpair()
    p = allcores.Process(target=lambda: q.get().sendall(b"hello"))
    p.start()
    with a:
        with b:
            q.put(b)
            p.result(PATIENCE)
        assert a.recv(9) == b"hello"
    p.close()


class Sealed:
    """Refuses to be pickled by itself."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __reduce__(self) -> Any:
        raise TypeError("not so")


def test_what_is_registered_with_the_standards_pickler(monkeypatch: pytest.MonkeyPatch) -> None:
    registered = multiprocessing.reduction.ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    monkeypatch.setitem(registered, Sealed, lambda sealed: (Sealed, (sealed.what + 1,)))
    assert result_of(lambda sealed: sealed.what, Sealed(1)) == 2
    queue = allcores.Queue()
    queue.put([Sealed(5)])
    assert queue.get()[0].what == 6
    monkeypatch.setitem(registered, Sealed, lambda sealed: (Sealed, (sealed.what + 10,)))
    queue.put(Sealed(5))
    assert queue.get().what == 15
    allcores.reducer.register(Sealed, lambda sealed: (Sealed, (sealed.what + 100,)))
    queue.put(Sealed(5))
    assert queue.get().what == 105


def test_what_torch_has_registered_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def share(sealed: Sealed) -> Any:
        return Sealed, (0,)

    share.__module__ = "torch.multiprocessing.reductions"
    registered = multiprocessing.reduction.ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    monkeypatch.setitem(registered, Sealed, share)
    with pytest.raises(allcores.UnpicklableError, match="not so"):
        allcores.Queue().put(Sealed(1))


def use(lock: Any, event: Any, queue: Any, value: Any) -> None:
    with lock:
        value.value += 1
    event.set()
    queue.put(os.getpid())
    queue.close()
    queue.join_thread()


def test_locks_queues_and_values_of_a_context_that_does_not_fork() -> None:
    ctx = multiprocessing.get_context("spawn")
    lock, event, queue, value = ctx.Lock(), ctx.Event(), ctx.Queue(), ctx.Value("i", 41)
    p = allcores.Process(target=use, args=(lock, event, queue, value))
    p.start()
    assert queue.get(timeout=PATIENCE) == p.pid
    p.result(PATIENCE)
    assert event.is_set()
    assert value.value == 42
    p.close()
    queue.close()


def test_what_the_standard_can_only_inherit_says_so() -> None:
    lock = multiprocessing.get_context("fork").Lock()
    with pytest.raises(RuntimeError, match="created in a fork context"):
        allcores.Process(target=use, args=(lock,)).start()


def test_a_death_at_the_start_leaves_nothing_open() -> None:
    a, b = socket.socketpair()

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    p = allcores.Process(target=lambda sock: die(), args=(b,))
    p.start()
    b.close()
    assert a.recv(9) == b""
    p.join()
    assert p.exitcode == -signal.SIGKILL
    p.close()
    a.close()


# Ours in a Process of the standard's.


def put(queue: Any, lock: Any, value: Any) -> None:
    with lock:
        value.add(1)
        queue.put(os.getpid())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_ours_in_a_process_of_the_standards(method: str) -> None:
    queue, lock, value = allcores.Queue(), allcores.Lock(), allcores.Value("i", 41)
    ctx: Any = multiprocessing.get_context(method)
    p = ctx.Process(target=put, args=(queue, lock, value))
    p.start()
    assert queue.get(timeout=PATIENCE) == p.pid
    p.join(PATIENCE)
    assert (p.exitcode, value.value) == (0, 42)
    p.close()


def hold(lock: Any, queue: Any) -> None:
    lock.acquire()
    queue.put(os.getpid())
    signal.pause()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_the_standards_dies_with_our_lock(method: str) -> None:
    queue, lock = allcores.Queue(), allcores.Lock()
    ctx: Any = multiprocessing.get_context(method)
    p = ctx.Process(target=hold, args=(lock, queue))
    p.start()
    assert queue.get(timeout=PATIENCE) == p.pid
    p.kill()
    with pytest.raises(allcores.OwnerDied, match=str(p.pid)):
        lock.acquire(timeout=PATIENCE)
    p.join()
    p.close()


class Starts:
    """Starts a process while it is pickled, and has a socket behind that."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def __reduce__(self) -> Any:
        assert result_of(int) == 0
        return list, ((self.end,),)


def test_a_process_is_started_while_another_is_pickled() -> None:
    """What the other sends along goes with it all the same, and by no thread of the standard's."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(PATIENCE)
        result_of(lambda ends: ends[0].send(b"told"), Starts(there))
        assert here.recv(9) == b"told"
    sharer: Any = multiprocessing.resource_sharer
    assert sharer._resource_sharer._listener is None


# A ProcessPoolExecutor of the standard's over a context of ours.


@pytest.mark.parametrize("method", ["spawn", "forkserver", None])
def test_a_process_pool_executor_of_the_standards(method: str | None) -> None:
    ctx: Any = allcores.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=ctx, initializer=os.chdir, initargs=("/",)) as executor:
        assert list(executor.map(pow, range(20), [2] * 20)) == [i * i for i in range(20)]
        assert executor.submit(os.getcwd).result(PATIENCE) == "/"
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(PATIENCE)
        workers = list(executor._processes.values())
        assert all(isinstance(worker, allcores.Process) for worker in workers)
    for worker in workers:
        worker.close()


def test_its_workers_may_die() -> None:
    ctx: Any = allcores.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=ctx) as executor:
        future = executor.submit(os._exit, 1)
        (worker,) = executor._processes.values()
        with pytest.raises(concurrent.futures.process.BrokenProcessPool):
            future.result(PATIENCE)
    worker.close()


MAIN = """
import allcores
from concurrent.futures import ProcessPoolExecutor
def square(x):
    return x * x
with ProcessPoolExecutor(1, mp_context=allcores.get_context("spawn")) as executor:
    print(*executor.map(square, range(4)))
"""


@pytest.mark.parametrize("as_module", [True, False])
def test_it_finds_functions_of_main(tmp_path: Path, as_module: bool) -> None:
    guarded = MAIN.replace("with ", "if __name__ == '__main__':\n  with ")
    (tmp_path / "a_main.py").write_text(guarded)
    command = ["-m", "a_main"] if as_module else ["a_main.py"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 1 4 9\n", "")


def test_a_main_that_would_run_again_in_it_fails(tmp_path: Path) -> None:
    (tmp_path / "a_main.py").write_text(MAIN)
    done = subprocess.run([sys.executable, "a_main.py"], capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "BrokenProcessPool" in done.stderr
    assert "bootstrapping phase" in done.stderr


@pytest.mark.parametrize("imported_first", [True, False])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_log_records_name_the_process(method: str, imported_first: bool) -> None:
    code = f"""
{"import logging" if imported_first else ""}
import allcores
def job(nested):
    import logging, sys
    made = logging.makeLogRecord({{}}), logging.getLogger("x").makeRecord("x", 20, "f", 1, "told", (), None)
    names = [record.processName for record in made]
    if nested:
        p = context.Process(target=job, args=(False,), name="inner")
        p.start()
        names += p.result()
    allcores.current_process().name += " again"
    names.append(logging.makeLogRecord({{}}).processName)
    assert "multiprocessing" not in sys.modules
    return names
context = allcores.get_context({method!r})
p = context.Process(target=job, args=(True,), name="outer")
p.start()
print(*p.result())
import logging
print(logging.makeLogRecord({{}}).processName, logging.getLogRecordFactory() is logging.LogRecord)
"""
    assert run(code) == "outer outer inner inner inner again outer again\nMainProcess True\n"
