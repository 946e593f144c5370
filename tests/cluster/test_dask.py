"""The dask context beyond the contract: deaths of each part, what listens, what stays. Each in a program of its own."""

from pathlib import Path
from typing import Any

import pytest

import allcores
from allcores.errors import NotSupported, UsageError

from .programs import run

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


def test_a_killed_scheduler_is_an_error_everywhere() -> None:
    ended = run(
        """
        import os, signal, threading, time, allcores
        mp = allcores.get_context("dask")
        lock = mp.Lock()
        lock.acquire()
        with mp.Pool(2) as pool:
            result = pool.apply_async(time.sleep, (1000,))
            threading.Timer(1, os.kill, (mp._fleet().head.pid, signal.SIGKILL)).start()
            for wait in (result.get, lock.acquire, lambda: mp.Queue().get()):
                try:
                    wait()
                except allcores.errors.ClusterDied as error:
                    assert "dask" in str(error)
                else:
                    raise SystemExit("no error")
            pool.terminate()
        """
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "option", [{"affinity": True}, {"devices": [0]}, {"max_memory": 1 << 30}, {"idle_timeout": 1.0}]
)
def test_what_a_cluster_cannot_do(option: dict[str, Any]) -> None:
    with pytest.raises(NotSupported, match=next(iter(option))):
        allcores.get_context("dask", address="tcp://127.0.0.1:1").Pool(1, **option)


def test_the_options_of_a_context() -> None:
    with pytest.raises(UsageError, match="no option 'colour'"):
        allcores.get_context("dask", colour="red")
    with pytest.raises(UsageError, match="no option 'address'"):
        allcores.get_context("thread", address="tcp://127.0.0.1:1")
    address = "tcp://127.0.0.1:1"
    assert allcores.get_context("dask", address=address) is allcores.get_context("dask", address=address)
    assert allcores.get_context("dask", address=address) is not allcores.get_context("dask")


def test_without_its_nursery_a_cluster_ends() -> None:
    ended = run(
        """
        import os, signal, threading, time, allcores, psutil
        mp = allcores.get_context("dask")
        with mp.Pool(2) as pool:
            result = pool.apply_async(time.sleep, (1000,))
            (nursery,) = psutil.Process(mp._fleet().head.pid).children()
            threading.Timer(1, nursery.kill).start()
            try:
                result.get()
            except allcores.errors.ClusterDied as error:
                assert "dask" in str(error)
            else:
                raise SystemExit("no error")
            pool.terminate()
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_worker_that_holds_the_gil_is_ended_all_the_same() -> None:
    ended = run(
        """
        import ctypes, os, allcores
        mp = allcores.get_context("dask")
        begun = mp.Event()
        def stuck():
            begun.set()
            ctypes.PyDLL(None).sleep(1000)
        with mp.Pool(1) as pool:
            result = pool.apply_async(stuck)
            begun.wait()
            assert result.cancel()
            assert pool.map(abs, [-1, -2]) == [1, 2]
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_pool_has_no_more_workers_while_one_starts_again() -> None:
    ended = run(
        """
        import os, signal, time, allcores
        mp = allcores.get_context("dask")
        at_once, most = mp.Value("i", 0), mp.Value("i", 0)
        def job(_):
            most.value = max(most.value, at_once.add(1))
            time.sleep(0.02)
            at_once.add(-1)
        with mp.Pool(2) as pool:
            pids = set(pool.map(lambda _: (time.sleep(0.02), os.getpid())[1], range(10), chunksize=1))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        with mp.Pool(1) as pool:
            pool.map(job, range(20), chunksize=1)
        assert most.value == 1, most.value
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_what_is_cancelled_before_it_has_come_does_not_run() -> None:
    """Its cancelling overtakes it on the way to the scheduler, now and then: it would keep a worker for ever."""
    ended = run(
        """
        import time, allcores
        mp = allcores.get_context("dask")
        with mp.Pool(1) as pool:
            for _ in range(50):
                assert pool.apply_async(time.sleep, (1000,)).cancel()
            assert pool.apply(abs, (-1,)) == 1
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_dask_does_not_draw_from_an_items_generator() -> None:
    ended = run(
        """
        import allcores
        mp = allcores.get_context("dask")
        def shared():
            import random, sys
            modules = [module for name, module in sys.modules.items() if name.startswith("distributed.")]
            return [each.__name__ for each in modules if getattr(each, "random", None) is random]
        with mp.Pool(1) as pool:
            assert pool.apply(shared) == []
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_workers_that_cannot_start_end_the_cluster() -> None:
    ended = run(
        """
        import os, allcores
        os.environ["DASK_DISTRIBUTED__WORKER__PRELOAD"] = '["no_such_module"]'
        mp = allcores.get_context("dask")
        for again in range(2):
            try:
                mp.Pool(2)
            except allcores.errors.ClusterDied as error:
                assert "of 2 workers of the local dask cluster only 0 start" in str(error), error
            else:
                raise SystemExit("no error")
        """
    )
    assert ended.returncode == 0, ended.stderr
    assert "No module named 'no_such_module'" in ended.stderr
    assert ended.stderr.count("ModuleNotFoundError") < 20


# Workers cannot start while there is a file at `flag`.
_STARTED_WHERE_IT_MAY = """
    import os, pathlib, signal, sys, allcores
    preload, flag = pathlib.Path(sys.argv[1], "preload.py"), pathlib.Path(sys.argv[1], "flag")
    preload.write_text(f"import os\\nif os.path.exists({str(flag)!r}): raise OSError('not now')\\n")
    os.environ["DASK_DISTRIBUTED__WORKER__PRELOAD"] = f'["{preload}"]'
    mp = allcores.get_context("dask")
    mp.Pool(2).terminate()
    flag.touch()
"""


def test_a_pool_for_which_workers_cannot_start(tmp_path: Path) -> None:
    ended = run(
        _STARTED_WHERE_IT_MAY
        + """
    for again in range(2):
        try:
            mp.Pool(3)
        except allcores.errors.ClusterDied as error:
            assert "of 3 workers of the local dask cluster only 2 start" in str(error), error
        else:
            raise SystemExit("no error")
    with mp.Pool(2) as pool:
        assert pool.map(abs, range(10)) == list(range(10))
    flag.unlink()
    with mp.Pool(3) as pool:
        assert len(pool.map(lambda _: os.getpid(), range(3))) == 3
        assert len(mp._fleet().threads()) == 3
    """,
        str(tmp_path),
    )
    assert ended.returncode == 0, ended.stderr


def test_workers_that_cannot_start_again_end_the_cluster(tmp_path: Path) -> None:
    ended = run(
        _STARTED_WHERE_IT_MAY
        + """
    with mp.Pool(2) as pool:
        try:
            pool.map(lambda _: os.kill(os.getpid(), signal.SIGKILL), range(2))
        except allcores.errors.ClusterDied:
            pool.terminate()
        else:
            raise SystemExit("no error")
    """,
        str(tmp_path),
    )
    assert ended.returncode == 0, ended.stderr
    assert "the workers of the local dask cluster end as they start: it ends" in ended.stderr


def test_a_nursery_whose_head_ends_with_news_unread_ends_its_workers() -> None:
    """Then its socket says so by an error, and not by its end."""
    ended = run(
        """
        import os, signal, socket, time
        from allcores.contexts.dasknursery import _Nurse
        ours, theirs = socket.socketpair()
        nurse = os.fork()
        if nurse == 0:
            ours.close()
            _Nurse(theirs, lambda name, address: time.sleep(1000)).serve()
            os._exit(0)
        theirs.close()
        ours.sendall(b'{"name": "first", "address": ""}\\n')
        ours.recv(1, socket.MSG_PEEK)
        pid = int(ours.recv(4096, socket.MSG_PEEK).partition(b'"pid": ')[2].rstrip(b'}\\n'))
        pidfd = os.pidfd_open(pid)
        ours.close()
        assert os.waitpid(nurse, 0)[1] == 0
        try:
            signal.pidfd_send_signal(pidfd, 0)
        except ProcessLookupError:
            raise SystemExit(0)
        raise SystemExit("the worker lives")
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_pools_task_is_not_put_behind_a_slow_one() -> None:
    """A pool of fewer workers than there are has as many tasks out as workers. Put behind a slow one, the next was
    only begun when dask had it stolen: a tenth of a second for each."""
    ended = run(
        """
        import allcores
        mp = allcores.get_context("dask")
        mp.Pool(3).terminate()
        gate = mp.Event()
        def job(i):
            if i == 0:
                gate.wait()
            return i
        with mp.Pool(2) as pool:
            results = pool.imap_unordered(job, range(500), chunksize=1)
            assert sorted(next(results) for _ in range(499)) == list(range(1, 500))
            stolen = mp._fleet().client.run_on_scheduler(
                lambda dask_scheduler: dask_scheduler.extensions["stealing"].metrics["request_count_total"]
            )
            gate.set()
            assert next(results) == 0
        assert sum(stolen.values()) < 10, stolen
        """
    )
    assert ended.returncode == 0, ended.stderr
