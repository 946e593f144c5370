"""Small plain objects, which travel without a pickler: equal, of the same types, and one where they were one."""

import collections
import enum
import math
from typing import Any

import pytest

from .kit import PATIENCE, Context

Point = collections.namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


OBJECTS: tuple[Any, ...] = (
    (),
    [],
    {},
    (None, True, False, 0, -1, 2**63 - 1, -(2**63)),
    [2**63, -(2**63) - 1, 10**40],
    [0.0, -0.0, math.inf, 5e-324, 1.5],
    ["", "a", "ä", "日本語", "\0", "x" * 255, "y" * 256],
    ["\ud800 alone"],
    [b"", b"\0", b"z" * 200],
    {"id": 7, "name": "x", "price": 1.75, "sold": False, "note": None},
    {1: "a", 1.5: "b", None: "c", ("t", 2): "d", b"k": "e", True + 1: "f"},
    [[[[[[1]]]]]],
    [[[[[[[[1]]]]]]]],
    list(range(24)),
    list(range(300)),
    [()] * 300,
    ((1, 2), [3, (4, {"five": [6]})]),
    [Point(1, 2), Colour.RED, Name("n"), collections.OrderedDict(a=1), collections.Counter("aab")],
    {"deep": {"deeper": {"deepest": (1, [2])}}},
    [1j, {1, 2}, frozenset({3}), bytearray(b"b"), range(3), slice(1, 2)],
)


def types(obj: Any) -> Any:
    if isinstance(obj, dict):
        return type(obj), [(types(k), types(v)) for k, v in obj.items()]
    return (type(obj), [types(x) for x in obj]) if isinstance(obj, list | tuple) else type(obj)


@pytest.mark.parametrize("sent", OBJECTS, ids=lambda x: repr(x)[:30])
def test_equal_and_of_the_same_types(mp: Context, sent: Any) -> None:
    queue = mp.Queue()
    queue.put(sent)
    got = queue.get(timeout=PATIENCE)
    assert got == sent
    assert types(got) == types(sent)
    assert repr(got) == repr(sent)  # the order of dicts, the sign of zeros


def test_what_is_one_object_stays_one(mp: Context) -> None:
    inner = [1]
    pair = (inner, 2)
    table = {"a": 1}
    queue = mp.Queue()
    queue.put([inner, inner])
    first, second = queue.get(timeout=PATIENCE)
    assert first is second
    queue.put({"x": pair, "y": pair, "z": inner})
    got = queue.get(timeout=PATIENCE)
    assert got["x"][0] is got["y"][0] is got["z"]
    queue.put((table, [table]))
    one, (other,) = queue.get(timeout=PATIENCE)
    assert one is other


def test_what_contains_itself(mp: Context) -> None:
    circle: list[Any] = [1]
    circle.append(circle)
    queue = mp.Queue()
    queue.put(circle)
    got = queue.get(timeout=PATIENCE)
    assert got[1] is got


@pytest.mark.needs("copies")
def test_what_arrives_is_a_copy(mp: Context) -> None:
    sent = {"list": [1, 2], "dict": {}}
    queue = mp.Queue()
    queue.put(sent)
    got = queue.get(timeout=PATIENCE)
    got["list"].append(3)
    got["dict"]["k"] = 1
    assert sent == {"list": [1, 2], "dict": {}}


def test_on_both_sides_of_the_room_in_a_cell(mp: Context) -> None:
    queue = mp.Queue()
    for n in range(180, 240):
        for sent in (["x" * n], {"k": b"y" * n}, list(range(n // 9)), ("ä" * (n // 2), n)):
            queue.put(sent)
            assert queue.get(timeout=PATIENCE) == sent
