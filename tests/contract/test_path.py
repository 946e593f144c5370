"""The learner's path, as it is written down: the same text for `import allcores as mp` and for every context."""

from typing import Any

import pytest

import allcores

from . import clusters, jobs
from .kit import CLUSTERS, PLACES

CONTEXTS = [
    "allcores",
    *(place.name for place in PLACES),
    *(pytest.param(place.name, marks=pytest.mark.slow) for place in CLUSTERS),
]


@pytest.fixture(params=CONTEXTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def before_all(name: str) -> None:
    if name in [place.name for place in CLUSTERS]:
        clusters.prepare(name)


@pytest.fixture
def mp(name: str, before_all: None) -> Any:
    return allcores if name == "allcores" else allcores.get_context(name)


def test_1_process_and_thread(mp: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    p1 = mp.Process(target=add, args=(1, 2))
    t1 = mp.Thread(target=add, args=(1, 2))
    p1.start()
    t1.start()
    p1.join()
    t1.join()
    assert p1.result() == t1.result() == 3
    assert p1.exitcode == t1.exitcode == 0


def test_2_queue(mp: Any) -> None:
    q = mp.Queue()
    p1 = mp.Process(target=lambda: jobs.put_classic(q, 1000))
    p2 = mp.Process(target=lambda: jobs.put_classic(q, 1000))
    p1.start()
    p2.start()
    p1.join()
    p2.join()
    assert q.get() + q.get() == 2 * jobs.classic(1000)


@pytest.mark.parametrize("kind", ["Process", "Thread"])
def test_3_efficiency(mp: Any, kind: str) -> None:
    normal = jobs.classic(20_000) + jobs.classic(20_000)
    q = mp.Queue()
    workers = [getattr(mp, kind)(target=lambda: jobs.put_classic(q, 20_000)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert q.get() + q.get() == normal


def test_4_pool(mp: Any) -> None:
    with mp.Pool() as pool:
        assert pool.map(lambda x: x * x, range(10)) == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
    with mp.Pool(processes=3) as pool:
        assert pool.map(jobs.square, range(10)) == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
        assert pool.apply_async(jobs.square, (2,)).get() == 4
        multi = [pool.apply_async(jobs.square, (i,)) for i in range(10)]
        assert [res.get() for res in multi] == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]


def test_5_value_and_array(mp: Any) -> None:
    value = mp.Value("i", 0)
    array = mp.Array("i", [1, 2, 3, 4])

    def change() -> None:
        value.value = 7
        array[0] = 10

    p = mp.Process(target=change)
    p.start()
    p.join()
    assert (value.value, array[:]) == (7, [10, 2, 3, 4])


def test_6_lock(mp: Any) -> None:
    v = mp.Value("i", 0)
    lock = mp.Lock()
    seen = mp.Queue()
    p1 = mp.Process(target=jobs.add_under_lock, args=(v, 1, lock, seen))
    p2 = mp.Process(target=jobs.add_under_lock, args=(v, 3, lock, seen))
    p1.start()
    first = seen.get()  # so that the first process has the lock, whatever the machine is doing
    p2.start()
    p1.join()
    p2.join()
    assert [first, *(seen.get() for _ in range(9))] == [1, 2, 3, 4, 5, 8, 11, 14, 17, 20]
