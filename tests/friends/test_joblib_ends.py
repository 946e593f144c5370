"""The joblib backend: what becomes of failures, what ends the workers, and what is inside of them."""

import os
import signal
import subprocess
import sys
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
def ours() -> Iterator[None]:
    """Every test here has workers of its own."""
    with parallel_config(backend="allcores"):
        yield
    backend.shutdown()


def pid_of(_: int) -> int:
    return os.getpid()


def fail_at(x: int, bad: int) -> int:
    if x == bad:
        raise KeyError(x)
    return x


def die(x: int) -> None:
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def wait_for(event: Any) -> bool:
    return bool(event.wait(50))


def inner(n_jobs: int | None) -> tuple[int, list[int]]:
    return os.getpid(), Parallel(n_jobs=n_jobs)(delayed(pid_of)(i) for i in range(4))


def test_workers_are_kept_for_the_next_call() -> None:
    first = set(Parallel(n_jobs=2, batch_size=1)(delayed(pid_of)(i) for i in range(20)))
    again = set(Parallel(n_jobs=2, batch_size=1)(delayed(pid_of)(i) for i in range(20)))
    assert len(first | again) <= 2
    assert os.getpid() not in first
    with Parallel(n_jobs=3) as parallel:
        third = set(parallel(delayed(pid_of)(i) for i in range(20)))
        third |= set(parallel(delayed(pid_of)(i) for i in range(20)))
    assert len(third) <= 3
    assert not third & first


def test_an_error_is_itself_with_its_traceback_and_call() -> None:
    with pytest.raises(KeyError) as raised:
        Parallel(n_jobs=2, batch_size=3)(delayed(fail_at)(i, bad=4) for i in range(20))
    assert raised.value.args == (4,)
    assert raised.value.__notes__ == ["call 4 of this Parallel: fail_at(4, bad=4)"]
    assert "raise KeyError(x)" in str(raised.value.__cause__)
    assert Parallel(n_jobs=2)(delayed(neg)(i) for i in range(4)) == [0, -1, -2, -3]


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_an_error_is_told_before_slow_calls_are_done(return_as: str) -> None:
    never = mp.Event()
    with pytest.raises(KeyError):
        list(
            Parallel(n_jobs=2, return_as=return_as)(
                delayed(f)(*args) for f, args in [(wait_for, (never,)), (fail_at, (1, 1))]
            )
        )


def test_an_error_of_the_input_is_raised() -> None:
    def calls() -> Iterator[Any]:
        for i in range(9):
            yield delayed(neg)(i)
        raise RuntimeError("the input")

    with pytest.raises(RuntimeError, match="the input"):
        Parallel(n_jobs=2)(calls())


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_what_cannot_travel_is_an_error_there(return_as: str) -> None:
    args = [*range(20), threading.Lock()]
    with pytest.raises(mp.UnpicklableError, match="lock"):
        list(Parallel(n_jobs=2, return_as=return_as)(delayed(str)(x) for x in args))


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_a_worker_that_dies_is_an_error_that_names_the_call(return_as: str) -> None:
    with pytest.raises(mp.WorkerDied, match=r"call 1 of this Parallel: die\(1\)"):
        list(Parallel(n_jobs=2, return_as=return_as, batch_size=1)(delayed(die)(i) for i in range(9)))
    assert Parallel(n_jobs=2)(delayed(neg)(i) for i in range(2)) == [0, -1]


def test_a_call_that_takes_too_long_is_ended() -> None:
    import multiprocessing

    never = mp.Event()
    with pytest.raises(multiprocessing.TimeoutError, match=r"timeout=0\.1 s"):
        Parallel(n_jobs=2, timeout=0.1)(delayed(wait_for)(never) for _ in range(2))
    assert len(set(Parallel(n_jobs=2)(delayed(pid_of)(i) for i in range(9)))) <= 2


def test_a_generator_that_is_dropped_ends_its_calls() -> None:
    never = mp.Event()
    results = Parallel(n_jobs=2, return_as="generator")(delayed(wait_for)(never) for _ in range(2))
    with pytest.warns(UserWarning, match="2 tasks which were still being processed"):
        del results
    assert Parallel(n_jobs=2)(delayed(neg)(i) for i in range(2)) == [0, -1]


@pytest.mark.parametrize(("cores", "expected"), [(2, 1), (4, 2)])
def test_inside_a_worker_there_is_its_share_of_the_cores(
    cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLCORES_CPU_COUNT", str(cores))
    for pid, pids in Parallel(n_jobs=2)(delayed(inner)(n) for n in (-1, 8)):
        assert len(set(pids)) <= expected
        assert (pid in pids) == (expected == 1)


def test_inside_a_pool_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLCORES_CPU_COUNT", "4")
    with mp.Pool(2) as pool:
        for pid, pids in pool.map(_parallel_in_a_worker, range(2)):
            assert pid not in pids
            assert len(pids) == 4


def threads_of_blas(_: int) -> list[int]:
    import numpy as np
    import threadpoolctl

    np.ones((2, 2)) @ np.ones((2, 2))
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_inside_are_as_many_as_joblib_was_told(threads: int) -> None:
    with parallel_config(backend="allcores", inner_max_num_threads=threads):
        for found in Parallel(n_jobs=2)(delayed(threads_of_blas)(i) for i in range(2)):
            assert set(found) == {threads}


def _parallel_in_a_worker(_: int) -> tuple[int, list[int]]:
    from allcores.integrations import joblib as registers  # noqa: F401

    with parallel_config(backend="allcores"):
        return inner(2)


def test_ctrl_c_ends_the_call_and_its_workers() -> None:
    started, never = mp.Event(), mp.Event()
    threading.Thread(target=_interrupt_after, args=(started,)).start()
    with pytest.raises(KeyboardInterrupt):
        Parallel(n_jobs=2)(delayed(_start_and_wait)(started, never) for _ in range(2))
    assert Parallel(n_jobs=2)(delayed(neg)(i) for i in range(2)) == [0, -1]


def _interrupt_after(started: Any) -> None:
    started.wait(50)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _start_and_wait(started: Any, never: Any) -> None:
    started.set()
    never.wait(50)


def test_the_program_can_end_with_workers_kept() -> None:
    code = (
        "import joblib, allcores.integrations.joblib, os\n"
        "with joblib.parallel_config(backend='allcores'):\n"
        "    print(*joblib.Parallel(n_jobs=2)(joblib.delayed(os.getpid)() for _ in range(2)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stderr == ""
    for pid in done.stdout.split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_without_joblib_one_clear_sentence() -> None:
    code = "import sys; sys.modules['joblib'] = None\nimport allcores.integrations.joblib"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert 'needs joblib: pip install "allcores[joblib]"' in failed.stderr.splitlines()[-1]


def test_what_a_script_changes_between_two_calls_is_seen_by_workers_that_are_kept() -> None:
    code = (
        "import joblib, allcores.integrations.joblib, os\n"
        "from joblib import Parallel, delayed\n"
        "joblib.parallel_config(backend='allcores')\n"
        "a = 1\n"
        "def f(x): return a + x, os.getpid()\n"
        "first = Parallel(n_jobs=2)(delayed(f)(i) for i in range(4))\n"
        "a = 10\n"
        "second = Parallel(n_jobs=2)(delayed(f)(i) for i in range(4))\n"
        "def f(x): return a * x, os.getpid()\n"
        "third = Parallel(n_jobs=2)(delayed(f)(i) for i in range(4))\n"
        "print([[x for x, _ in each] for each in (first, second, third)])\n"
        "print(len({pid for each in (first, second, third) for _, pid in each}) <= 2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.splitlines() == ["[[1, 2, 3, 4], [10, 11, 12, 13], [0, 10, 20, 30]]", "True"]
    assert done.stderr == ""


def test_of_two_calls_in_the_same_workers_only_the_one_that_fails_is_ended() -> None:
    never = mp.Event()
    other = Parallel(n_jobs=2, return_as="generator")(delayed(neg)(i) for i in range(100))
    for _ in range(3):
        with pytest.raises(KeyError):
            Parallel(n_jobs=2, batch_size=1)(
                delayed(f)(*args) for f, args in [(fail_at, (1, 1)), (wait_for, (never,)), (wait_for, (never,))]
            )
    assert list(other) == [-i for i in range(100)]
    assert Parallel(n_jobs=2)(delayed(neg)(i) for i in range(20)) == [-i for i in range(20)]


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_workers_that_are_gone_are_an_error(return_as: str) -> None:
    with Parallel(n_jobs=2, return_as=return_as) as parallel:
        list(parallel(delayed(neg)(i) for i in range(2)))
        parallel._backend._pool.terminate()
        with pytest.raises(ValueError, match="the pool is closed"):
            list(parallel(delayed(neg)(i) for i in range(2)))
    assert Parallel(n_jobs=2)(delayed(neg)(i) for i in range(2)) == [0, -1]
