"""Pool: an item that goes wrong is that item's business: it raises, the others come, the pool goes on."""

import pickle
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle, report


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    """A pool that has to be as good as new after whatever the test did to it."""
    with mp.Pool(2) as pool:
        yield pool
        assert pool.map(jobs.square, range(20)) == [x * x for x in range(20)]


def gather(results: Any) -> list[Any]:
    """What an imap iterator gives: values, and errors where it raises."""
    gathered: list[Any] = []
    while True:
        try:
            gathered.append(results.next(PATIENCE))
        except StopIteration:
            return gathered
        except allcores.TimeoutError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, it is the item's result
            gathered.append(error)


def everything(result: Any) -> Any:
    """What map gives, or map_async, or imap: all of it."""
    return result.get(PATIENCE) if hasattr(result, "get") else list(result)


CALLS: dict[str, Callable[[Handle], object]] = {
    "apply": lambda pool: pool.apply(jobs.fail, (37,)),
    "apply_async": lambda pool: pool.apply_async(jobs.fail, (37,)).get(PATIENCE),
    "map": lambda pool: pool.map(lambda x: jobs.fail_at(37, x), range(50)),
    "map_async": lambda pool: pool.map_async(lambda x: jobs.fail_at(37, x), range(50)).get(PATIENCE),
    "starmap": lambda pool: pool.starmap(jobs.fail_at, [(37, x) for x in range(50)]),
    "imap": lambda pool: list(pool.imap(lambda x: jobs.fail_at(37, x), range(50))),
    "imap_unordered": lambda pool: list(pool.imap_unordered(lambda x: jobs.fail_at(37, x), range(50))),
}


@pytest.mark.parametrize("call", CALLS)
def test_error_comes_back_as_itself(pool: Handle, call: str) -> None:
    with pytest.raises(ValueError, match="no 37") as caught:
        CALLS[call](pool)
    assert type(caught.value) is ValueError
    assert caught.value.args == ("no 37",)
    assert "in fail" in report(caught.value)


@pytest.mark.parametrize("call", ["map", "map_async", "starmap", "imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_error_of_an_item_names_its_index(pool: Handle, call: str, chunksize: int | None) -> None:
    items = [1, 2, 3, "bad", 5] * 3
    method = getattr(pool, call)
    options = {} if chunksize is None else {"chunksize": chunksize}
    with pytest.raises(TypeError) as caught:
        everything(method(lambda x: x / 2, [(x,) for x in items] if call == "starmap" else items, **options))
    notes = " ".join(getattr(caught.value, "__notes__", ()))
    assert re.search(r"\b(3|8|13)\b", notes)


@pytest.mark.needs("copies")
def test_remote_traceback_is_the_cause(pool: Handle) -> None:
    with pytest.raises(ValueError, match="no 37") as caught:
        pool.apply(jobs.fail, (37,))
    assert "in fail" in str(caught.value.__cause__)


def test_the_errors_own_cause_is_told(pool: Handle) -> None:
    with pytest.raises(KeyError) as caught:
        pool.apply(jobs.fail_with_cause, ("inner",))
    assert "no inner" in report(caught.value)


@pytest.mark.parametrize("chunksize", [1, 3])
@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
def test_imap_goes_on_after_an_error(pool: Handle, method: str, chunksize: int) -> None:
    results = gather(getattr(pool, method)(lambda x: jobs.fail_at(4, x), range(10), chunksize))
    errors = [x for x in results if isinstance(x, ValueError)]
    assert [str(error) for error in errors] == ["no 4"]
    assert sorted(x for x in results if isinstance(x, int)) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    if method == "imap":
        assert isinstance(results[4], ValueError)


def test_map_can_do_all_items_though_one_fails(mp: Context) -> None:
    done = mp.Array("i", 20)

    def job(x: int) -> None:
        done[x] = 1
        jobs.fail_at(3, x)

    with mp.Pool(2) as pool:
        results: list[Any] = pool.map(job, range(20), errors="return")
    assert [type(x) for x in results] == [type(None)] * 3 + [allcores.Failure] + [type(None)] * 16
    assert done[:] == [1] * 20


def test_when_all_fail(pool: Handle) -> None:
    with pytest.raises(ValueError, match="no "):
        pool.map(jobs.fail, range(50))
    assert [str(error) for error in gather(pool.imap(jobs.fail, range(5)))] == [f"no {i}" for i in range(5)]


@pytest.mark.parametrize("method", ["map", "imap", "starmap", "map_async"])
def test_an_iterable_that_raises(pool: Handle, method: str) -> None:
    def items() -> Iterator[tuple[int]]:
        yield (0,)
        yield (1,)
        raise LookupError("no more to be had")

    with pytest.raises(LookupError, match="no more to be had"):
        everything(getattr(pool, method)(jobs.nothing, items()))


def test_imap_gives_what_came_before_its_iterable_raised(pool: Handle) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more to be had")

    results = gather(pool.imap(jobs.square, items()))
    assert results[:3] == [0, 1, 4]
    assert [str(error) for error in results[3:]] == ["no more to be had"]


def test_starmap_of_what_is_no_argument_list(pool: Handle) -> None:
    with pytest.raises(TypeError, match="iterable"):
        pool.starmap(jobs.square, [1, 2])


def test_error_with_a_two_argument_init(pool: Handle) -> None:
    with pytest.raises(jobs.TwoArguments, match="here: it broke") as caught:
        pool.apply(jobs.fail_with_two_arguments)
    assert (caught.value.where, caught.value.what) == ("here", "it broke")


def test_error_that_cannot_be_pickled(pool: Handle) -> None:
    with pytest.raises(Exception, match="cannot travel") as caught:
        pool.map(jobs.fail_unpicklably, [1])
    assert "Unpicklable" in report(caught.value)
    assert "in fail_unpicklably" in report(caught.value)


def test_sys_exit_in_a_task(pool: Handle) -> None:
    with pytest.raises((SystemExit, allcores.WorkerDied)):
        pool.apply_async(jobs.leave, (3,)).get(PATIENCE)


# What goes wrong on the way, and what its error says. In place 2 of five items, the others being plain numbers.
BROKEN: dict[str, tuple[Callable[[Any], object], object, str]] = {
    "unpicklable argument": (jobs.identity, threading.Lock(), "pickle"),
    "argument that cannot be rebuilt": (jobs.identity, jobs.Grudging("the argument"), "cannot be rebuilt"),
    "unpicklable result": (lambda x: threading.Lock() if x == "bad" else x, "bad", "pickle"),
    "result that cannot be rebuilt": (
        lambda x: jobs.Grudging("the result") if x == "bad" else x,
        "bad",
        "cannot be rebuilt",
    ),
    "error that cannot be pickled": (
        lambda x: jobs.fail_unpicklably() if x == "bad" else x,
        "bad",
        "cannot travel",
    ),
    "error that cannot be rebuilt": (
        lambda x: jobs.fail_with_two_arguments() if x == "bad" else x,
        "bad",
        "here: it broke",
    ),
    "sys.exit": (lambda x: jobs.leave(3) if x == "bad" else x, "bad", "3"),
}


@pytest.mark.needs("copies")
@pytest.mark.parametrize("chunksize", [1, 5])
@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_travel_fails_alone(pool: Handle, what: str, chunksize: int) -> None:
    job, bad, message = BROKEN[what]
    results = gather(pool.imap(job, [0, 1, bad, 3, 4], chunksize))
    assert [results[i] for i in (0, 1, 3, 4)] == [0, 1, 3, 4]
    assert isinstance(results[2], BaseException)
    assert message in str(results[2])


@pytest.mark.needs("copies")
@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_travel_is_an_error_of_map_too(pool: Handle, what: str) -> None:
    job, bad, message = BROKEN[what]
    with pytest.raises((Exception, SystemExit), match=message):
        pool.map(job, [0, 1, bad, 3, 4])
    with pytest.raises((Exception, SystemExit), match=message):
        pool.apply_async(job, (bad,)).get(PATIENCE)


@pytest.mark.needs("copies")
def test_a_function_that_cannot_be_pickled(pool: Handle) -> None:
    lock = threading.Lock()

    def job(_: object) -> bool:
        return lock.locked()

    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        pool.map(job, range(3))
    with pytest.raises((TypeError, pickle.PicklingError), match="pickle"):
        pool.apply_async(job, (1,)).get(PATIENCE)
