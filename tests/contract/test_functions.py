"""Any function can be sent: lambdas, closures, methods, and what was defined in a notebook's cell."""

import functools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from . import jobs
from .kit import PATIENCE, Context, Handle, Place

Start = Callable[..., Handle]
Call = Callable[..., Any]


@pytest.fixture(params=["Process", "Pool"])
def call(mp: Context, start: Start, request: pytest.FixtureRequest) -> Iterator[Call]:
    """Calls a function in a worker, and gives its result."""
    if request.param == "Process":
        yield lambda function, *args: start(function, *args).result(PATIENCE)
        return
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(4))
        yield lambda function, *args: pool.apply_async(function, args).get(PATIENCE)


def test_lambda(call: Call) -> None:
    assert call(lambda x: x + 1, 2) == 3


def test_closure(call: Call) -> None:
    factor = 3

    def outer(x: int) -> int:
        def inner(y: int) -> int:
            return y * factor

        return inner(x) + factor

    assert call(outer, 2) == 9


def test_recursive_closure(call: Call) -> None:
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert call(factorial, 10) == math.factorial(10)


def test_defaults_and_keywords_only(call: Call) -> None:
    def job(a: int, b: int = 2, *rest: int, c: int = 4) -> tuple[object, ...]:
        return a, b, rest, c

    assert call(job, 1) == (1, 2, (), 4)
    assert call(job, 1, 3, 5) == (1, 3, (5,), 4)


def test_methods(call: Call) -> None:
    account = jobs.Account(5)
    assert call(account.doubled) == 10
    assert call(account.doubled, 2) == 20
    assert call(account, 1) == 6
    assert call(jobs.Account.fee, 1) == 2
    assert call(jobs.Account.of, 7).balance == 7


def test_methods_of_a_local_class(call: Call) -> None:
    class Local:
        rate = 3

        def __init__(self, x: int) -> None:
            self.x = x

        def scaled(self) -> int:
            return self.x * self.rate

        def another(self) -> "Local":
            return Local(self.x + 1)

        @classmethod
        def of(cls, x: int) -> "Local":
            return cls(x)

    assert call(Local(2).scaled) == 6
    for back in (call(Local(2).another), call(Local.of, 3), call(Local, 3)):
        assert isinstance(back, Local)
        assert type(back) is Local
        assert back.scaled() == 9


def test_subclass_with_super(call: Call) -> None:
    class Savings(jobs.Account):
        def doubled(self, times: int = 1) -> int:
            return super().doubled(times) + 1

    assert call(Savings(5).doubled) == 11


def test_local_dataclass_and_named_tuple(call: Call) -> None:
    @dataclass(frozen=True)
    class Point:
        x: int
        y: int = 0

    class Pair(NamedTuple):
        a: int
        b: int

    assert call(lambda p: Point(p.y, p.x), Point(1, 2)) == Point(2, 1)
    back = call(lambda p: Pair(p.b, p.a), Pair(1, 2))
    assert back == Pair(2, 1)
    assert isinstance(back, Pair)


@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (abs, (-1,), 1),
        (len, ([1, 2],), 2),
        (math.hypot, (3, 4), 5.0),
        (str.upper, ("a",), "A"),
        ("a-b".split, ("-",), ["a", "b"]),
        (operator.itemgetter(1), ("abc",), "b"),
        (functools.partial(jobs.power, exponent=3), (2,), 8),
        (complex, (1, 2), 1 + 2j),
        (np.sqrt, (4.0,), 2.0),
        (jobs.with_a_global, (1,), 101),
    ],
    ids=lambda thing: getattr(thing, "__name__", None),
)
def test_callables_of_all_kinds(call: Call, function: Call, args: tuple[Any, ...], expected: object) -> None:
    assert call(function, *args) == expected


@pytest.mark.parametrize("module", ["__main__", "a_notebook", None])
def test_functions_and_classes_of_a_cell(call: Call, module: str | None) -> None:
    """What exec made in a fresh namespace: nothing of it can be imported, and its parts know each other."""
    cell: dict[str, Any] = {} if module is None else {"__name__": module}
    exec(
        "import math\n"
        "scale = 10\n"
        "def helper(x): return math.floor(x) * scale\n"
        "def job(x): return helper(x) + 1\n"
        "class Thing:\n"
        "    def __init__(self, x): self.x = x\n"
        "    def grown(self): return Thing(job(self.x))\n",
        cell,
    )
    assert call(cell["job"], 2.5) == 21
    back = call(cell["Thing"](3).grown)
    assert isinstance(back, cell["Thing"])
    assert back.x == 31


def test_a_function_defined_again(mp: Context) -> None:
    """As in a notebook, where the cell is run again: the pool calls the new one."""
    cell: dict[str, Any] = {"__name__": "a_notebook"}
    with mp.Pool(2) as pool:
        for version in range(5):
            exec(f"def job(x): return x, {version}", cell)
            assert pool.map(cell["job"], range(10)) == [(x, version) for x in range(10)]


def test_a_changed_closure_is_sent_again(mp: Context) -> None:
    factor = 1

    def job(x: int) -> int:
        return x * factor

    with mp.Pool(2) as pool:
        assert pool.map(job, range(10)) == list(range(10))
        factor = 5
        assert pool.map(job, range(10)) == [x * 5 for x in range(10)]
        assert pool.apply(job, (1,)) == 5


def test_many_functions(mp: Context) -> None:
    """More than any table of known functions may want to keep; each is gone after its use."""
    with mp.Pool(2) as pool:
        for i in range(300):
            assert pool.apply(lambda x, i=i: x + i, (1,)) == 1 + i


def test_two_functions_in_turn(mp: Context) -> None:
    with mp.Pool(2) as pool:
        for _ in range(20):
            assert pool.map(lambda x: x + 1, range(5)) == [1, 2, 3, 4, 5]
            assert pool.map(lambda x: x - 1, range(5)) == [-1, 0, 1, 2, 3]


def test_a_function_as_an_argument_and_as_a_result(call: Call) -> None:
    def twice(f: Call) -> Call:
        return lambda x: f(f(x))

    assert call(twice, lambda x: x * 3)(2) == 18


def test_the_function_itself_comes_back(call: Call, place: Place) -> None:
    def job() -> None:
        pass

    assert call(jobs.identity, jobs.square) is jobs.square
    assert (call(jobs.identity, job) is job) is not place.copies
