"""share: one read-only copy of anything, for whoever it goes to."""

import copy
import decimal
import enum
import fractions
import gc
import math
import mmap
import pickle
import random
import socket
import subprocess
import sys
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import allcores
from allcores import reducers
from allcores.sharing import registry

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Start = Callable[..., Handle]

Point = namedtuple("Point", "x y")


class Model:
    """Counts how often it is unpickled, in a Value that it carries."""

    def __init__(self, count: Any, size: int = 5000) -> None:
        self.count = count
        self.me: Any = None
        self.weights = np.arange(size, dtype=float)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.count.add(1)

    def at(self, i: int) -> float:
        return float(self.weights[i])


class Slotted:
    """Cannot be referenced weakly."""

    __slots__ = ("count", "row")

    def __init__(self, count: Any) -> None:
        self.count, self.row = count, np.arange(1000)

    def __getstate__(self) -> tuple[Any, ...]:
        return self.count, self.row

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.count, self.row = state
        self.count.add(1)


class Colour(enum.Enum):
    RED = 1


def at(thing: Any, key: Any) -> Any:
    return thing[key]


def everything(thing: Any) -> list[Any]:
    return list(thing)


SAMPLES: list[Any] = [
    [1, "two", None, [3.0], {"x": 4}],
    [],
    (1, (2, 3), b"four"),
    {"a": 1, b"b": [2], 3: None, (4, "x"): {}, None: 5, frozenset((6, 7)): 8},
    {},
    {1, "two", b"three"},
    frozenset(range(100)),
]


@pytest.mark.parametrize("sample", SAMPLES, ids=repr)
def test_containers_are_what_they_were(mp: Context, place: Place, sample: Any) -> None:
    shared = mp.share(sample)
    assert shared == sample
    assert sample == shared
    assert len(shared) == len(sample)
    assert list(shared) == list(sample)
    with mp.Pool(1) as pool:
        there = pool.apply(everything, (shared,))
    if place.cluster and isinstance(sample, set | frozenset):  # other hashes, another order
        there.sort(key=list(sample).index)
    assert there == list(sample)


@pytest.mark.parametrize("sample", SAMPLES, ids=repr)
def test_pickles_and_copies_of_the_users_own_are_plain(sample: Any) -> None:
    shared = allcores.share(sample)
    for plain in (pickle.loads(pickle.dumps(shared)), copy.copy(shared), copy.deepcopy(shared)):
        assert type(plain) is type(sample)
        assert plain == sample


def test_a_list(mp: Context) -> None:
    items = [{"n": i} for i in range(100)]
    shared = mp.share(items)
    assert (shared[0], shared[-1], shared[99]) == ({"n": 0}, {"n": 99}, {"n": 99})
    assert shared[10:20:3] == items[10:20:3]
    assert type(shared[::-1]) is list
    assert list(reversed(shared)) == items[::-1]
    assert {"n": 7} in shared
    assert shared.index({"n": 7}) == 7
    assert shared != items[1:]
    assert shared != tuple(items)
    assert random.sample(shared, 3)
    assert len(repr(shared)) < 80
    for wrong in (100, -101):
        with pytest.raises(IndexError, match=str(wrong)):
            shared[wrong]
    with pytest.raises(TypeError):
        shared["x"]
    with pytest.raises(TypeError):
        shared[0] = 1
    shared[0]["n"] = 5  # a copy
    assert shared[0] == {"n": 0}
    with pytest.raises(TypeError, match="unhashable"):
        hash(shared)


def test_a_tuple(mp: Context) -> None:
    shared = mp.share((1, 2, "x"))
    assert shared == (1, 2, "x")
    assert shared != [1, 2, "x"]
    assert shared[1:] == (2, "x")
    assert {shared: 1}[(1, 2, "x")] == 1


def test_a_dict(mp: Context) -> None:
    plain: dict[Any, Any] = {f"key {i}": i for i in range(1000)} | {i: -i for i in range(1000)}
    shared = mp.share(plain)
    assert all(shared[key] == value for key, value in plain.items())
    assert list(shared.items()) == list(plain.items())
    assert list(shared.values()) == list(plain.values())
    assert list(shared.keys()) == list(plain) == list(reversed(list(reversed(shared))))
    assert dict(shared) == {**shared} == plain
    assert shared.get("none") is None
    assert 1000 not in shared
    with pytest.raises(KeyError, match="none"):
        shared["none"]
    with pytest.raises(TypeError, match="unhashable"):
        shared[[]]
    with pytest.raises(TypeError):
        shared["x"] = 1


KEYS: list[Any] = [1, 0.5, -1, 2**70, "é", "\ud800", b"x", None, (1, "a", (None,)), frozenset(("a", "b")), math.inf, 1j]
SAME: list[tuple[Any, Any]] = [
    (1, True),
    (1.0, 1),
    (2, decimal.Decimal(2)),
    (0.5, fractions.Fraction(1, 2)),
    (3, np.int64(3)),
    (0.5, np.float32(0.5)),
    ("x", np.str_("x")),
    ((1, 2), (1.0, True + 1)),
    (-1, -1.0),
    (2**61 - 1, float(2**61 - 1) and 2**61 - 1),
]


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_keys_are_found_in_processes_of_other_hashes(mp: Context, key: Any) -> None:
    shared, keys = mp.share({key: "found", "other": 0}), mp.share({key})
    with mp.Pool(1) as pool:
        assert pool.apply(at, (shared, key)) == "found"
        assert pool.apply(lambda: key in keys)


@pytest.mark.parametrize(("stored", "asked"), SAME, ids=repr)
def test_equal_keys_are_one_key(stored: Any, asked: Any) -> None:
    assert allcores.share({stored: 1, "z": 2})[asked] == 1
    assert allcores.share({asked: 1, "z": 2})[stored] == 1


@pytest.mark.parametrize("key", [Colour.RED, Point(1, Colour.RED), type], ids=repr)
def test_keys_without_a_hash_for_all_are_found_too(mp: Context, key: Any) -> None:
    shared = mp.share({key: "found", "x": 1})
    with mp.Pool(1) as pool:
        assert pool.apply(at, (shared, key)) == "found"
        assert pool.apply(at, (shared, "x")) == 1
    assert Colour.RED not in mp.share({1: 2})
    assert mp.share({(1, "x"): 5})[(np.True_, "x")] == 5


def test_a_set(mp: Context) -> None:
    shared = mp.share({1, 2, "x"})
    assert shared & {1, 5} == {1}
    assert type(shared | {5}) is set
    assert shared > {1}
    assert "y" not in shared
    assert hash(mp.share(frozenset((1, 2)))) == hash(frozenset((1, 2)))


ARRAYS = [
    np.arange(1000.0).reshape(10, 100),
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.arange(100)[::3],
    np.zeros(0),
    np.array(5.0),
    np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
    np.array(["2026-01-01", "NaT"], dtype="M8[s]"),
    np.array(["a", "bb"]),
]


@pytest.mark.needs("shares")  # to a cluster it travels as any argument
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_cannot_be_written_to_anywhere(mp: Context, array: Any) -> None:
    def check(found: Any) -> bool:
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape, type(found)) == (array.dtype, array.shape, np.ndarray)
        for wrong in (lambda: found.__setitem__(..., array), lambda: setattr(found.flags, "writeable", True)):
            with pytest.raises(ValueError, match=r"read-only|WRITEABLE"):
                wrong()
        return True

    shared, inside = mp.share(array), mp.share([array])
    assert check(shared)
    assert check(inside[0])
    with mp.Pool(1) as pool:
        assert pool.apply(lambda x: check(x), (shared,))
        assert pool.apply(lambda: check(inside[0]))
        assert pool.apply(lambda x: check(x), (inside[0],))


def test_a_view_of_a_shared_array_travels_by_handle(mp: Context, place: Place) -> None:
    shared = mp.share(np.arange(1_000_000))
    with mp.Pool(1) as pool:
        pool.apply(jobs.nothing)
        before = allcores._native.usage()[1]
        back = pool.apply(jobs.identity, (shared[10:500_000:2],))
        assert allcores._native.usage()[1] - before < 100_000
    assert back[3] == 16


def test_bytes_are_a_memoryview(mp: Context) -> None:
    table = memoryview(bytes(range(24))).cast("i", (2, 3))
    for data in (b"x" * 10_000, bytearray(b"y"), memoryview(b"z" * 10)[::2], b"", table):
        shared = mp.share(data)
        assert shared == data
        assert shared.readonly
        with mp.Pool(1) as pool:
            assert pool.apply(bytes, (shared,)) == bytes(data)
            assert pool.apply(jobs.identity, (shared,)).shape == memoryview(data).shape


@pytest.mark.parametrize("thing", [None, True, 5, 0.5, "text", int, len, Colour.RED, jobs.square], ids=repr)
def test_what_needs_no_sharing_is_returned_as_it_is(mp: Context, thing: Any) -> None:
    assert mp.share(thing) is thing


def test_what_pickles_as_plain_data_is_plain(mp: Context) -> None:
    class Odd:
        def __reduce__(self) -> Any:
            return list, ((1, 2),)

    assert type(mp.share(Odd())) is list


@pytest.mark.needs("shares")  # to a cluster it travels as any argument
def test_a_shared_array_is_copied(mp: Context) -> None:
    for lock in (False, True):
        array = mp.SharedArray(5, lock=lock)
        shared = mp.share(array)
        array[0] = 1
        assert type(shared) is np.ndarray
        assert shared.tolist() == [0.0] * 5
        assert not shared.flags.writeable


def test_what_is_shared_is_not_shared_again(mp: Context) -> None:
    for thing in ([1], np.zeros(3), b"x", OrderedDict(a=1), Point(1, 2)):
        shared = mp.share(thing)
        assert mp.share(shared) is shared


def test_the_copy_is_of_now(mp: Context) -> None:
    array, items = np.zeros(3), [1]
    shared_array, shared_items = mp.share(array), mp.share(items)
    array[0], items[0] = 1, 2
    assert (shared_array[0], shared_items[0]) == (0, 1)


@pytest.mark.needs("shares")  # to a cluster it travels as any argument
def test_wherever_objects_go(mp: Context, start: Start) -> None:
    shared = mp.share([10, 20])
    inner = mp.share({"deep": shared, "array": mp.share(np.arange(3))})
    post = mp.Queue()
    post.put({"a": [shared]})
    cell = {"__name__": "a_notebook", "shared": shared}
    exec("def job(): return shared[1]", cell)
    assert start(at, shared, 1).result(PATIENCE) == 20
    assert start(cell["job"]).result(PATIENCE) == 20
    assert start(lambda: post.get(timeout=PATIENCE)["a"][0][1]).result(PATIENCE) == 20
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(4))
        late = pool.share([30])
        assert pool.map(lambda i: (shared[i], inner["deep"][i], inner["array"][2], late[0]), range(2)) == [
            (10, 10, 2, 30),
            (20, 20, 2, 30),
        ]
        assert pool.apply(lambda x: x["k"][0][0], ({"k": (shared,)},)) == 10
        assert pool.apply(jobs.identity, (shared,)) is shared


def test_in_a_pool_within_a_pool(mp: Context) -> None:
    shared = mp.share([1, 2, 3])

    def outer() -> Any:
        with mp.Pool(2) as inner:
            return inner.map(lambda i: shared[i], range(3))

    with mp.Pool(1) as pool:
        assert pool.apply(outer) == [1, 2, 3]


def test_a_worker_may_share_and_end(mp: Context, start: Start) -> None:
    model = start(lambda: mp.share(Model(mp.Value("i")))).result(PATIENCE)
    items = start(lambda: mp.share({"k": np.arange(5000)})).result(PATIENCE)
    assert model.at(7) == 7
    assert items["k"][4999] == 4999
    with mp.Pool(2) as pool:
        assert pool.map(model.at, range(3)) == [0, 1, 2]
        assert pool.apply(at, (items, "k"))[1] == 1


def test_it_outlives_the_pool(mp: Context) -> None:
    pool = mp.Pool(1)
    shared = pool.share([np.arange(5000)])
    back = pool.apply(at, (shared, 0))
    pool.close()
    pool.join()
    assert back[4999] == shared[0][4999] == 4999


@pytest.mark.needs("shares")  # to a cluster it travels as any argument
@pytest.mark.parametrize("made", [Model, Slotted])
def test_unpickled_once_in_each_worker(mp: Context, place: Place, made: Any) -> None:
    count = mp.Value("i")
    shared = mp.share(made(count))
    assert (type(shared), count.value) == (made, 1)
    with mp.Pool(2) as pool:
        for _ in range(20):
            pool.map(jobs.nothing, [shared] * 4)
            pool.apply(jobs.nothing, ({"deep": [shared]},))
        assert count.value <= (3 if place.copies else 1)


@pytest.mark.needs("shares")  # to a cluster it travels as any argument
def test_once_also_for_what_another_worker_shared(mp: Context, place: Place, start: Start) -> None:
    """Its maker is gone: now it is wanted by this process."""
    count = mp.Value("i")
    shared = start(lambda: mp.share(Model(count))).result(PATIENCE)
    with mp.Pool(2) as pool:
        for _ in range(20):
            pool.map(jobs.nothing, [shared] * 4)
    assert count.value <= (4 if place.copies else 1)


def test_classes_of_the_script_and_functions(mp: Context) -> None:
    class Row:
        def __init__(self, n: int) -> None:
            self.n = n

    big = np.arange(10_000)
    rows = mp.share([Row(i) for i in range(50)])
    function = mp.share(lambda i: int(big[i]))
    functions = mp.share([lambda: 1, lambda: 2])
    assert type(rows[3]) is Row
    with mp.Pool(2) as pool:
        assert pool.map(lambda i: rows[i].n, range(50)) == list(range(50))
        assert pool.map(function, range(5)) == [0, 1, 2, 3, 4]
        assert pool.apply(lambda: type(rows[0]) is type(rows[1]))
        assert pool.apply(lambda: [f() for f in functions]) == [1, 2]


def test_locks_and_values_in_it_are_the_same_ones(mp: Context) -> None:
    shared = mp.share([mp.Value("i", 1), mp.Lock()])

    def job(_: int) -> None:
        with shared[1]:
            shared[0].value += 1

    with mp.Pool(2) as pool:
        pool.map(job, range(20))
    assert shared[0].value == 21


def test_locks_and_values_in_it_are_there_as_long_as_it_is(mp: Context) -> None:
    """However often what it was pickled to is loaded, and dropped, by whom."""
    shared = mp.share([mp.Value("i", 1), mp.Lock()])
    function = mp.share(reads(mp.Value("i", 2)))
    for _ in range(3):
        assert shared[0].value == 1
        with shared[1]:
            assert function() == 2
    for _ in range(2):
        with mp.Pool(2) as pool:
            assert pool.map(lambda i: i + shared[0].value + function(), range(4)) == [3, 4, 5, 6]


def reads(value: Any) -> Callable[[], Any]:
    return lambda: value.value


def test_an_array_in_many_items_is_copied_once(mp: Context) -> None:
    array = np.arange(100_000)
    before = allcores._native.usage()[1]
    shared = mp.share([{"i": i, "array": array} for i in range(100)])
    assert allcores._native.usage()[1] - before < 4 * array.nbytes
    assert shared[0]["array"].__array_interface__["data"] == shared[99]["array"].__array_interface__["data"]
    raw = memoryview(bytes(range(20)))
    halves = mp.share([pickle.PickleBuffer(raw[:10]), pickle.PickleBuffer(raw[10:])])
    assert [bytes(half) for half in halves] == [bytes(range(10)), bytes(range(10, 20))]


def test_many_threads_that_share(mp: Context) -> None:
    found: list[Any] = []

    def run(n: int) -> None:
        for i in range(50):
            found.append(mp.share([n, i])[1] == i)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [True] * 200


def test_what_cannot_be_pickled_is_named(mp: Context) -> None:
    good = [{"a": 1}] * 1000
    with pytest.raises(allcores.UnpicklableError, match=r"\[1000\]\[.model.\]"):
        mp.share([*good, {"model": threading.Lock()}])
    with pytest.raises(allcores.UnpicklableError, match=r"\[.k.\]"):
        mp.share({"k": threading.Lock()})
    with socket.socket() as open_one, pytest.raises(allcores.UnpicklableError, match="socket"):
        mp.share(open_one)
    with mp.Pool(1) as pool, pytest.raises(allcores.UnpicklableError):
        mp.share(pool)


def test_more_than_there_is(mp: Context) -> None:
    nothing = mmap.mmap(-1, 1 << 41, flags=mmap.MAP_PRIVATE | 0x4000)  # MAP_NORESERVE: addresses and no memory
    with nothing, memoryview(nothing) as huge, pytest.raises(MemoryError, match="shared memory"):
        mp.share(huge)


def usage() -> tuple[int, int]:
    gc.collect()
    return allcores._native.usage()[:2]


@pytest.mark.needs("shares")  # to a cluster it travels as any argument
def test_no_leak(mp: Context) -> None:
    for _ in range(10):
        mp.share([1, np.zeros(1000)])
    before = usage()
    for i in range(1000):
        mp.share([i, np.zeros(1000)])
        mp.share({"a": i})
        mp.share(np.zeros(1000))
        mp.share(Point(1, np.zeros(1000)))
    registry.sweep(now=True)
    assert usage() == before


@pytest.mark.needs("kills")
def test_workers_let_go_when_nobody_wants_it(mp: Context) -> None:
    with mp.Pool(2) as pool:
        pool.map(jobs.nothing, range(100))
        before = usage()
        circle = Model(mp.Value("i"))
        circle.me = circle
        point, array = Point(1, np.zeros(100_000)), np.zeros(100_000)
        for thing in ([1] * 1000, Model(mp.Value("i"), 100_000), point, array, circle):
            shared = pool.share(thing)
            pool.map(jobs.nothing, [shared] * 20)
            del shared
            registry.sweep(now=True)
        del circle, thing
        settle(before)  # idle workers look by themselves


@pytest.mark.needs("kills")
def test_the_maker_is_killed_while_others_read(mp: Context, start: Start) -> None:
    post, gate = mp.Queue(), mp.Event()
    before = usage()

    def make() -> None:
        shared = mp.share([np.full(10_000, i) for i in range(20)])
        post.put(shared)
        gate.wait(PATIENCE)

    maker = start(make)
    shared = post.get(timeout=PATIENCE)
    reader = start(read_after, gate, shared)
    maker.kill()
    maker.join(PATIENCE)
    gate.set()
    assert reader.result(PATIENCE) == list(range(20))
    assert [int(x[9_999]) for x in shared] == list(range(20))
    del shared, reader, maker
    settle(before)


def read_after(gate: Any, shared: Any) -> list[int]:
    gate.wait(PATIENCE)
    return [int(x[0]) for x in shared]


def settle(before: tuple[int, int]) -> None:
    """Wait until no more is in use than there was: who waits looks once in a second, and what died is settled soon."""
    over = threading.Event()
    for _ in range(int(PATIENCE / 0.1)):
        registry.sweep(now=True)
        if usage()[1] <= before[1]:
            return
        over.wait(0.1)
    assert usage()[1] <= before[1]


@pytest.mark.needs("kills")
def test_a_worker_is_killed_while_it_reads(mp: Context) -> None:
    shared = mp.share([np.zeros(10_000)] * 3)

    def die(_: int) -> None:
        views.extend(shared)
        jobs.die_by_signal()

    views: list[Any] = []
    with mp.Pool(2) as pool:
        pool.map(jobs.nothing, range(10))
        with pytest.raises(allcores.WorkerDied):
            pool.map(die, [1])
        assert pool.apply(lambda: shared[2][0]) == 0
    holders = shared._records.memory.holders()
    assert holders == [allcores._native.slot()]


def test_handles_of_what_has_ended_or_is_elsewhere(mp: Context) -> None:
    shared = mp.share([1])
    arrive, (origin, pinned, which, handles) = reducers.by_id[id(shared)].reduce(shared)
    nbytes, offset, number = which
    allcores._native.unpin(offset)  # as it was a pickle of ours
    with pytest.raises(ValueError, match="another"):
        arrive((origin[0] + 1, *origin[1:]), pinned, which, handles)
    with pytest.raises(ValueError, match="has ended"):
        arrive(origin, pinned, (nbytes, offset, number + 1), handles)
    with pytest.raises(ValueError, match="fit together"):
        arrive(origin, pinned, (nbytes + 1_000_000, offset, number + 1), handles)
    assert arrive(origin, pinned, which, handles) is shared
    del shared
    gc.collect()
    with pytest.raises(ValueError, match="handle names nothing"):
        arrive(origin, pinned, which, handles)


@pytest.mark.needs("kills")
def test_killed_while_it_shares(mp: Context, start: Start) -> None:
    mp.share([0])
    before = usage()
    for i in range(5):
        begun = mp.Semaphore(0)
        maker = start(share_on_and_on, mp, begun)
        for _ in range(1 + 10 * i):
            assert begun.acquire(timeout=PATIENCE)
        maker.kill()
        maker.join(PATIENCE)
        del begun, maker
    settle(before)


def share_on_and_on(mp: Context, begun: Any) -> None:
    kept: list[Any] = []
    while True:
        begun.release()
        kept.append(mp.share([np.zeros(10_000), {"a": kept}]))
        kept = kept[-2:]


def test_nothing_is_said_at_the_end_of_the_program() -> None:
    script = """
import allcores, collections, numpy
class Odd: pass
things = [allcores.share(x) for x in ([1], {"a": 2}, numpy.zeros(10), b"x", Odd(), collections.namedtuple("P", "x")(1))]
cycle = [things]
cycle.append(cycle)
with allcores.Pool(1) as pool:
    kept = pool.apply(lambda: allcores.share([things[0][0]]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
