"""The ray context beyond the contract: deaths of each part, what listens, what stays. Each in a program of its own."""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

import allcores
from allcores.errors import UsageError

from .hosts import two_hosts
from .programs import PATIENCE, begin, run

pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@contextlib.contextmanager
def started(*options: str, before: Sequence[str] = ()) -> Iterator[str]:
    """A cluster, or a node of one, that was started by Ray's own means: the address of its head."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets in it must not have long names
    command = [*before, str(Path(sys.executable).parent / "ray"), "start", "--block", "--num-cpus=1", *options]
    command += ["--temp-dir", folder, "--disable-usage-stats"] if "--head" in options else []
    node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert node.stdout is not None
    said, address = [], ""
    for line in node.stdout:
        said.append(line)
        address = address or "".join(re.findall("--address='(.*)'", line))
        if "--block" in line:  # the last that it says
            break
    else:
        raise AssertionError("".join(said))
    try:
        yield address
    finally:
        family = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
        for each in family:
            each.kill()  # asked to end it would wait for half a minute
        node.communicate()
        psutil.wait_procs(family[:-1], timeout=PATIENCE)
        shutil.rmtree(folder)


def test_an_idle_worker_that_is_killed_is_replaced_and_its_lock_is_known_to_be_lost() -> None:
    ended = run(
        """
        import os, signal, allcores
        mp = allcores.get_context("ray")
        lock = mp.Lock()
        def take():
            lock.acquire()
            return os.getpid()
        with mp.Pool(1) as pool:
            first = pool.apply(take)
            os.kill(first, signal.SIGKILL)
            try:
                lock.acquire()
            except allcores.OwnerDied:
                pass
            else:
                raise SystemExit("no error")
            assert pool.apply(os.getpid) != first
        """
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("part", ["raylet", "gcs_server", "head"])
def test_a_killed_cluster_is_an_error_everywhere(part: str) -> None:
    ended = run(
        """
        import os, signal, sys, threading, time, allcores, psutil
        mp = allcores.get_context("ray")
        lock = mp.Lock()
        lock.acquire()
        with mp.Pool(2) as pool:
            result = pool.apply_async(time.sleep, (1000,))
            head = psutil.Process(mp._fleet().head.pid)
            pids = [head.pid] + [child.pid for child in head.children() if child.name() == sys.argv[1]]
            threading.Timer(1, os.kill, (pids[-1], signal.SIGKILL)).start()
            for wait in (result.get, lock.acquire, lambda: mp.Queue().get()):
                try:
                    wait()
                except allcores.errors.ClusterDied as error:
                    assert "Ray" in str(error)
                else:
                    raise SystemExit("no error")
            pool.terminate()
        """,
        part,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr


def test_sigterm_and_breakpoint_are_the_programs() -> None:
    ended = run(
        """
        import os, signal, allcores
        before = signal.getsignal(signal.SIGTERM)
        allcores.get_context("ray").Lock()
        assert signal.getsignal(signal.SIGTERM) == before
        assert "PYTHONBREAKPOINT" not in os.environ
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_the_options_of_a_context() -> None:
    with pytest.raises(UsageError, match="no option 'security'"):
        allcores.get_context("ray", security="tls")
    address = "127.0.0.1:1"
    assert allcores.get_context("ray", address=address) is allcores.get_context("ray", address=address)
    assert allcores.get_context("ray", address=address) is not allcores.get_context("ray", namespace="mine")


def test_an_endless_iterator_in_flat_memory() -> None:
    ended = run(
        """
        import itertools, time, psutil, allcores
        mp = allcores.get_context("ray")
        drawn = 0
        def items():
            global drawn
            for i in itertools.count():
                drawn += 1
                yield bytes([i % 256]) * 30_000
        def job(item):
            time.sleep(0.001)
            return len(item), item
        def memory():
            found = {}
            for each in [psutil.Process(), *psutil.Process(mp._fleet().head.pid).children()]:
                found[each.name(), each.pid] = each.memory_full_info().uss
            return found
        with mp.Pool(2) as pool:
            for taken, result in enumerate(pool.imap(job, items())):
                assert result == (30_000, bytes([taken % 256]) * 30_000)
                assert drawn - taken < 1000, (drawn, taken)
                if taken == 1000:
                    before = memory()
                if taken == 4000:
                    break
            after = memory()
        grown = {name: after[name] - before[name] for name in before}
        assert max(grown.values()) < 30 << 20, grown  # of 90 MB that went through
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_in_a_task_the_cores_are_those_of_one_worker() -> None:
    ended = run(
        """
        import os, allcores
        def job(i):
            import allcores
            with allcores.get_context("process").Pool() as pool:
                return pool.map(abs, [-i]), len(pool._crew.workers()), os.environ["OMP_NUM_THREADS"]
        with allcores.get_context("ray").Pool(2) as pool:
            assert pool.map(job, range(4), chunksize=1) == [([i], 1, "1") for i in range(4)]
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_pools_in_tasks_of_all_workers_do_not_wait_for_each_other() -> None:
    ended = run(
        """
        import allcores
        def inner(i):
            return i + 1
        def job(i):
            import allcores
            with allcores.get_context("ray").Pool(2) as pool:
                return sum(pool.map(inner, range(i)))
        with allcores.get_context("ray").Pool(2) as pool:
            assert pool.map(job, (10, 20, 30, 40), chunksize=1) == [55, 210, 465, 820]
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_tls_by_rays_own_variables(tmp_path: Path) -> None:
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    try:
        subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    ended = run(
        """
        import os, socket, ssl, sys
        key, cert = sys.argv[1:]
        os.environ.update(RAY_USE_TLS="1", RAY_TLS_SERVER_CERT=cert, RAY_TLS_SERVER_KEY=key, RAY_TLS_CA_CERT=cert)
        import allcores
        mp = allcores.get_context("ray")
        q = mp.Queue()
        def put(x):
            with mp.Pool(1) as pool:
                q.put(pool.apply(abs, (x,)))
        with mp.Pool(2) as pool:
            pool.map(put, [-1, -2], chunksize=1)
        p = mp.Process(target=put, args=(-3,))
        p.start()
        assert sorted(q.get(timeout=30) for _ in range(3)) == [1, 2, 3]
        p.join()
        host, _, port = mp._fleet().options["address"].rpartition(":")
        client = ssl.create_default_context(cafile=cert)
        client.load_cert_chain(cert, key)
        client.set_alpn_protocols(["h2"])
        with client.wrap_socket(socket.create_connection((host, int(port))), server_hostname="127.0.0.1") as connection:
            assert connection.version().startswith("TLS")
        """,
        key,
        cert,
    )
    assert ended.returncode == 0, ended.stderr


HEAD = ("--head", "--port=0")
USE = """
import os, sys, time, allcores
mp = allcores.get_context("ray", address=sys.argv[1])
lock = mp.Lock()
while mp._fleet().slots() < int(sys.argv[2]):  # a node says that it is there before its cores are known
    time.sleep(0.1)
with mp.Pool(2) as pool:
    workers = pool._crew.size
    all_of_them = mp.Barrier(workers)
    def job(i):
        all_of_them.wait(30)  # or one of them might do all
        with lock:
            return os.readlink("/proc/self/ns/net")
    print(*sorted(set(pool.map(job, range(10 * workers), chunksize=1))), flush=True)
p = mp.Process(target=len, args=("abc",))
p.start()
assert p.result() == 3
"""


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray's authentication needs comes by its own variables."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)


@pytest.mark.usefixtures("token")
def test_a_cluster_that_runs_already() -> None:
    with started(*HEAD) as address:
        for _ in range(2):
            ended = run(USE, address, "1")
            assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.usefixtures("token")
def test_a_killed_program_leaves_nothing_in_a_cluster_that_runs_on() -> None:
    program = """
        import sys, time, allcores
        mp = allcores.get_context("ray", address=sys.argv[1], namespace="mine")
        lock, queue = mp.Lock(), mp.Queue()
        lock.acquire()
        pool = mp.Pool(1)
        result = pool.apply_async(time.sleep, (1000,))
        print(pool.apply_async, flush=True)
        time.sleep(1000)
    """
    with started(*HEAD) as address:
        with begin(program, address) as killed:
            assert killed.stdout is not None
            assert killed.stdout.readline()
            killed.kill()
        ended = run(
            """
            import sys, time, ray
            ray.init(sys.argv[1], namespace="mine", logging_level="ERROR")
            while ray.util.list_named_actors(all_namespaces=True):
                time.sleep(0.1)
            """,
            address,
        )
        assert ended.returncode == 0, ended.stderr


@pytest.mark.usefixtures("token")
def test_on_two_hosts() -> None:
    with two_hosts() as ((first, address), (second, other)):
        head = ("--head", f"--node-ip-address={address}", "--port=6379")
        with (
            started(*head, before=first),
            started(f"--address={address}:6379", f"--node-ip-address={other}", before=second),
        ):
            ended = run(USE, f"{address}:6379", "2", before=first)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.split()) == 2, ended.stdout
