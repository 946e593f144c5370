"""Pool: how many threads BLAS, OpenMP and torch have in its workers."""

import ctypes
import os
import subprocess
import sys

import numpy as np  # for the template to have it, too
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import allcores
from allcores import cores, limits

from .kit import PATIENCE, Context

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


# Each task of a cluster has a core, whatever this program's environment says.
has_these_cores = pytest.mark.lacks("cluster")


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cores.OVERRIDE, "4")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def blas(_: object = None) -> int:
    """How many threads NumPy's BLAS has here, once it has worked."""
    np.ones((300, 300)) @ np.ones((300, 300))
    found = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
    return int(found[0])


def told(_: object = None) -> list[str | None]:
    return [os.environ.get(name) for name in VARIABLES]


def keep_blas() -> None:
    allcores.worker_state().threads = blas()


def threads_of_process() -> int:
    blas()
    return len(os.listdir("/proc/self/task"))


@has_these_cores
@pytest.mark.needs("copies")
@pytest.mark.parametrize(("workers", "threads"), [(1, 4), (2, 2), (3, 1), (6, 1)])
def test_the_share_of_a_worker(mp: Context, workers: int, threads: int) -> None:
    with mp.Pool(workers) as pool:
        assert pool.apply(blas) == threads
        assert pool.apply(told) == [str(threads)] * len(VARIABLES)


@has_these_cores
@pytest.mark.needs("copies")
def test_before_the_initializer(mp: Context) -> None:
    with mp.Pool(2, keep_blas) as pool:
        assert pool.apply(lambda: allcores.worker_state().threads) == 2


@has_these_cores
@pytest.mark.needs("copies")
def test_no_more_threads_are_started_than_are_used(mp: Context) -> None:
    with mp.Pool(4) as pool:
        assert pool.apply(threads_of_process) == 1


@pytest.mark.needs("copies")
def test_a_number_of_threads(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with mp.Pool(2, threads_per_worker=3) as pool:
        assert pool.apply(blas) == 3
        assert pool.apply(told) == ["3"] * len(VARIABLES)


@has_these_cores
@pytest.mark.needs("copies")
def test_what_the_user_has_set_counts(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with mp.Pool(2) as pool:
        assert pool.apply(blas) == 3
        assert pool.apply(told) == ["3", None, None, "2"]
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    with mp.Pool(2) as pool:
        assert pool.apply(blas) == 1
        assert pool.apply(told) == ["3", "1", None, "2"]


@has_these_cores
@pytest.mark.needs("copies")
def test_pools_one_after_another_have_their_own(mp: Context) -> None:
    for workers, threads in ((2, 2), (1, 4), (4, 1), (1, 4)):
        with mp.Pool(workers) as pool:
            assert pool.apply(blas) == threads


def in_inner(workers: int) -> tuple[int, int, list[str | None]]:
    with allcores.Pool(workers) as inner:
        return blas(), inner.apply(blas), inner.apply(told)


@has_these_cores
@pytest.mark.needs("copies")
def test_a_pool_in_a_worker_splits_its_share(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    with mp.Pool(1) as pool:
        assert pool.apply(in_inner, (2,)) == (4, 2, ["2"] * 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # and the user's stays the user's, however deep
    with mp.Pool(1) as pool:
        assert pool.apply(in_inner, (2,)) == (3, 3, ["3", None, None, "2"])


def in_a_process(name: str) -> tuple[int, list[str | None]]:
    process = allcores.get_context(name).Process(target=blas)
    process.start()
    return process.result(PATIENCE), told()


@has_these_cores
@pytest.mark.needs("copies")
def test_a_process_that_a_worker_starts_has_its_share(mp: Context) -> None:
    with mp.Pool(2) as pool:
        assert pool.apply(in_a_process, (mp.name,)) == (2, ["2"] * 4)


@has_these_cores
def test_processes_of_the_program_have_all(mp: Context) -> None:
    assert in_a_process(mp.name) == (len(os.sched_getaffinity(0)), [None] * 4)


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_whoever_replaces_a_worker_has_its_threads(mp: Context) -> None:
    with mp.Pool(2, maxtasksperchild=1) as pool:
        assert [pool.apply(blas) for _ in range(4)] == [2] * 4


@pytest.mark.lacks("copies")
def test_without_processes_the_libraries_are_the_programs(mp: Context) -> None:
    before = blas()
    with mp.Pool(2) as pool:
        assert pool.apply(blas) == before
        assert pool.apply(told) == [None] * 4


@pytest.mark.lacks("copies")
@pytest.mark.parametrize("end", ["close", "terminate"])
def test_without_processes_a_number_holds_while_the_pool_lives(mp: Context, end: str) -> None:
    before = blas()
    with mp.Pool(2, threads_per_worker=3) as pool:
        assert pool.apply(blas) == blas() == 3
        other = mp.Pool(1, threads_per_worker=1)
        assert pool.apply(blas) == other.apply(blas) == 1
    assert blas() == 1
    getattr(other, end)()
    other.join()
    assert blas() == before


def run(script: str, **variables: str) -> str:
    environ = {**os.environ, cores.OVERRIDE: "2", **variables}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    return done.stdout


OPENMP = "import ctypes\ndef openmp():\n    return ctypes.CDLL('libgomp.so.1').omp_get_max_threads()\n"


@pytest.fixture
def has_openmp() -> None:
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("no libgomp here")


@pytest.mark.usefixtures("has_openmp")
def test_openmp_in_threads_is_each_threads_own() -> None:
    script = OPENMP + (
        "openmp()\n"
        "import numpy, allcores\n"
        "with allcores.get_context('thread').Pool(2, threads_per_worker=1) as pool:\n"
        "    print(openmp(), set(pool.map(lambda _: openmp(), range(20), chunksize=1)))\n"
        "print(openmp())\n"
    )
    assert run(script, OMP_NUM_THREADS="2") == "1 {1}\n2\n"


@pytest.mark.usefixtures("has_openmp")
def test_openmp_that_a_task_loads() -> None:
    script = OPENMP + (
        "import allcores\n"
        "with allcores.Pool(2, threads_per_worker=5) as pool:\n"
        "    print(pool.apply(openmp), openmp())\n"
    )
    assert run(script, OMP_NUM_THREADS="2") == "5 2\n"


class Torch:
    """What is wanted of it."""

    threads = 8

    def get_num_threads(self) -> int:
        return self.threads

    def set_num_threads(self, threads: int) -> None:
        self.threads = threads


def test_torch_that_is_loaded_already(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    first, second = limits.Lid(2), limits.Lid(1)
    assert torch.threads == 1
    first.lift()
    assert torch.threads == 1
    second.lift()
    second.lift()
    assert torch.threads == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    with threadpool_limits(1):  # restores what this test's own process has
        limits.apply()
        assert torch.threads == blas() == 3
    monkeypatch.undo()
    limits.learn()


def test_libraries_that_a_task_imports() -> None:
    """Neither the program nor the template has them: the worker's environment must say it before they are loaded."""
    script = (
        "import allcores, sys\n"
        "def count():\n"
        "    assert 'numpy' not in sys.modules\n"
        "    import numpy as np, threadpoolctl\n"
        "    np.ones((300, 300)) @ np.ones((300, 300))\n"
        "    return [each['num_threads'] for each in threadpoolctl.threadpool_info()]\n"
        "with allcores.Pool(2) as pool: print(pool.apply(count))\n"
    )
    assert run(script) == "[1]\n"


@pytest.mark.parametrize("early", [True, False])
def test_torch(early: bool) -> None:
    pytest.importorskip("torch")
    script = (
        f"import allcores, sys\n"
        f"{'import torch' if early else ''}\n"
        "def count():\n"
        "    import torch\n"
        "    return torch.get_num_threads()\n"
        "with allcores.Pool(2) as pool: print(pool.apply(count))\n"
    )
    assert run(script) == "1\n"
