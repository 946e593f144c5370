"""SharedArray: an ndarray that everybody sees, and nothing else about it is special."""

import gc
import os
import pickle
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import allcores
from allcores import _native

from .kit import PATIENCE, Context, Handle

pytestmark = pytest.mark.needs("shares")  # that of a cluster is another thing: see tests/cluster

Start = Callable[..., Handle]

VIEWS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda a: a,
    "rows": lambda a: a[2:5],
    "steps": lambda a: a[::2, 1::3],
    "backwards": lambda a: a[::-1, ::-2],
    "transposed": lambda a: a.T,
    "reshaped": lambda a: a.reshape(4, -1),
    "flat": lambda a: a.ravel(),
    "an element": lambda a: a[3:4, 2:3],
    "other axes": lambda a: a[:, None, :],
    "a part of an element": lambda a: a.view("u1")[:, ::8],
    "broadcast": lambda a: np.broadcast_to(a[0], (3, 7)),
    "nothing": lambda a: a[5:5],
    "of no dimension": lambda a: a[1, 2, ...],
}

DTYPES = (
    "b1",
    "i1",
    "u2",
    "<i4",
    ">i4",
    "f2",
    "f8",
    "c16",
    "S5",
    "U3",
    "M8[ns]",
    "m8[s]",
    "V3",
    [("x", "f4"), ("y", "i8", 2)],
)


def numbers(mp: Context) -> Any:
    array = mp.SharedArray((8, 7), "i8")
    array[...] = np.arange(56).reshape(8, 7)
    return array


def is_shared(array: Any) -> bool:
    return isinstance(array, allcores.SharedArray)


def test_it_is_an_ndarray_of_zeros(mp: Context) -> None:
    array = mp.SharedArray((2, 3))
    assert type(array) is np.ndarray
    assert isinstance(array, mp.SharedArray)
    assert (array.shape, array.dtype, array.flags.c_contiguous, array.flags.writeable) == ((2, 3), float, True, True)
    assert (array == 0).all()
    assert mp.SharedArray(5, "u1", fill=7).tolist() == [7] * 5
    assert mp.SharedArray([2, 2], fill=[1, 2]).tolist() == [[1, 2], [1, 2]]


def test_recycled_memory_is_zeros_again(mp: Context) -> None:
    for _ in range(4):
        array = mp.SharedArray(300_000)
        assert not array.any()
        array[...] = 1
        del array


def test_what_is_computed_is_private(mp: Context) -> None:
    array = numbers(mp)
    for made in (
        array + 1,
        array.copy(),
        array[[0, 1]],
        array[array > 3],
        np.sort(array),
        np.concatenate([array, array]),
        -array,
    ):
        assert not is_shared(made)
        assert type(made) is np.ndarray
    assert is_shared(array[1:])
    out = np.add(array, 1, out=array)
    assert out is array
    assert is_shared(out)
    assert array[0, 0] == 1


def steps(array: Any) -> list[int]:
    """The strides that mean something."""
    return [step for n, step in zip(array.shape, array.strides, strict=True) if n > 1 and array.size]


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_views_are_shared_by_whoever_has_them(mp: Context, start: Start, view: Callable[[Any], Any]) -> None:
    array = numbers(mp)
    before = array.copy()

    def look(got: Any) -> tuple[Any, ...]:
        seen = got.copy()
        if got.flags.writeable:
            got[...] = 9
        return seen, got.shape, steps(got), got.dtype, got.flags.writeable, is_shared(got)

    sent = view(array)
    p = start(look, sent)
    p.join(PATIENCE)
    seen, *how = p.result()
    assert np.array_equal(seen, view(before))
    assert how == [sent.shape, steps(sent), sent.dtype, sent.flags.writeable, True]
    if sent.flags.writeable:
        view(before)[...] = 9
    assert np.array_equal(array, before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (2, 3, 4)], ids=str)
def test_every_dtype_and_shape(mp: Context, start: Start, dtype: Any, shape: tuple[int, ...]) -> None:
    array = mp.SharedArray(shape, dtype)
    array[...] = np.ones(1, np.dtype(dtype)) if dtype != "V3" else np.void(b"abc")
    queue = mp.Queue()
    start(queue.put, array).join(PATIENCE)
    got = queue.get(timeout=PATIENCE)
    assert (got.shape, got.dtype, got.tobytes()) == (array.shape, array.dtype, array.tobytes())
    assert is_shared(got)


@pytest.mark.parametrize(
    "source",
    [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(9)[::2],
        [[1, 2], [3, 4]],
        5,
        np.arange(6, dtype=">i2").reshape(2, 3),
    ],
    ids=range(5),
)
def test_from_array(mp: Context, source: Any) -> None:
    array = mp.SharedArray.from_array(source)
    given = np.asarray(source)
    assert is_shared(array)
    assert array.dtype == given.dtype
    assert np.array_equal(array, given)
    assert array.flags.f_contiguous == (given.flags.f_contiguous or given.ndim < 2)
    array[...] = 0
    assert given.any()  # a copy
    read_only = np.arange(3)
    read_only.flags.writeable = False
    assert mp.SharedArray.from_array(read_only).flags.writeable


def test_in_closures_globals_and_containers(mp: Context) -> None:
    array = numbers(mp)

    def add(i: int) -> None:
        array[0, i] += 100

    with mp.Pool(2) as pool:
        pool.map(add, range(7))
        pool.map(lambda x: x["deep"][0][1].__setitem__((1, 0), -1), [{"deep": [(None, array)]}])
        (row,) = pool.map(lambda x: x[2], [array])
        inner = pool.apply(lambda x: x[1:3], (array,))
    assert array[0].tolist() == [100 + i for i in range(7)]
    assert array[1, 0] == -1
    row[...] = 5
    inner[0, 1] = 6
    assert (array[2] == 5).all()
    assert array[1, 1] == 6


def test_passed_on_by_a_process_that_ends(mp: Context, start: Start) -> None:
    queue = mp.Queue()

    def make() -> None:
        array = mp.SharedArray((100, 100))
        array[...] = 3
        queue.put(array[10:])

    start(make).join(PATIENCE)
    got = queue.get(timeout=PATIENCE)
    assert got.shape == (90, 100)
    assert (got == 3).all()
    got[...] = 4


def test_used_after_the_pool_is_gone(mp: Context) -> None:
    with mp.Pool(2) as pool:
        arrays = pool.map(lambda n: mp.SharedArray(n, fill=n), range(1, 50))
    assert [a.sum() for a in arrays] == [n * n for n in range(1, 50)]


@pytest.mark.needs("kills")
def test_used_after_its_creator_was_killed(mp: Context, start: Start) -> None:
    queue = mp.Queue()

    def make() -> None:
        queue.put(mp.SharedArray(50_000, fill=2))
        os.kill(os.getpid(), signal.SIGKILL)

    p = start(make)
    p.join(PATIENCE)
    assert p.exitcode == -signal.SIGKILL
    got = queue.get(timeout=PATIENCE)
    assert got.sum() == 100_000


@pytest.mark.needs("kills")
def test_memory_is_free_with_the_last_who_has_it(mp: Context, start: Start) -> None:
    begun = mp.Event()
    before = _native.usage()[1]
    array = mp.SharedArray(1_000_000)
    held = _native.usage()[1]
    assert held >= before + array.nbytes

    def keep(_got: Any) -> None:
        begun.set()
        mp.Event().wait()

    p = start(keep, array[5:])
    begun.wait(PATIENCE)
    view = array[::3]
    del array
    del view
    assert _native.usage()[1] >= before + 8_000_000
    p.kill()
    p.join(PATIENCE)
    del p
    assert _native.usage()[1] < before + 8_000_000


def test_given_up_undelivered(mp: Context) -> None:
    queue = mp.Queue()
    before = _native.usage()[1]
    for _ in range(10):
        queue.put(mp.SharedArray(100_000))
        queue.put({"x": mp.SharedArray(100_000)})
    while not queue.empty():
        queue.get()
    queue.put(mp.SharedArray(100_000))
    del queue
    assert _native.usage()[1] <= before


def test_with_a_lock(mp: Context) -> None:
    array: Any = mp.SharedArray((2, 3), "i8", lock=True)
    assert isinstance(array, np.ndarray)
    assert isinstance(array, allcores.SharedArray)

    def add(part: Any) -> None:
        for _ in range(200):
            with part.get_lock():
                part[0] += 1

    with mp.Pool(2) as pool:
        pool.map(add, [array[0], array[0], array[0, :2]], chunksize=1)
    assert array[0, 0] == 600
    computed: Any = array + 1
    assert type(computed) is np.ndarray
    assert isinstance(array.sum(), np.integer)
    assert array[1:].get_lock().offset == array.get_lock().offset
    with pytest.raises(AttributeError, match="no lock"):
        array.copy().get_lock()
    lock = mp.Lock()
    both = [mp.SharedArray(3, lock=lock), mp.SharedArray.from_array([1, 2], lock=lock)]
    assert all(a.get_lock() is lock for a in both)
    with mp.Pool(1) as pool:
        assert pool.apply(lambda a: a.get_lock().offset, (both[1],)) == lock.offset
        assert type(pool.apply(lambda a: a, (array.copy(),))) in (np.ndarray, type(array))


@pytest.mark.needs("kills")
def test_the_holder_of_its_lock_dies(mp: Context, start: Start) -> None:
    array = mp.SharedArray(3, lock=True)

    def die() -> None:
        array.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)

    start(die).join(PATIENCE)
    with pytest.raises(allcores.OwnerDied):
        array.get_lock().acquire()
    array.get_lock().recover()
    with array.get_lock():
        array[0] = 1


def test_a_view_of_an_array_is_shared_too(mp: Context, start: Start) -> None:
    numbers = mp.Array("i", range(10))
    view = np.asarray(numbers)
    assert np.shares_memory(view, np.asarray(numbers))

    def double(got: Any) -> None:
        got *= 2

    start(double, view[5:]).join(PATIENCE)
    assert numbers[:] == [0, 1, 2, 3, 4, 10, 12, 14, 16, 18]


def test_plain_pickle_copies_it(mp: Context) -> None:
    array = numbers(mp)
    copied = pickle.loads(pickle.dumps(array))
    assert np.array_equal(copied, array)
    assert not is_shared(copied)


def test_others_take_it_without_a_copy(mp: Context) -> None:
    array = numbers(mp)
    assert np.shares_memory(np.from_dlpack(array), array)
    assert np.shares_memory(np.asarray(memoryview(array)), array)
    memoryview(array)[0, 0] = 77
    assert array[0, 0] == 77


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (((-1,),), ValueError, "negative"),
        ((3.5,), TypeError, "whole number"),
        (("abc",), TypeError, "whole number"),
        ((((2, 3), 4),), TypeError, "whole number"),
        (((1 << 40, 1 << 40),), ValueError, "more than any memory"),
        (((1 << 70,),), ValueError, "more than any memory"),
        (((0, 1 << 70),), ValueError, "more than any memory"),
        (((1 << 43,),), MemoryError, "needed"),
        ((3, object), TypeError, "share"),
        ((3, [("a", object)]), TypeError, "pointers"),
        ((3, "no such"), TypeError, "no such"),
    ],
    ids=str,
)
def test_bad_shapes_and_dtypes(mp: Context, arguments: Any, error: type[Exception], said: str) -> None:
    gc.collect()  # what earlier tests have left to it is theirs
    before = _native.usage()[:2]
    with pytest.raises(error, match=said):
        mp.SharedArray(*arguments)
    assert _native.usage()[:2] == before


@pytest.mark.parametrize(
    ("dtype", "fill", "error"),
    [
        ("i4", float("nan"), ValueError),
        ("i4", np.float64("inf"), ValueError),
        ("u1", 300, OverflowError),
        ("u1", -1, OverflowError),
        ("i2", np.int64(1 << 20), OverflowError),
        ("f8", "text", ValueError),
        ("f8", [1, 2], ValueError),
        ("f8", np.zeros((2, 3)), ValueError),
    ],
    ids=str,
)
def test_bad_fills(mp: Context, dtype: str, fill: Any, error: type[Exception]) -> None:
    before = _native.usage()[:2]
    with pytest.raises(error):
        mp.SharedArray(3, dtype, fill=fill)
    assert _native.usage()[:2] == before


def test_bad_locks(mp: Context) -> None:
    with pytest.raises(TypeError, match="lock must be"):
        mp.SharedArray(3, lock="yes")
    with pytest.raises(TypeError, match="lock must be"):
        mp.SharedArray.from_array([1], lock=1)
    with pytest.raises(TypeError, match="pointers"):
        mp.SharedArray.from_array([object()])


def test_stale_and_foreign_handles(mp: Context) -> None:
    array = mp.SharedArray(10)
    memory = array.base
    offset = memory.offset
    with pytest.raises(ValueError, match="do not fit"):
        _native.Memory(1 << 40, offset, False)
    with pytest.raises(ValueError, match="names nothing"):
        _native.Memory(10, offset + 64, False)
    del array, memory
    with pytest.raises(ValueError, match="names nothing"):
        _native.Memory(80, offset, False)
