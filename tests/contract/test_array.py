"""Array: a row of numbers, shared and typed."""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .kit import PATIENCE, Context, Handle
from .test_value import CODES, INTEGERS, bounds, check_message_lists_codes

Start = Callable[..., Handle]


@pytest.mark.parametrize("code", INTEGERS)
def test_integer_codes_over_their_whole_range(mp: Context, start: Start, code: str) -> None:
    low, high = bounds(code)
    array = mp.Array(code, [low, 1, high])

    def turn() -> list[int]:
        array[0], array[2] = array[2], array[0]
        return list(array)

    p = start(turn)
    p.join(PATIENCE)
    assert p.result() == array[:] == [high, 1, low]
    for wrong in (low - 1, high + 1):
        with pytest.raises((ValueError, OverflowError)) as caught:
            array[1] = wrong
        check_message_lists_codes(caught.value)
        with pytest.raises((ValueError, OverflowError)):
            array[0:2] = [0, wrong]
        with pytest.raises((ValueError, OverflowError)):
            mp.Array(code, [0, wrong])
    assert array[1:] == [1, low]


@pytest.mark.parametrize("code", ["f", "d"])
def test_float_codes(mp: Context, start: Start, code: str) -> None:
    array = mp.Array(code, [0.5, 1, -2.25])

    def double() -> None:
        for i in range(len(array)):
            array[i] *= 2

    start(double).join(PATIENCE)
    assert array[:] == [1.0, 2.0, -4.5]


@pytest.mark.parametrize("code", CODES)
def test_a_number_gives_that_many_zeros(mp: Context, code: str) -> None:
    array = mp.Array(code, 3)
    zero = {"c": b"\0", "u": "\0"}.get(code, 0)
    assert len(array) == 3
    assert [array[i] for i in range(3)] == [zero] * 3


def test_sizes_at_the_edge(mp: Context) -> None:
    assert mp.Array("i", 0)[:] == mp.Array("i", [])[:] == []
    big = mp.Array("d", 1_000_000)
    big[999_999] = 1.5
    assert (len(big), big[-1], big[500_000]) == (1_000_000, 1.5, 0.0)
    with pytest.raises(ValueError, match=r"-1|negative"):
        mp.Array("i", -1)


@pytest.mark.parametrize("source", [(1, 2, 3), range(1, 4), np.array([1, 2, 3]), {1: "", 2: "", 3: ""}], ids=type)
def test_from_any_sequence(mp: Context, source: Any) -> None:
    assert mp.Array("h", source)[:] == [1, 2, 3]


@pytest.mark.parametrize(
    ("given", "expected", "kind"),
    [
        ([1.5, 2], [1.5, 2.0], float),
        ([1, 2], [1, 2], int),
        ([True, False], [True, False], bool),
        (np.array([1, 2], dtype=np.int8), [1, 2], int),
        (np.array([0.5, 2], dtype=np.float32), [0.5, 2.0], float),
        (np.arange(10)[::3], [0, 3, 6, 9], int),
    ],
    ids=str,
)
def test_the_type_is_inferred(mp: Context, given: Any, expected: list[Any], kind: type) -> None:
    array = mp.Array(given)
    assert array[:] == expected
    assert {type(x) for x in array} == {kind}


def test_the_inferred_type_is_the_vectors_own(mp: Context) -> None:
    array = mp.Array(np.zeros(2, dtype=np.int8))
    with pytest.raises((ValueError, OverflowError)) as caught:
        array[0] = 128
    check_message_lists_codes(caught.value)
    wide = mp.Array([0, 0])
    wide[0] = 2**63 - 1
    assert wide[0] == 2**63 - 1


@pytest.mark.parametrize(
    "nested", [[[1, 2], [3, 4]], [(1,), (2,)], np.zeros((2, 2)), [np.zeros(2)]], ids=["lists", "tuples", "2-d", "rows"]
)
def test_nested_things_belong_into_a_shared_array(mp: Context, nested: Any) -> None:
    for args in ((nested,), ("i", nested)):
        with pytest.raises((TypeError, ValueError), match=r"one-dimensional.*SharedArray"):
            mp.Array(*args)


@pytest.mark.parametrize(
    "given", [["a", "b"], [None], [1, "a"], [], object()], ids=["letters", "None", "mixed", "empty", "object"]
)
def test_a_type_that_cannot_be_inferred(mp: Context, given: object) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        mp.Array(given)
    check_message_lists_codes(caught.value)


@pytest.mark.parametrize("ctype", [ctypes.c_int, ctypes.c_uint8, ctypes.c_double, ctypes.c_bool])
def test_ctypes(mp: Context, ctype: Any) -> None:
    array = mp.Array(ctype, [1, 0, 1])
    assert array[:] == [1, 0, 1]
    assert {type(x) for x in array} == {type(ctype(1).value)}


def test_indices(mp: Context) -> None:
    array = mp.Array("i", [1, 2, 3, 4])
    assert (array[0], array[3], array[-1], array[-4]) == (1, 4, 4, 1)
    array[-2] = 30
    array[np.int64(0)] = 10
    assert list(array) == [10, 2, 30, 4]
    for i in (4, -5, 2**40):
        with pytest.raises(IndexError):
            array[i]
        with pytest.raises(IndexError):
            array[i] = 0
        with pytest.raises(IndexError):
            array.add(i, 1)
    with pytest.raises(TypeError):
        array["0"]


SLICES = [slice(None), slice(1, 3), slice(-2, None), slice(None, None, 2), slice(None, None, -1), slice(5, 9)]


@pytest.mark.parametrize("part", SLICES, ids=str)
def test_slices(mp: Context, part: slice) -> None:
    plain = [1, 2, 3, 4, 5]
    array = mp.Array("i", plain)
    assert array[part] == plain[part]
    new = [10 * x for x in plain[part]]
    plain[part] = new
    array[part] = new
    assert array[:] == plain


def test_slices_take_vectors_and_tuples(mp: Context) -> None:
    array = mp.Array("d", 5)
    array[1:3] = np.array([0.5, 1.5])
    array[3:] = (2, 3)
    assert array[:] == [0.0, 0.5, 1.5, 2.0, 3.0]


def test_a_slice_keeps_its_length(mp: Context) -> None:
    array = mp.Array("i", [1, 2, 3])
    for wrong in ([], [1], [1, 2, 3, 4]):
        with pytest.raises(ValueError):  # noqa: PT011  the standard library's words vary
            array[0:2] = wrong
    assert array[:] == [1, 2, 3]


def test_a_slice_is_a_copy(mp: Context) -> None:
    array = mp.Array("i", [1, 2, 3])
    part = array[:]
    part[0] = 100
    assert array[0] == 1


def test_iteration_and_membership(mp: Context) -> None:
    array = mp.Array("i", [3, 1, 2])
    assert sorted(array) == [1, 2, 3]
    assert sum(array) == 6
    assert 2 in array
    assert 4 not in array


def test_a_value_of_the_wrong_type(mp: Context) -> None:
    array = mp.Array("i", [1, 2])
    wrongs: list[object] = ["1", None, 1.5, [1]]
    for wrong in wrongs:
        with pytest.raises((TypeError, ValueError)) as caught:
            array[0] = wrong
        check_message_lists_codes(caught.value)
        with pytest.raises((TypeError, ValueError)):
            array[:] = [1, wrong]
    assert array[:] == [1, 2]


def test_bytes(mp: Context, start: Start) -> None:
    array = mp.Array("c", b"hello")
    assert (array.value, array.raw, array[:], array[1:3], array[0]) == (b"hello", b"hello", b"hello", b"el", b"h")

    def change() -> None:
        array.value = b"hi"
        array[3] = b"!"

    start(change).join(PATIENCE)
    assert array.value == b"hi"
    assert array.raw == b"hi\0!o"
    array.raw = b"12345"
    assert array.value == b"12345"
    with pytest.raises(ValueError, match=r"long|fit"):
        array.value = b"too long for it"


def test_characters(mp: Context) -> None:
    array = mp.Array("u", "häl")
    assert array[:] == "häl"
    array[1] = "a"
    assert list(array) == ["h", "a", "l"]


@pytest.mark.needs("shares")
def test_get_obj_is_a_buffer(mp: Context, start: Start) -> None:
    """np.frombuffer(a.get_obj()) is how everybody gets from an Array to NumPy: a view, no copy."""
    array = mp.Array("d", [1, 2, 3])
    view = np.frombuffer(array.get_obj())
    assert view.tolist() == [1.0, 2.0, 3.0]
    view[0] = 10

    def change() -> None:
        np.frombuffer(array.get_obj())[1] = 20

    start(change).join(PATIENCE)
    assert array[:] == [10.0, 20.0, 3.0]
    assert view.tolist() == [10.0, 20.0, 3.0]
    assert array.get_obj()[2] == 3.0


def test_locks(mp: Context, start: Start) -> None:
    plain, lock = mp.Array("i", [0, 0]), mp.RLock()
    own, none = mp.Array("i", [0, 0], lock=lock), mp.Array("i", [0, 0], lock=False)
    assert own.get_lock() is lock

    def change() -> None:
        for array in (plain, own):
            with array.get_lock():
                array[0] += 1
        none[0] += 1

    start(change).join(PATIENCE)
    assert [array[:] for array in (plain, own, none)] == [[1, 0]] * 3
