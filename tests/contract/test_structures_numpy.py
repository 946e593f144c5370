"""What NumPy and the buffer protocol see of Value and Array: the memory itself, never a copy."""

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from .kit import Context, Handle
from .test_structures import Both, Flags, Foreign, Inner, Packed, Point, Record

pytestmark = pytest.mark.needs("shares")  # a cluster's values are numbers


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("code", "cubBhHiIlLqQfd?")
def test_numbers(mp: Context, code: str, lock: bool) -> None:
    array = mp.Array(code, 3, lock=lock)
    view = np.asarray(array)
    assert view.dtype == np.dtype({"c": "S1", "u": "U1"}.get(code, code))
    assert (view.shape, view.flags.writeable, np.shares_memory(view, np.asarray(array))) == ((3,), True, True)
    view[1] = sample = {"c": b"x", "u": "x"}.get(code, 1)
    assert array[1] == sample
    assert memoryview(array).shape == (3,)
    assert np.frombuffer(array, dtype=view.dtype)[1] == sample


@pytest.mark.parametrize("lock", [True, False])
@pytest.mark.parametrize("kind", [Point, Inner, Both, Foreign, Both * 2, Inner * 3, ctypes.c_int * 3], ids=str)
def test_composed_types(mp: Context, kind: Any, lock: bool) -> None:
    array: Handle = mp.Array(kind, 4, lock=lock)
    view, expected = np.asarray(array), np.zeros(4, np.dtype(kind))
    assert (view.dtype, view.shape) == (expected.dtype, expected.shape)
    assert view.flags.writeable
    assert np.shares_memory(view, np.frombuffer(array, np.uint8))
    view.view(np.uint8).reshape(-1)[-1] = 7
    assert bytes(memoryview(array.get_obj()).cast("B"))[-1] == 7


def test_a_structured_array_is_a_view(mp: Context) -> None:
    array = mp.Array(Point, [(1, 2), (3, 4), (5, 6)])
    view = np.asarray(array)
    view["x"] *= 10
    array[2].y = 60
    assert view.tolist() == [(10, 2), (30, 4), (50, 60)]
    assert [(one.x, one.y) for one in array] == view.tolist()
    array[:] = view[::-1]
    assert view["x"].tolist() == [50, 30, 10]
    del array
    gc.collect()
    view["y"] = 1  # the view keeps the memory alive
    assert view["y"].sum() == 3


def test_made_of_a_structured_array(mp: Context) -> None:
    rows = np.array([(1, 2), (3, 4)], dtype=[("x", "d"), ("y", "d")])
    assert [(one.x, one.y) for one in mp.Array(Point, rows)] == [(1, 2), (3, 4)]
    assert mp.Array(ctypes.c_int * 2, np.arange(4).reshape(2, 2))[1][:] == [2, 3]


def test_a_value_is_an_array_without_dimensions(mp: Context) -> None:
    value = mp.Value(Point, 1, 2)
    view = np.asarray(value)
    assert view.shape == ()
    assert view["y"] == 2.0
    view["x"] = 5
    assert value.x == 5.0
    assert np.array(value).base is None
    assert np.asarray(mp.Value("d", 1.5)).tolist() == [1.5]


def test_packed_and_nested(mp: Context) -> None:
    class Plain(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("c", ctypes.c_char), ("d", ctypes.c_double), ("inner", Inner), ("row", ctypes.c_short * 2))

    view = np.asarray(mp.Array(Plain, [(b"a", 2.5, (1, 2), (3, 4))]))
    assert view.dtype == np.dtype(Plain)
    assert view[["c", "d", "inner"]][0].tolist() == (b"a", 2.5, (1, 2.0))
    assert view["row"].tolist() == [[3, 4]]


def test_what_numpy_cannot_say(mp: Context) -> None:
    for kind in (Flags, Packed, Record):
        with pytest.raises(TypeError, match=rf"NumPy has no type for {kind.__name__}.*get_obj"):
            np.asarray(mp.Array(kind, 2))
    with pytest.raises(TypeError, match="NumPy has no type for c_wchar"):
        np.asarray(mp.Array(ctypes.c_wchar * 4, 2))
    for vague in (Flags, Both):
        with pytest.raises(BufferError, match="get_obj"):
            memoryview(mp.Array(vague, 2))
        assert memoryview(mp.Array(vague, 2).get_obj()).nbytes == 2 * ctypes.sizeof(vague)


def test_memoryview(mp: Context) -> None:
    array, rows = mp.Array(Inner, 3), mp.Array(ctypes.c_int * 3, 2)
    view = memoryview(array)
    assert (view.itemsize, view.shape, view.readonly) == (ctypes.sizeof(Inner), (3,), False)
    assert (memoryview(rows).shape, np.frombuffer(rows, np.int32).size) == ((2, 3), 6)
    assert Inner.from_buffer(mp.Value(Inner, 1, 2)).b == 2.0
