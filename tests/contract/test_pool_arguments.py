"""What a pool is told wrongly: the message names the argument, the value and the cure. Numbers may be of any type."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .jobs import square
from .kit import Context

OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"timeout": "5"}, r"timeout must be a number, .*not '5'; leave it out"),
    ({"timeout": 0}, "timeout must be more than 0, .*not 0; leave it out"),
    ({"timeout": float("nan")}, "timeout must be more than 0, .*not nan; leave it out"),
    ({"retries": -1}, "retries must be at least 0, not -1; 0 is never"),
    ({"retries": 2.0}, r"retries must be an int, .*not 2\.0; write 2"),
    (
        {"retry_on": [OSError]},
        r"retry_on must be .* tuple of such, as \(OSError, ValueError\), not \[<class 'OSError'>\]",
    ),
    ({"seed": "a"}, "seed must be an int, .*not 'a'; leave it out"),
    ({"errors": True}, "errors must be 'raise', 'return' or 'skip', not True; 'return' has a Failure"),
    ({"progress": 5}, "progress must be True, False or a str, the label of the bar, not 5"),
    ({"max_bytes": 1e9}, r"max_bytes must be an int, .*not 1000000000\.0; write 1000000000"),
    ({"checkpoint": 5}, 'checkpoint must be the path of a file, as "run.db", not 5'),
    ({"checkpoint": ""}, "checkpoint must be the path of a file.* empty; leave it out"),
    ({"callback": 5}, "callback must be callable, not 5: write callback=told"),
    ({"error_callback": "x"}, "error_callback must be callable, not 'x'"),
    ({"chunksize": 0}, "chunksize must be at least 1, not 0; leave it out"),
    ({"chunksize": 1.5}, r"chunksize must be an int, items per task, not 1\.5; leave it out"),
]

PLANS: list[tuple[dict[str, Any], str]] = [
    ({"processes": "2"}, "processes must be an int, the number of workers, not '2'; leave it out"),
    ({"initializer": 3}, "initializer must be callable, not 3: write initializer=begin"),
    ({"initializer": square, "initargs": 3}, r"initargs must be a tuple, not 3: write \(3,\)"),
    ({"maxtasksperchild": 0}, "maxtasksperchild must be at least 1, not 0; leave it out"),
    ({"maxtasksperchild": True}, "maxtasksperchild must be an int, .*not True; leave it out"),
    ({"max_memory": "2G"}, "max_memory must be an int, the bytes of a worker, as 2 << 30, not '2G'; leave it out"),
    ({"idle_timeout": 0}, "idle_timeout must be more than 0, .*not 0; leave it out"),
]


@pytest.mark.parametrize(("given", "message"), OPTIONS)
def test_bad_option_of_a_call(mp: Context, given: dict[str, Any], message: str) -> None:
    with mp.Pool(1) as pool:
        with pytest.raises((TypeError, ValueError), match="^" + message):
            pool.map_async(square, [1], **given)
        assert pool.map(square, [3]) == [9]


@pytest.mark.parametrize("name", ["callback", "error_callback"])
def test_bad_callback_of_a_call(mp: Context, name: str) -> None:
    given: dict[str, Any] = {name: 5}
    with mp.Pool(1) as pool, pytest.raises(TypeError, match=f"^{name} must be callable, not 5"):
        pool.apply_async(square, (1,), **given)


@pytest.mark.parametrize(("given", "message"), PLANS)
def test_bad_argument_of_a_pool(mp: Context, given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match="^" + message):
        mp.Pool(**{"processes": 1, **given})


@pytest.mark.needs("owns")
def test_numbers_of_numpy(mp: Context) -> None:
    one: Any = np.int64(1)
    seconds: Any = np.float32(60)
    with mp.Pool(one, maxtasksperchild=one, max_memory=one << 30, idle_timeout=seconds) as pool:
        assert pool.map(square, [3], one, timeout=seconds, retries=one, max_bytes=one) == [9]
        assert list(pool.imap(square, [3], one, buffersize=one)) == [9]


@pytest.mark.parametrize("timeout", [float("inf"), 1e12, 1e9, 1e8])
def test_a_timeout_of_ages_is_none(mp: Context, timeout: float) -> None:
    with mp.Pool(1) as pool:
        assert pool.map(square, [3], timeout=timeout) == [9]
        assert pool.apply(square, (3,), timeout=timeout) == 9


def test_none_is_the_default(mp: Context) -> None:
    none: Any = None
    with mp.Pool(1) as pool:
        assert pool.map(square, [3], retry_on=none, progress=none, checkpoint=none, timeout=none, seed=none) == [9]


def test_dump_into_what_is_no_stream(mp: Context, tmp_path: Path) -> None:
    where: Any = str(tmp_path / "stacks.txt")
    with mp.Pool(1) as pool, pytest.raises(TypeError, match=r"^file must be a text stream, .*write open\('"):
        pool.dump(where)


@pytest.mark.parametrize("method", ["apply", "apply_async", "map", "imap", "stream"])
def test_the_method_that_was_called_is_named(mp: Context, method: str) -> None:
    with mp.Pool(1) as pool, pytest.raises(TypeError, match=rf"^{method}\(\) has no option 'retrys'"):
        getattr(pool, method)(square, [3], retrys=1)
