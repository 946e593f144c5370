"""Structures, and values for them, that are refused: each with the argument, the value and the cure."""

import ctypes
from typing import Any

import pytest

from .kit import Context
from .test_structures import Point, Record

pytestmark = pytest.mark.needs("shares")  # a cluster's values are numbers


class Node(ctypes.Structure):
    pass


Node._fields_ = (("n", ctypes.c_int), ("next", ctypes.POINTER(Node)))


class Named(ctypes.Structure):
    _fields_ = (("n", ctypes.c_int), ("names", (ctypes.c_char_p * 2)))


class Unfinished(ctypes.Structure):
    pass


class Called(ctypes.Structure):
    _fields_ = (("f", ctypes.CFUNCTYPE(ctypes.c_int)),)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Node, r"Node\.next is a pointer"),
        (Named, r"Named\.names\[0\] is a pointer.*c_char \* 64"),
        (Called, r"Called\.f is a pointer"),
        (ctypes.c_void_p, "c_void_p is a pointer"),
        (ctypes.py_object, "py_object is a pointer"),
        (ctypes.POINTER(Point), "LP_Point is a pointer"),
        (Unfinished, "Unfinished has no _fields_ yet"),
        (int, "int is no type for shared memory"),
        (ctypes.c_int.__ctype_be__, "no type for shared memory"),
    ],
    ids=str,
)
def test_types_that_cannot_be_shared(mp: Context, kind: Any, message: str) -> None:
    calls: list[tuple[Any, ...]] = [(mp.Value, kind), (mp.Array, kind, 3), (mp.Array, kind, [])]
    for make, *args in calls:
        with pytest.raises(TypeError, match=message):
            make(*args)


BAD_FIRST = [
    ((1, 2, 3), TypeError, r"Point has 2 fields \(x, y\), and 3 values"),
    (("a",), TypeError, r"Point\.x \(c_double\) needs .*'a' \(str\)"),
    ((None,), TypeError, r"Point\.x.*None"),
    (((1, 2),), TypeError, r"Point\.x"),
]


@pytest.mark.parametrize(("args", "error", "message"), BAD_FIRST, ids=str)
def test_first_values_that_do_not_fit(mp: Context, args: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mp.Value(Point, *args)
    with pytest.raises(error, match=message.replace("Point", r"Point \[1\]", 1)):
        mp.Array(Point, [(0, 0), args])


BAD_FIELDS = [
    ("id", 2**63, OverflowError, r"Record\.id.*9223372036854775808"),
    ("id", 1.5, TypeError, r"Record\.id.*1\.5"),
    ("name", b"123456789", ValueError, r"Record\.name has 8 elements, and 9"),
    ("name", "text", TypeError, r"Record\.name.*'text'"),
    ("word", "wörds", ValueError, r"Record\.word has 4 elements, and 5"),
    ("row", (1, 2, 3, 4), ValueError, r"Record\.row has 3 elements, and 4"),
    ("row", (1, 2**31), OverflowError, r"2147483648.*Record\.row\[1\]"),
    ("row", 5, TypeError, r"Record\.row.*5"),
    ("inner", (1, 2, 3), TypeError, r"Record\.inner has 2 fields"),
    ("inner", (2**15, 0), OverflowError, r"32768.*Record\.inner\.a"),
    ("inner", Point(1, 2), TypeError, r"Record\.inner"),
    ("precise", "a", TypeError, r"Record\.precise"),
    ("nosuch", 1, AttributeError, "nosuch"),
]


@pytest.mark.parametrize(("name", "wrong", "error", "message"), BAD_FIELDS, ids=str)
def test_values_that_do_not_fit_a_field(
    mp: Context, name: str, wrong: Any, error: type[Exception], message: str
) -> None:
    value = mp.Value(Record, 1, b"abc", "hé", (1, 2, 3), (4, 5))
    before = bytes(memoryview(value.get_obj()).cast("B"))
    with pytest.raises(error, match=message):
        setattr(value, name, wrong)
    assert bytes(memoryview(value.get_obj()).cast("B")) == before


def test_a_field_that_is_not_there(mp: Context) -> None:
    with pytest.raises(AttributeError, match=r"Point has no field 'z', but x, y"):
        getattr(mp.Value(Point), "z")  # noqa: B009 - to be asked for, not used
    with pytest.raises(TypeError, match=r"'_memory' of Clash"):
        mp.Value(type("Clash", (ctypes.Structure,), {"_fields_": [("_memory", ctypes.c_int)]}))


def test_sizes_and_data_that_cannot_be(mp: Context) -> None:
    with pytest.raises(ValueError, match="-1"):
        mp.Array(Point, -1)
    for size in (2**45, 2**60, 2**70):
        with pytest.raises(MemoryError, match=r"needed.*to be had"):
            mp.Array(Point, size)
    for wrong in (1.5, object()):
        with pytest.raises(TypeError, match="a size or a sequence of Point"):
            mp.Array(Point, wrong)
    with pytest.raises(TypeError, match="needs a size or first values"):
        mp.Array(Point)
    with pytest.raises(TypeError, match=r"Point \[0\].*'a'"):
        mp.Array(Point, "ab")
    with pytest.raises(ValueError, match="c_int_Array_2 has 2 elements, and 3"):
        mp.Value(ctypes.c_int * 2, 1, 2, 3)
    with pytest.raises(AttributeError, match=r"lock.*5"):
        mp.Value(Point, lock=5)


def test_bad_use_of_an_array(mp: Context) -> None:
    array = mp.Array(Point, [(1, 2), (3, 4)])
    for i in (2, -3, 2**70):
        with pytest.raises(IndexError, match=str(i)):
            array[i]
        with pytest.raises(IndexError, match=str(i)):
            array[i] = (0, 0)
    with pytest.raises(TypeError):
        array["0"]
    with pytest.raises(TypeError, match=r"Point \[1\]\.y.*'b'"):
        array[1] = (0, "b")
    for wrong in ([], [(0, 0)], [(0, 0)] * 3):
        with pytest.raises(ValueError, match="2 elements"):
            array[:] = wrong
    with pytest.raises(TypeError, match=r"Point \[1\]\.x"):
        array[:] = [(0, 0), ("a", 0)]
    with pytest.raises(TypeError, match="deleted"):
        del array[0]
    assert [(one.x, one.y) for one in array] == [(1, 2), (3, 4)]
