"""Fingerprints: the same in every run, another for everything that is another."""

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import itertools
import os
import pathlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import allcores
from allcores.pool import fingerprint

NAMES = frozenset("abcdefgh")
TABLE = {"a": 1, "b": {3, 4, 5}}


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]

    def __call__(self, y: Any) -> Any:
        return helper(y)


def helper(x: Any) -> Any:
    return x in {"a", "b", "c"} or x in TABLE


def outer(n: Any) -> Callable[..., Any]:
    def job(x: Any, among: Any = frozenset("qr")) -> Any:
        return helper(x), n, NAMES, Point, among

    return job


@functools.lru_cache
def cached(x: Any) -> Any:
    return helper(x)


def in_a_circle(x: Any) -> Any:
    return back(x)


def back(x: Any) -> Any:
    return in_a_circle(x)


def of(item: Any) -> bytes:
    return fingerprint.of_items([item])


def different_items() -> list[Any]:
    circle: list[Any] = [1]
    circle.append(circle)
    return [
        *(0, 1, -1, 255, 256, 10**6000, True, False, None, ..., 1.0, -0.0, 0.0, float("inf"), 1j, "", "a", "\udc80"),
        *(
            b"",
            b"a",
            bytearray(b"a"),
            memoryview(b"a"),
            (),
            [],
            {},
            set(),
            frozenset(),
            (1,),
            [1],
            {1},
            [[1]],
            [1, [2]],
        ),
        *(
            [[1], 2],
            ("a", "b"),
            ("ab",),
            {"a": 1, "b": 2},
            {"a": 2, "b": 1},
            {"x", "y", "z"},
            circle,
            range(3),
            slice(3),
        ),
        *(np.arange(4), np.arange(4.0), np.arange(4).reshape(2, 2), np.int32(4), np.zeros(2, [("a", "i4")])),
        *(
            np.zeros(0),
            np.zeros((0, 2)),
            np.zeros(3, "M8[s]"),
            np.array([{"a"}, 2], dtype=object),
            np.random.default_rng(3),
        ),
        *(
            datetime.datetime(2020, 1, 1),
            decimal.Decimal("1.2"),
            pathlib.Path("a"),
            re.compile("a+"),
            Color.RED,
            Color.BLUE,
        ),
        *(Point(1, {"a", "b", "c"}), Point(2, {"a", "b", "c"}), collections.OrderedDict(a=1), collections.deque("abc")),
        *(
            len,
            max,
            np.sin,
            "a".join,
            "b".join,
            Point,
            Color,
            re,
            outer,
            outer(1),
            outer(2),
            helper,
            cached,
            in_a_circle,
        ),
        *(
            functools.partial(outer, 3),
            functools.partial(outer, 4),
            Point(1, set()).__call__,
            ValueError("a"),
            ValueError("b"),
        ),
    ]


def functions() -> list[Callable[..., Any]]:
    return [
        *(outer({"a", "b"}), helper, cached, in_a_circle, Point(1, {"z", "y"}), Point(1, {"q"}).__call__, len, np.sin),
        *(functools.partial(outer, {"k", "l"}), str.upper, Point, lambda x: [y for y in x if y in NAMES]),
    ]


def everything() -> str:
    return repr([of(item).hex() for item in different_items()]) + repr(
        [fingerprint.of_function(f) for f in functions()]
    )


def test_other_items_have_other_fingerprints() -> None:
    items = different_items()
    prints = [of(item) for item in items]
    same = [(a, b) for (a, p), (b, q) in itertools.combinations(zip(items, prints, strict=True), 2) if p == q]
    assert same == []


def test_they_are_the_same_again_in_this_process() -> None:
    assert everything() == everything()


def test_they_are_the_same_in_every_process() -> None:
    """Whatever the order of sets is there."""
    code = "from tests.contract import test_fingerprint; print(test_fingerprint.everything())"
    root = pathlib.Path(__file__).parents[2]
    said = set()
    for seed in ("0", "1", "77"):
        environ = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, cwd=root)
        assert run.stdout, run.stderr
        said.add(run.stdout)
    assert len(said) == 1


def test_what_is_one_object_makes_no_difference() -> None:
    one = "".join(["x", "y"])
    assert of([one, one]) == of([one, "".join(["x", "y"])])
    inner = [1, 2]
    assert of([inner, inner]) == of([[1, 2], [1, 2]])


def test_order_counts_where_it_is_meant() -> None:
    assert of({"a": 1, "b": 2}) == of({"b": 2, "a": 1})
    assert of([1, 2]) != of([2, 1])
    assert of(np.arange(6).reshape(2, 3)) == of(np.asfortranarray(np.arange(6).reshape(2, 3)))
    assert of(np.arange(10)[::2]) == of(np.array([0, 2, 4, 6, 8]))


def test_a_thousand_paths_to_one_object_are_gone_once() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep, deep]
    assert len(of(deep)) == fingerprint.NBYTES


def test_what_cannot_be_taken_apart() -> None:
    with pytest.raises(TypeError):
        of(threading.Lock())
    # In a function it counts by its type: what is in a lock is no part of what is computed.
    one, other, table = threading.Lock(), threading.Lock(), {"a": 1}
    jobs = [lambda held=held: held for held in (one, other, table)]
    prints = [fingerprint.of_function(job)["its default arguments"] for job in jobs]
    assert prints[0] == prints[1] != prints[2]


def test_shared_objects_have_no_contents() -> None:
    assert of(allcores.Value("i", 1)) == of(allcores.Value("i", 2)) != of(allcores.Queue())


def compiled(source: str) -> dict[str, str]:
    space: dict[str, Any] = {"__name__": "of_a_test"}
    exec(compile(source, "a file", "exec"), space)
    return fingerprint.of_function(space["job"])


BASE = """
FACTOR = 2
TABLE = {"a": [1, 2]}
class Shape:
    sides = 4
    def area(self): return self.sides
    @property
    def half(self): return self.sides / 2
    @staticmethod
    def name(): return "shape"
def helper(x): return inner(x)
def inner(x): return x + 1
def job(x, by=3):
    return [helper(y) * FACTOR for y in x], TABLE, Shape
"""


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("helper(y) * FACTOR", "helper(y) + FACTOR", "its code"),
        ("by=3", "by=4", "its default arguments"),
        ("FACTOR = 2", "FACTOR = 3", "its global FACTOR"),
        ("[1, 2]", "[1, 3]", "its global TABLE"),
        ("x + 1", "x + 2", "its global helper"),
        ("sides = 4", "sides = 5", "its global Shape"),
        ("return self.sides\n", "return -self.sides\n", "its global Shape"),
        ("sides / 2", "sides / 3", "its global Shape"),
        ('"shape"', '"form"', "its global Shape"),
    ],
)
def test_each_change_is_found_and_named(old: str, new: str, part: str) -> None:
    assert old in BASE
    before, after = compiled(BASE), compiled(BASE.replace(old, new))
    assert [name for name in before if before[name] != after[name]] == [part]


def test_where_it_stands_makes_no_difference() -> None:
    assert compiled(BASE) == compiled("\n\n# A comment.\n" + BASE.replace("    return [", "\n    # why\n    return ["))
