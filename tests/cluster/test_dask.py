"""The dask context beyond the contract: deaths of each part, what listens, what stays. Each in a program of its own."""

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
