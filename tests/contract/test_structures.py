"""Value and Array of ctypes Structures, Unions and arrays: many fields, one lock."""

import copy
import ctypes
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from .kit import PATIENCE, Context, Handle

pytestmark = pytest.mark.needs("shares")  # a cluster's values are numbers

Start = Callable[..., Handle]


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_double), ("y", ctypes.c_double))


class Inner(ctypes.Structure):
    _fields_ = (("a", ctypes.c_short), ("b", ctypes.c_double))


class Flags(ctypes.Structure):
    _fields_ = (
        ("small", ctypes.c_int, 3),
        ("wide", ctypes.c_uint, 13),
        ("on", ctypes.c_bool, 1),
        ("far", ctypes.c_uint64, 40),
    )


class Both(ctypes.Union):
    _fields_ = (("i", ctypes.c_uint32), ("f", ctypes.c_float))


class Record(ctypes.Structure):
    _fields_ = (
        ("id", ctypes.c_int64),
        ("name", ctypes.c_char * 8),
        ("word", ctypes.c_wchar * 4),
        ("row", ctypes.c_int * 3),
        ("inner", Inner),
        ("both", Both),
        ("precise", ctypes.c_longdouble),
    )


class Packed(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("c", ctypes.c_char), ("d", ctypes.c_double), ("q", ctypes.c_uint, 12), ("end", ctypes.c_uint16))


class Foreign(ctypes.BigEndianStructure):
    _fields_ = (("i", ctypes.c_int), ("h", ctypes.c_ushort))


class Hidden(ctypes.Structure):
    _anonymous_ = ("both",)
    _fields_ = (("kind", ctypes.c_int), ("both", Both))


class Longer(Point):
    _fields_ = (("z", ctypes.c_double),)  # type: ignore[assignment] # ctypes adds them to those of the base


class Checked(ctypes.Structure):
    """With an ``__init__`` and a ``__bytes__`` of its own."""

    _fields_ = (("least", ctypes.c_int), ("most", ctypes.c_int))

    def __init__(self, middle: int = 0) -> None:
        super().__init__(middle - 1, middle + 1)

    def __bytes__(self) -> bytes:
        return b"something else"


def test_fields_are_read_and_written(mp: Context, start: Start) -> None:
    value = mp.Value(Point, 1.0, 2.0)

    def move() -> tuple[float, float]:
        value.x = 3
        value.y += 0.5
        return value.x, value.y

    assert start(move).result(PATIENCE) == (value.x, value.y) == (3.0, 2.5)


def test_the_rest_is_zero(mp: Context) -> None:
    assert (mp.Value(Point).x, mp.Value(Point, 1).y, mp.Value(Record, 5).name) == (0.0, 0.0, b"")


def test_several_fields_under_one_lock(mp: Context, start: Start) -> None:
    value = mp.Value(Point)

    def both_up() -> None:
        for _ in range(200):
            with value.get_lock():
                value.x += 1
                value.y += 1

    def read() -> bool:
        return all(same() for _ in range(200))

    def same() -> bool:
        with value:
            return bool(value.x == value.y)

    workers = [start(both_up), start(both_up), start(read)]
    assert [w.result(PATIENCE) for w in workers] == [None, None, True]
    assert (value.x, value.y) == (400, 400)


def test_get_obj_looks_at_the_same_memory(mp: Context, start: Start) -> None:
    value = mp.Value(Point, 1, 2)
    obj = value.get_obj()
    assert type(obj) is Point
    obj.x = 7
    assert start(lambda one: (type(one.get_obj()) is Point, one.x), value).result(PATIENCE) == (True, 7.0)
    del value
    gc.collect()
    obj.y = 5
    assert (obj.x, obj.y) == (7.0, 5.0)


@pytest.mark.parametrize("make", ["Value", "RawValue"])
def test_without_a_lock(mp: Context, start: Start, make: str) -> None:
    value = mp.RawValue(Point, 1, 2) if make == "RawValue" else mp.Value(Point, 1, 2, lock=False)
    start(setattr, value, "x", 5).join(PATIENCE)
    assert (value.x, value.y) == (5.0, 2.0)
    with pytest.raises(AttributeError, match="lock=False"):
        value.get_lock()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_with_a_lock_of_ones_own(mp: Context, kind: str) -> None:
    lock = getattr(mp, kind)()
    value, array = mp.Value(Point, lock=lock), mp.Array(Point, 2, lock=lock)
    assert value.get_lock() is array.get_lock() is lock
    with value.get_lock():
        value.x = 1
        array[0] = (2, 3)
    assert (value.x, array[0].y) == (1.0, 3.0)


def test_all_kinds_of_fields(mp: Context, start: Start) -> None:
    value = mp.Value(Record, 1, b"abc", "hé", (1, 2), (3, 4.5), (5,), 0.5)

    def look() -> tuple[Any, ...]:
        return (
            *(value.id, value.name, value.word, value.row[:], value.inner.a, value.inner.b),
            *(value.both.i, value.precise),
        )

    assert start(look).result(PATIENCE) == look() == (1, b"abc", "hé", [1, 2, 0], 3, 4.5, 5, 0.5)

    def change() -> None:
        value.id, value.name, value.word, value.row = -1, b"12345678", "wörd", range(3)
        value.inner, value.both, value.precise = Inner(6, 7), (0x3F800000,), 2
        value.row[1] = 10
        value.inner.b = 8

    start(change).result(PATIENCE)
    assert look() == (-1, b"12345678", "wörd", [0, 10, 2], 6, 8.0, 0x3F800000, 2.0)
    assert value.both.f == 1.0
    value.name = b"x"  # as in ctypes: a zero after it, and the rest stays
    assert value.name == b"x"
    assert bytes(memoryview(value.get_obj()).cast("B"))[8:16] == b"x\x00345678"


def test_bit_fields(mp: Context, start: Start) -> None:
    value = mp.Value(Flags, -4, 8191, True, 2**40 - 1)

    def change() -> tuple[Any, ...]:
        found = value.small, value.wide, value.on, value.far
        value.small, value.on, value.far = 3, False, 1
        return found

    assert start(change).result(PATIENCE) == (-4, 8191, True, 2**40 - 1)
    assert (value.small, value.wide, value.on, value.far) == (3, 8191, False, 1)
    for name, wrong in (("small", 4), ("small", -5), ("wide", 8192), ("wide", -1), ("far", 2**40)):
        with pytest.raises(OverflowError, match=rf"{wrong}.*Flags\.{name}"):
            setattr(value, name, wrong)
    assert (value.small, value.wide, value.far) == (3, 8191, 1)


@pytest.mark.needs("parallel")
@pytest.mark.parametrize("lock", [True, False])
def test_bit_fields_side_by_side_lose_nothing(mp: Context, start: Start, lock: bool) -> None:
    """They share their bytes; even without a lock nobody overwrites the bits of a neighbour."""
    value = mp.Value(Flags, lock=lock)

    def count(name: str, modulus: int) -> bool:
        for i in range(2_000):
            setattr(value, name, i % modulus)
            if getattr(value, name) != i % modulus:
                return False
        return True

    workers = [start(count, "small", 4), start(count, "wide", 8192)]
    assert [w.result(PATIENCE) for w in workers] == [True, True]
    assert (value.small, value.wide, value.on) == (1_999 % 4, 1_999, False)


def test_other_layouts(mp: Context, start: Start) -> None:
    packed, foreign, hidden, longer = (
        *(mp.Value(Packed, b"a", 2.5, 77, 9), mp.Value(Foreign, 1, 2)),
        *(mp.Value(Hidden, 1, (0,)), mp.Value(Longer, 1, 2, 3)),
    )

    def change() -> None:
        packed.d, packed.q, packed.end = 3.5, 4095, 10
        foreign.i = 5
        hidden.f = 1.0
        longer.x, longer.z = 10, 30

    start(change).result(PATIENCE)
    assert (packed.c, packed.d, packed.q, packed.end) == (b"a", 3.5, 4095, 10)
    assert (foreign.i, foreign.h, bytes(foreign.get_obj())[:6]) == (5, 2, b"\0\0\0\5\0\2")
    assert (hidden.i, hidden.kind) == (0x3F800000, 1)
    assert (longer.x, longer.y, longer.z) == (10, 2, 30)


def test_unions(mp: Context) -> None:
    value, array = mp.Value(Both, 1), mp.Array(Both, [(1,), Both(f=1.0)])
    value.f = 1.0
    assert (value.i, array[0].i, array[1].i) == (0x3F800000, 1, 0x3F800000)


def test_a_class_with_methods_of_its_own(mp: Context) -> None:
    value, array = mp.Value(Checked, 5), mp.Array(Checked, [(1,), Checked(7)])
    assert (value.least, value.most) == (4, 6)
    assert [(one.least, one.most) for one in array] == [(0, 2), (6, 8)]


def test_an_instance_is_a_first_value(mp: Context) -> None:
    one = Point(1, 2)
    for value in (mp.Value(Point, one), mp.Value(one), mp.RawValue(one)):
        value.x = 10
        assert (value.x, value.y, one.x) == (10.0, 2.0, 1.0)


def test_value_of_an_array_type(mp: Context) -> None:
    assert mp.Value(ctypes.c_int * 3, 1, 2)[:] == [1, 2, 0]
    text = mp.Value(ctypes.c_char * 8, b"abc")
    assert (text.value, text.raw) == (b"abc", b"abc" + bytes(5))
    assert mp.Value((ctypes.c_int * 2) * 2, (1, 2))[0][:] == [1, 2]


# --- Array ----------------------------------------------------------------------------------------


def test_an_array_of_structures(mp: Context, start: Start) -> None:
    array = mp.Array(Point, [(1, 2), Point(3, 4), [5, 6]])

    def change() -> list[tuple[float, float]]:
        array[0].x = 10
        array[-1] = (50, 60)
        array[1] = Point(30, 40)
        return [(one.x, one.y) for one in array]

    assert start(change).result(PATIENCE) == [(10, 2), (30, 40), (50, 60)]
    assert [(one.x, one.y) for one in array] == [(10, 2), (30, 40), (50, 60)]
    assert (len(array), type(array[0]), len(mp.Array(Point, 5)), mp.Array(Point, 5)[4].x) == (3, Point, 5, 0.0)


SLICES = [slice(None), slice(1, 3), slice(-2, None), slice(None, None, 2), slice(None, None, -1), slice(5, 9)]


@pytest.mark.parametrize("part", SLICES, ids=str)
def test_slices(mp: Context, part: slice) -> None:
    plain = [(float(i), -float(i)) for i in range(5)]
    array = mp.Array(Point, plain)
    assert [(one.x, one.y) for one in array[part]] == plain[part]
    new = [(x + 10, y) for x, y in plain[part]]
    plain[part] = new
    array[part] = new
    assert [(one.x, one.y) for one in array] == plain


def test_empty_and_large(mp: Context) -> None:
    for empty in (mp.Array(Point, 0), mp.Array(Point, [])):
        assert (len(empty), list(empty), empty[:]) == (0, [], [])
    large = mp.Array(Point, 200_000)
    large[199_999].y = 1.5
    assert large[-1].y == 1.5


def test_arrays_of_arrays(mp: Context, start: Start) -> None:
    rows, names = mp.Array(ctypes.c_int * 3, 2), mp.Array(ctypes.c_char * 8, [b"one", b"two"])

    def change() -> None:
        rows[1] = (1, 2, 3)
        rows[0][2] = 7
        names[0] = b"zero"
        names[1].value = b"2"

    start(change).result(PATIENCE)
    assert [list(row) for row in rows] == [[0, 0, 7], [1, 2, 3]]
    assert ([name.value for name in names], names[0].raw) == ([b"zero", b"2"], b"zero" + bytes(4))


def test_locks_of_arrays(mp: Context, start: Start) -> None:
    own, none, raw = mp.Array(Point, 1), mp.Array(Point, 1, lock=False), mp.RawArray(Point, 1)

    def change() -> None:
        for _ in range(100):
            with own.get_lock():
                own[0].x += 1
        none[0].x = raw[0].x = 5

    for worker in [start(change), start(change)]:
        worker.result(PATIENCE)
    assert (own[0].x, none[0].x, raw[0].x) == (200, 5, 5)


# --- on the way -----------------------------------------------------------------------------------


def test_they_travel_by_handle(mp: Context, start: Start) -> None:
    value, array, queue = mp.Value(Point, 1, 2), mp.Array(Record, 2), mp.Queue()
    queue.put({"deep": [value, array]})
    value_there, array_there = queue.get(timeout=PATIENCE)["deep"]
    value_there.x, array_there[1].id = 5, 6
    assert (value.x, array[1].id) == (5.0, 6)
    with mp.Pool(2) as pool:
        assert pool.map(lambda one: (type(one.get_obj()) is Point, one.x), [value] * 3) == [(True, 5.0)] * 3
        assert pool.apply_async(lambda: array[1].id).get(PATIENCE) == 6
    for twin in (pickle.loads(pickle.dumps(value)), copy.copy(value)):
        twin.y = 9
        assert value.y == 9.0


def test_they_outlive_their_maker(mp: Context, start: Start) -> None:
    def make() -> tuple[Handle, Handle]:
        return mp.Value(Point, 1, 2), mp.Array(Record, [(5, b"abc")])

    value, array = start(make).result(PATIENCE)
    assert (value.x, value.get_lock().acquire(timeout=PATIENCE), array[0].name) == (1.0, True, b"abc")


def test_a_class_that_nobody_can_import(mp: Context, start: Start) -> None:
    """It goes by value, and is the same class wherever it arrives, however often."""

    class Part(ctypes.Structure):
        _fields_ = (("n", ctypes.c_int), ("row", ctypes.c_short * 2), ("far", Foreign))

    class Whole(ctypes.Union):
        _anonymous_ = ("part",)
        _pack_ = 1
        _fields_ = (("part", Part), ("raw", ctypes.c_ubyte * 16))

        def twice(self) -> int:
            return int(2 * self.n)

    class Strange(ctypes.LittleEndianStructure):
        _fields_ = (("v", ctypes.c_int.__ctype_be__), ("bits", ctypes.c_int, 3))

    value, array, odd = mp.Value(Whole, (1, (2, 3))), mp.Array(Part, 2), mp.Value(Strange, 5, -1)

    def look(one: Handle, row: Handle) -> Handle:
        assert type(one.get_obj()) is Whole
        assert type(row[0]) is type(one.part) is Part
        assert (odd.v, odd.bits) == (5, -1)
        row[0] = one.part
        one.n += 1
        return one.get_obj().twice(), one, Whole

    with mp.Pool(1) as pool:
        for n in (2, 3):
            twice, again, whole = pool.apply(look, (value, array))
            assert (twice, value.n, array[0].n, array[0].row[:]) == (2 * n, n, n - 1, [2, 3])
            assert type(again.get_obj()) is whole is Whole
