"""Value: one number, shared and typed."""

import ctypes
import re
import threading
from typing import Any

import numpy as np
import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle

CODES = "cbBuhHiIlLqQfd"
INTEGERS = "bBhHiIlLqQ"


def bounds(code: str) -> tuple[int, int]:
    info = np.iinfo(np.dtype(code))
    return int(info.min), int(info.max)


def codes_in(message: str) -> set[str]:
    """The type codes a message lists: letters that stand alone."""
    return set(re.findall(r"(?<!\w)[a-zA-Z](?!\w)", message))


def check_message_lists_codes(error: BaseException) -> None:
    assert codes_in(str(error)) >= set(CODES)


def store_here_and_there(mp: Context, value: Handle, thing: object) -> None:
    """A worker stores it and this program reads it; this program stores it and a worker reads it."""
    before = value.value

    def store() -> object:
        value.value = thing
        return value.value

    p = mp.Process(target=store)
    p.start()
    p.join(PATIENCE)
    assert p.result() == value.value == thing
    value.value = before
    assert value.value == before


@pytest.mark.parametrize("code", INTEGERS)
def test_integer_codes_over_their_whole_range(mp: Context, code: str) -> None:
    low, high = bounds(code)
    value = mp.Value(code, low)
    assert value.value == low
    store_here_and_there(mp, value, high)
    for wrong in (low - 1, high + 1):
        with pytest.raises((ValueError, OverflowError)) as caught:
            value.value = wrong
        check_message_lists_codes(caught.value)
        with pytest.raises((ValueError, OverflowError)) as caught:
            mp.Value(code, wrong)
        assert str(wrong) in str(caught.value)
    assert value.value == low


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [("c", b"a", b"\xff"), ("u", "a", "ü"), ("f", 0.5, -2.0), ("d", 0.1, 1e300)],
)
def test_the_other_codes(mp: Context, code: str, first: object, second: object) -> None:
    value = mp.Value(code, first)
    assert value.value == first
    store_here_and_there(mp, value, second)


@pytest.mark.parametrize("code", CODES)
def test_without_an_initial_value_it_is_zero(mp: Context, code: str) -> None:
    zero = {"c": b"\0", "u": "\0"}.get(code, 0)
    assert mp.Value(code).value == zero


@pytest.mark.parametrize("code", CODES)
def test_a_value_of_the_wrong_type(mp: Context, code: str) -> None:
    good: Any = {"c": b"a", "u": "a"}.get(code, 1)
    value = mp.Value(code, good)
    wrongs: list[object] = [None, [1], "ab", b"ab"]
    wrongs += ["a"] if code == "c" else [b"a", 5] if code == "u" else ["1"]
    wrongs += [1.5] if code in INTEGERS else []
    for wrong in wrongs:
        with pytest.raises((TypeError, ValueError)) as caught:
            value.value = wrong
        check_message_lists_codes(caught.value)
        with pytest.raises((TypeError, ValueError)):
            mp.Value(code, wrong)
    assert value.value == good


@pytest.mark.parametrize("code", ["x", "ii", "int", "", "F"])
def test_an_unknown_code(mp: Context, code: str) -> None:
    for maker in (mp.Value, mp.Array):
        with pytest.raises((TypeError, ValueError)) as caught:
            maker(code, 1)
        check_message_lists_codes(caught.value)
        assert repr(code) in str(caught.value)


SIMPLE = [
    (ctypes.c_bool, True),
    (ctypes.c_char, b"x"),
    (ctypes.c_wchar, "ä"),
    (ctypes.c_int8, -128),
    (ctypes.c_uint8, 255),
    (ctypes.c_int16, -(2**15)),
    (ctypes.c_uint16, 2**16 - 1),
    (ctypes.c_int32, -(2**31)),
    (ctypes.c_uint32, 2**32 - 1),
    (ctypes.c_int64, -(2**63)),
    (ctypes.c_uint64, 2**64 - 1),
    (ctypes.c_long, -1),
    (ctypes.c_longlong, -1),
    (ctypes.c_size_t, 2**63),
    (ctypes.c_float, 0.5),
    (ctypes.c_double, 0.1),
]


@pytest.mark.parametrize(("ctype", "thing"), SIMPLE)
def test_ctypes(mp: Context, ctype: type, thing: Any) -> None:
    value = mp.Value(ctype, thing)
    assert value.value == thing
    assert type(value.value) is type(thing)
    assert mp.Value(ctype).value == ctype().value
    store_here_and_there(mp, value, thing)


@pytest.mark.parametrize(
    ("given", "largest", "too_much"),
    [
        (0, 2**63 - 1, 2**63),
        (-5, -(2**63), -(2**63) - 1),
        (np.int32(0), 2**31 - 1, 2**31),
        (np.uint8(0), 255, 256),
        (np.uint64(0), 2**64 - 1, -1),
    ],
    ids=repr,
)
def test_the_type_of_an_integer_is_inferred(mp: Context, given: Any, largest: int, too_much: int) -> None:
    value = mp.Value(given)
    assert value.value == given
    assert type(value.value) is int
    store_here_and_there(mp, value, largest)
    with pytest.raises((ValueError, OverflowError)):
        value.value = too_much


@pytest.mark.parametrize(("given", "other"), [(0.5, 1e300), (np.float64(0.1), 2.5), (np.float32(0.5), -1.25)])
def test_the_type_of_a_float_is_inferred(mp: Context, given: Any, other: float) -> None:
    value = mp.Value(given)
    assert value.value == given
    assert type(value.value) is float
    store_here_and_there(mp, value, other)


@pytest.mark.parametrize("given", [True, np.bool_(True)], ids=repr)
def test_the_type_of_a_bool_is_inferred(mp: Context, given: Any) -> None:
    value = mp.Value(given)
    assert value.value is True
    value.value = False
    assert value.value is False


@pytest.mark.parametrize("given", [None, [1], {}, object(), 2**70, np.zeros(3)], ids=str)
def test_a_type_that_cannot_be_inferred(mp: Context, given: object) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)) as caught:
        mp.Value(given)
    check_message_lists_codes(caught.value)


def test_numpy_scalars_can_be_stored(mp: Context) -> None:
    value, real = mp.Value("i", np.int64(3)), mp.Value("d", np.float32(0.5))
    assert (value.value, real.value) == (3, 0.5)
    value.value = np.int8(-4)
    real.value = np.int64(2)
    assert (value.value, real.value) == (-4, 2.0)


@pytest.mark.needs("shares")
def test_get_obj_and_get_lock(mp: Context) -> None:
    value = mp.Value("i", 5)
    assert value.get_obj().value == 5
    value.get_obj().value = 6
    with value.get_lock():
        value.value += 1
        with value.get_lock():  # as in the standard library it is an RLock
            value.value += 1
    assert value.value == 8


def test_without_a_lock(mp: Context) -> None:
    value = mp.Value("i", 5, lock=False)
    store_here_and_there(mp, value, 7)
    assert value.value == 5


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_with_a_lock_of_ones_own(mp: Context, kind: str) -> None:
    lock = getattr(mp, kind)()
    value = mp.Value("i", 0, lock=lock)
    assert value.get_lock() is lock
    workers = [mp.Process(target=jobs.add_up_locked, args=(value, 200)) for _ in range(2)]
    for p in workers:
        p.start()
    for p in workers:
        p.join(PATIENCE)
    assert value.value == 400


@pytest.mark.lacks("cluster")  # where the value is, it means nothing
def test_a_lock_of_threads_guards_as_in_the_standard_library(mp: Context) -> None:
    lock = threading.RLock()
    value, array = mp.Value("i", 5, lock=lock), mp.Array("d", [1.0, 2.0], lock=lock)
    assert value.get_lock() is lock
    assert array.get_lock() is lock
    blocked = []

    def write() -> None:
        value.value = 7
        array[1] = 3.0
        blocked.append(False)

    thread = threading.Thread(target=write)
    with value:
        thread.start()
        assert not blocked
        assert value.value == 5
    thread.join()
    assert (value.value, array[:]) == (7, [1.0, 3.0])


def test_a_lock_that_is_none(mp: Context) -> None:
    with pytest.raises((AttributeError, TypeError, ValueError), match=r"acquire|lock"):
        mp.Value("i", 0, lock=5)
