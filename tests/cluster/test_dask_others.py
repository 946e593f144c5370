"""A cluster of dask that was there before: by its address, over TLS, from several programs, on several hosts."""

import contextlib
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .hosts import two_hosts
from .programs import PATIENCE, begin, run

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


def dask(what: str, *args: str, before: Sequence[str] = ()) -> list[str]:
    return [*before, str(Path(sys.executable).with_name("dask")), what, *args]


@contextlib.contextmanager
def cluster(
    host: str,
    workers: int,
    tls: Sequence[str] = (),
    beside: Sequence[str] = (),
    away: Sequence[str] = (),
    at: str = "",
    nanny: bool = False,
) -> Iterator[str]:
    """A scheduler and its workers, started as dask's documentation has it: the address.

    Args:
        host: that of the scheduler.
        workers: how many.
        tls: options for that.
        beside: words of the command line in front of the scheduler's.
        away: those in front of the workers'.
        at: their host, if it is another.
        nanny: whether each has one, which starts another in its place.
    """
    common = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0", *tls)
    with contextlib.ExitStack() as stack:
        scheduler = start(stack, dask("scheduler", "--host", host, "--port", "0", *common, before=beside))
        address = find(scheduler, r"Scheduler at:\s+(\S+)")
        for _ in range(workers):
            options = ("--host", at or host, "--nthreads", "1", "--nanny" if nanny else "--no-nanny", *common)
            worker = start(stack, dask("worker", address, *options, before=away))
            find(worker, r"Registered to:\s+(\S+)")
        yield address


def start(stack: contextlib.ExitStack, command: list[str]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def find(process: "subprocess.Popen[str]", pattern: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(pattern, line)
        if found:
            return found[1]
    raise AssertionError("it has ended")


MAP_AND_LOCK = """
    import os, socket, sys, allcores
    mp = allcores.get_context("dask", address=sys.argv[1])
    lock, value = mp.Lock(), mp.Value("i", 0, lock=False)
    def job(x):
        with lock:
            value.value += 1
        return x * x
    with mp.Pool() as pool:
        assert pool.map(job, range(20), chunksize=1) == [x * x for x in range(20)]
        assert value.value == 20
        assert pool.apply(lambda: mp.Pool(1).map(abs, [-1])) == [1]
    p = mp.Process(target=lock.acquire)
    p.start()
    assert p.result(30) is True
"""


def test_a_cluster_by_its_address() -> None:
    with cluster("127.0.0.1", 2) as address:
        for _ in range(2):
            ended = run(MAP_AND_LOCK, address)
            assert ended.returncode == 0, ended.stderr


def test_an_overdue_item_ends_its_worker_if_a_nanny_starts_another() -> None:
    """With what it has started."""
    with cluster("127.0.0.1", 1, nanny=True) as address:
        ended = run(
            """
            import os, select, subprocess, sys, time, allcores
            mp = allcores.get_context("dask", address=sys.argv[1])
            queue = mp.Queue()
            def job():
                queue.put(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid)
                time.sleep(1000)
            with mp.Pool(1) as pool:
                result = pool.apply_async(job, timeout=3)
                started = os.pidfd_open(queue.get())
                try:
                    result.get()
                except allcores.TaskTimeout as error:
                    assert "3 s" in str(error)
                else:
                    raise SystemExit("no error")
                assert select.select([started], [], [], 30)[0]
                assert pool.apply(abs, (-1,)) == 1
            """,
            address,
        )
        assert ended.returncode == 0, ended.stderr


def test_a_cluster_whose_workers_come_later() -> None:
    with cluster("127.0.0.1", 0) as address, contextlib.ExitStack() as stack:
        program = begin(MAP_AND_LOCK, address)
        with program:
            start(stack, dask("worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"))
            assert program.wait(PATIENCE) == 0


HOLD = """
    import sys, time, allcores
    mp = allcores.get_context("dask", address=sys.argv[1])
    import pickle, base64
    lock, queue = mp.Lock(), mp.Queue()
    lock.acquire()
    p = mp.Process(target=time.sleep, args=(1000,))
    p.start()
    pool = mp.Pool(1)
    pool.apply(abs, (1,))
    print(base64.b64encode(pickle.dumps((lock, queue))).decode(), p.pid, flush=True)
    pool.apply(time.sleep, (1000,))
"""
TAKE = """
    import base64, os, pickle, sys, allcores
    mp = allcores.get_context("dask", address=sys.argv[1])
    mp.Lock()
    lock, queue = pickle.loads(base64.b64decode(sys.argv[2]))
    queue.put("hello")
    print("there", flush=True)
    try:
        lock.acquire()
    except allcores.OwnerDied as error:
        print("OwnerDied", flush=True)
    lock.recover()
    assert lock.acquire()
    assert queue.get(timeout=10) == "hello"
    lock.release()
    del lock, queue
    while mp._fleet().link.call(0, "counts") != (0, 0):  # a round trip each: what was posted is on its way
        pass
"""


def test_a_killed_program_leaves_nothing_to_the_others() -> None:
    with cluster("127.0.0.1", 2) as address, begin(HOLD, address) as first:
        assert first.stdout is not None
        handles, pid = first.stdout.readline().split()
        with begin(TAKE, address, handles) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "there\n"
            first.kill()
            assert second.stdout.readline() == "OwnerDied\n"
            assert second.wait(PATIENCE) == 0
        assert gone(int(pid))


def gone(pid: int) -> bool:
    """Whether a process has ended, or does so soon."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([ended], [], [], PATIENCE)[0])
    finally:
        os.close(ended)


def certificate(folder: Path) -> list[str]:
    """Options of dask for a key and a certificate of its own, just made."""
    key, made = str(folder / "key.pem"), str(folder / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return ["--tls-ca-file", made, "--tls-cert", made, "--tls-key", key]


SECURE = """
    import sys, distributed, allcores
    _, address, _, ca, _, cert, _, key = sys.argv
    security = distributed.Security(
        require_encryption=True, tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key,
        tls_scheduler_cert=cert, tls_scheduler_key=key, tls_worker_cert=cert, tls_worker_key=key,
    )
    mp = allcores.get_context("dask", address=address or None, security=security)
    q = mp.Queue()
    def inner(x):
        with mp.Pool(1) as pool:
            return pool.apply(abs, (x,))
    def put(x):
        q.put(inner(x))
    with mp.Pool(2) as pool:
        assert pool.map(inner, [-1, -2, -3], chunksize=1) == [1, 2, 3]
    p = mp.Process(target=put, args=(-5,))
    p.start()
    assert q.get(timeout=30) == 5
    p.join()
    assert mp._fleet().client.scheduler.address.startswith("tls://")
"""


def test_tls_to_a_cluster(tmp_path: Path) -> None:
    options = certificate(tmp_path)
    with cluster("127.0.0.1", 2, tls=[*options, "--protocol", "tls"]) as address:
        ended = run(SECURE, address, *options)
        assert ended.returncode == 0, ended.stderr
        ended = run("import sys, allcores\nallcores.get_context('dask', address=sys.argv[1]).Lock()", address)
        assert ended.returncode != 0


def test_tls_in_a_cluster_of_ones_own(tmp_path: Path) -> None:
    ended = run(SECURE, "", *certificate(tmp_path))
    assert ended.returncode == 0, ended.stderr


def test_two_hosts() -> None:
    with (
        two_hosts() as ((here, address), (there, other)),
        cluster(address, 2, beside=here, away=there, at=other) as scheduler,
    ):
        ended = run(MAP_AND_LOCK, scheduler, before=here)
    assert ended.returncode == 0, ended.stderr
