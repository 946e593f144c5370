"""Pool: what each worker has for itself: a state, a place, cores, a device."""

import os
import threading
from typing import Any

import pytest

import allcores
from allcores.errors import NotSupported

from . import jobs
from .kit import LOCAL, PATIENCE, Context, Handle, report


def load(model: str) -> None:
    allcores.worker_state().model = model


def count_up(_: object = None) -> Any:
    state = allcores.worker_state()
    state.count = getattr(state, "count", 0) + 1
    return state.count


def names_of_state(_: object = None) -> dict[str, object]:
    return dict(vars(allcores.worker_state()))


def place_when_all_are_there(barrier: Handle) -> int:
    barrier.wait(PATIENCE)
    place: int = allcores.worker_state().place
    return place


def cpus_when_all_are_there(barrier: Handle) -> tuple[int, frozenset[int]]:
    return place_when_all_are_there(barrier), frozenset(os.sched_getaffinity(0))


def device_when_all_are_there(barrier: Handle) -> tuple[int, str | None]:
    return place_when_all_are_there(barrier), os.environ.get("CUDA_VISIBLE_DEVICES")


def of_all(mp: Context, pool: Handle, n: int, job: Any) -> list[Any]:
    """What a job says in each of n workers."""
    barrier = mp.Barrier(n)
    results = [pool.apply_async(job, (barrier,)) for _ in range(n)]
    return sorted(result.get(PATIENCE) for result in results)


def test_the_initializer_fills_the_state(mp: Context) -> None:
    with mp.Pool(2, load, ("large",)) as pool:
        assert pool.map(names_of_state, range(10), chunksize=1) == [{"model": "large"}] * 10


def test_tasks_keep_things_in_the_state(mp: Context) -> None:
    with mp.Pool(1) as pool:
        assert pool.map(count_up, range(5)) == [1, 2, 3, 4, 5]
        assert pool.map(count_up, range(3)) == [6, 7, 8]


def test_each_pool_begins_empty(mp: Context) -> None:
    for _ in range(2):
        with mp.Pool(1) as pool:
            assert pool.apply(names_of_state) == {}
            assert pool.apply(count_up) == 1


def test_each_worker_has_a_state_of_its_own(mp: Context) -> None:
    """However many there are, together they have counted every call once."""
    with mp.Pool(3) as pool:
        counts = pool.map(count_up, range(60), chunksize=1)
    assert counts.count(1) <= 3
    assert len(counts) == 60


def test_outside_of_workers_there_is_no_state(mp: Context) -> None:
    with pytest.raises(allcores.UsageError, match="worker of a pool"):
        allcores.worker_state()
    with mp.Pool(1) as pool:
        pool.apply(count_up)
        with pytest.raises(allcores.UsageError, match="worker of a pool"):
            allcores.worker_state()


def has_state() -> bool:
    try:
        allcores.worker_state()
    except allcores.UsageError:
        return False
    return True


def state_of_a_child() -> bool:
    child = allcores.Process(target=has_state)
    child.start()
    return bool(child.result(PATIENCE))


def test_a_process_that_a_worker_starts_is_none(mp: Context) -> None:
    with mp.Pool(1) as pool:
        assert pool.apply(state_of_a_child) is False


def count_in_inner(name: str) -> tuple[int, list[int], int]:
    before = count_up()
    with allcores.get_context(name).Pool(1) as inner:
        return before, inner.map(count_up, range(2)), count_up()


@pytest.mark.parametrize("inner", LOCAL)
def test_a_pool_in_a_worker_has_states_of_its_own(mp: Context, inner: str) -> None:
    with mp.Pool(1) as pool:
        assert pool.apply(count_in_inner, (inner,)) == (1, [1, 2], 2)


def in_a_thread() -> bool:
    found = []
    thread = threading.Thread(target=lambda: found.append(has_state()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.lacks("cluster")  # a process there may be the worker of several pools
@pytest.mark.needs("copies")
def test_threads_of_a_worker_process_have_its_state(mp: Context) -> None:
    with mp.Pool(1) as pool:
        assert pool.apply(in_a_thread) is True


def take_the_place() -> None:
    allcores.worker_state().place = 5


def test_the_place_is_not_to_be_set(mp: Context) -> None:
    with mp.Pool(1) as pool, pytest.raises(AttributeError, match="place"):
        pool.apply(take_the_place)


@pytest.mark.needs("parallel")
def test_places_count_from_0(mp: Context) -> None:
    with mp.Pool(3) as pool:
        assert of_all(mp, pool, 3, place_when_all_are_there) == [0, 1, 2]


def test_the_first_place_is_0(mp: Context) -> None:
    with mp.Pool(1) as pool:
        assert pool.apply(lambda: allcores.worker_state().place) == 0


def die_in_place(place: int, _: object) -> None:
    if allcores.worker_state().place == place:
        jobs.die_by_signal()


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_whoever_replaces_a_worker_has_its_place_and_a_fresh_state(mp: Context) -> None:
    with mp.Pool(3, devices=["a", "b", "c"]) as pool:
        before = of_all(mp, pool, 3, device_when_all_are_there)
        for place in (1, 0, 1):
            barrier = mp.Barrier(3)
            dying = [pool.apply_async(die_together, (barrier, place)) for _ in range(3)]
            for result in dying:
                result.wait(PATIENCE)
            assert sum(not result.successful() for result in dying) == 1
        assert of_all(mp, pool, 3, device_when_all_are_there) == before == [(0, "a"), (1, "b"), (2, "c")]
        assert pool.map(names_of_state, range(9), chunksize=1) == [{}] * 9


def die_together(barrier: Handle, place: int) -> None:
    barrier.wait(PATIENCE)
    die_in_place(place, None)


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_recycled_workers_keep_the_place(mp: Context) -> None:
    with mp.Pool(1, maxtasksperchild=1, devices=[7]) as pool:
        assert [pool.apply(device_when_all_are_there, (mp.Barrier(1),)) for _ in range(3)] == [(0, "7")] * 3


@pytest.mark.needs("owns")
@pytest.mark.needs("kills")
def test_a_worker_that_goes_to_another_pool_keeps_its_device(mp: Context) -> None:
    seen: dict[int, str | None] = {}
    for devices in (["a", "b"], ["a", "b"], ["b", "a"]):
        with mp.Pool(2, devices=devices) as pool:
            found = of_all(mp, pool, 2, device_and_pid)
        for place, pid, device in found:
            assert device == devices[place]
            assert seen.setdefault(pid, device) == device


def device_and_pid(barrier: Handle) -> tuple[int, int, str | None]:
    place = place_when_all_are_there(barrier)
    return place, os.getpid(), own_device()


def own_device(_: object = None) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def keep_own_device() -> None:
    allcores.worker_state().device = own_device()


@pytest.mark.needs("owns")
@pytest.mark.needs("copies")
def test_devices_are_there_before_the_initializer(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "9")
    with mp.Pool(1, keep_own_device, devices=["GPU-1f", 1]) as pool:
        assert pool.apply(names_of_state) == {"device": "GPU-1f"}
    with mp.Pool(1) as pool:
        assert pool.apply(own_device) == "9"
    assert own_device() == "9"


@pytest.mark.needs("owns")
@pytest.mark.needs("copies")
def test_more_workers_than_devices(mp: Context) -> None:
    with mp.Pool(3, devices=["0,1", 2]) as pool:
        assert of_all(mp, pool, 3, device_when_all_are_there) == [(0, "0,1"), (1, "2"), (2, "0,1")]


@pytest.mark.lacks("copies")
def test_devices_need_processes(mp: Context) -> None:
    with pytest.raises(NotSupported, match="process context"):
        mp.Pool(1, devices=[0])


def inner_device() -> str | None:
    with allcores.Pool(1) as inner:
        device: str | None = inner.apply(own_device)
        return device


@pytest.mark.needs("owns")
@pytest.mark.needs("copies")
def test_a_pool_in_a_worker_has_its_device(mp: Context) -> None:
    with mp.Pool(1, devices=[3]) as pool:
        assert pool.apply(inner_device) == "3"


@pytest.mark.needs("owns")
@pytest.mark.needs("parallel")
def test_affinity_deals_out_the_cores(mp: Context) -> None:
    usable = sorted(os.sched_getaffinity(0))
    n = len(usable)
    with mp.Pool(n + 1, affinity=True) as pool:
        found = of_all(mp, pool, n + 1, cpus_when_all_are_there)
    assert found == [(i, frozenset({usable[i % n]})) for i in range(n + 1)]
    with mp.Pool(1, affinity=True) as pool:
        assert of_all(mp, pool, 1, cpus_when_all_are_there) == [(0, frozenset(usable))]
    assert os.sched_getaffinity(0) == set(usable)


@pytest.mark.needs("owns")
@pytest.mark.needs("parallel")
def test_affinity_by_a_list(mp: Context) -> None:
    first, *_, last = sorted(os.sched_getaffinity(0)) * 2
    with mp.Pool(3, affinity=[last, {first, last}]) as pool:
        found = of_all(mp, pool, 3, cpus_when_all_are_there)
    assert [cpus for _, cpus in found] == [{last}, {first, last}, {last}]


@pytest.mark.needs("owns")
def test_affinity_leaves_the_program_alone(mp: Context) -> None:
    before = os.sched_getaffinity(0)
    with mp.Pool(2, affinity=[min(before)]) as pool:
        assert pool.map(jobs.square, range(3)) == [0, 1, 4]
    assert os.sched_getaffinity(0) == before


def inner_cpus() -> tuple[set[int], int, int]:
    with allcores.Pool() as inner:
        return inner.apply(os.sched_getaffinity, (0,)), inner._crew.size, allcores.cpu_count()


@pytest.mark.needs("owns")
@pytest.mark.needs("parallel")
def test_a_pool_in_a_pinned_worker_stays_on_its_cores(mp: Context) -> None:
    core = min(os.sched_getaffinity(0))
    with mp.Pool(1, affinity=[core]) as pool:
        assert pool.apply(inner_cpus) == ({core}, 1, 1)


@pytest.mark.needs("owns")
@pytest.mark.needs("copies")
def test_processes_have_the_affinity_of_who_starts_them(mp: Context) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        with mp.Pool(1) as pool:
            assert pool.apply(os.sched_getaffinity, (0,)) == {min(before)}
    finally:
        os.sched_setaffinity(0, before)


def test_an_option_that_is_none(mp: Context) -> None:
    with pytest.raises(TypeError, match=r"no option 'deamon'.*affinity"):
        mp.Pool(1, deamon=True)  # type: ignore[call-arg] # the point


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"affinity": []}, "affinity.*empty"),
    ({"affinity": "0"}, "affinity.*'0'"),
    ({"affinity": 1.5}, "affinity.*1.5"),
    ({"affinity": [{}]}, "affinity.*{}"),
    ({"affinity": [True]}, "affinity.*True"),
    ({"affinity": [1 << 20]}, "affinity.*1048576.*it has"),
    ({"affinity": [-1]}, "affinity.*-1.*it has"),
    ({"devices": []}, "devices.*empty"),
    ({"devices": "0,1"}, "devices.*'0,1'"),
    ({"devices": 2}, "devices.*2"),
    ({"devices": [None]}, "devices.*None"),
    ({"devices": [-1]}, "devices.*-1"),
    ({"devices": [""]}, "devices.*''"),
    ({"threads_per_worker": 0}, "threads_per_worker.*0"),
    ({"threads_per_worker": 1.5}, "threads_per_worker.*1.5"),
    ({"oversubscribe": 1}, "oversubscribe.*1"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_options_that_cannot_be(mp: Context, options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words) as raised:
        mp.Pool(1, **options)
    assert "must be" in report(raised.value) or "it has" in report(raised.value)
