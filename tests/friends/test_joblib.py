"""The joblib backend: the meaning that joblib gives to every argument."""

import os
import threading
from collections.abc import Iterator
from operator import neg
from typing import Any

import pytest

import allcores as mp

joblib = pytest.importorskip("joblib")
from joblib import Parallel, delayed, parallel_config  # noqa: E402

from allcores.integrations import joblib as backend  # noqa: E402


@pytest.fixture(autouse=True)
def ours(kept_workers: None) -> Iterator[None]:
    with parallel_config(backend="allcores"):
        yield


def pid_of(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
@pytest.mark.parametrize("batch_size", ["auto", 1, 7])
def test_every_result_once(return_as: str, batch_size: Any) -> None:
    results = Parallel(n_jobs=2, return_as=return_as, batch_size=batch_size)(delayed(neg)(i) for i in range(500))
    got = list(results) if return_as != "generator_unordered" else sorted(results, reverse=True)
    assert got == [-i for i in range(500)]


@pytest.mark.parametrize("pre_dispatch", ["all", 1, "3*n_jobs"])
def test_input_is_read_as_far_as_joblib_was_told(pre_dispatch: Any) -> None:
    assert Parallel(n_jobs=2, pre_dispatch=pre_dispatch)(delayed(neg)(i) for i in range(50)) == [-i for i in range(50)]


def test_no_calls() -> None:
    assert Parallel(n_jobs=2)([]) == []
    assert list(Parallel(n_jobs=2, return_as="generator")([])) == []


def test_any_function_will_do() -> None:
    y = 5
    assert Parallel(n_jobs=2)(delayed(lambda x: x + y)(i) for i in range(4)) == [5, 6, 7, 8]
    assert Parallel(n_jobs=2)(delayed(dict)(a=i) for i in range(2)) == [{"a": 0}, {"a": 1}]


def test_n_jobs_is_counted_as_joblib_does() -> None:
    made = backend.AllcoresBackend(nesting_level=0)
    assert made.effective_n_jobs(None) == 1
    assert made.effective_n_jobs(5) == 5
    assert made.effective_n_jobs(-1) == mp.cpu_count()
    assert made.effective_n_jobs(-1000) == 1
    with pytest.raises(ValueError, match="n_jobs must not be 0"):
        made.effective_n_jobs(0)
    assert Parallel(n_jobs=None)(delayed(pid_of)(i) for i in range(2)) == [os.getpid()] * 2


def test_two_calls_at_a_time() -> None:
    slow = Parallel(n_jobs=2, return_as="generator")(delayed(neg)(i) for i in range(50))
    assert next(slow) == 0
    assert Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(50)) == list(range(50))
    assert list(slow) == [-i for i in range(1, 50)]


def test_threads_share_the_workers() -> None:
    def run(out: list[Any]) -> None:
        with parallel_config(backend="allcores"):
            for _ in range(5):
                out.append(Parallel(n_jobs=2)(delayed(pid_of)(i) for i in range(20)))

    outs: list[list[Any]] = [[], [], []]
    threads = [threading.Thread(target=run, args=(out,)) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(out) == 5 for out in outs)
    assert len({pid for out in outs for pids in out for pid in pids}) <= 2
