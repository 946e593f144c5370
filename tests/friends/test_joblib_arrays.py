"""Arrays through the joblib backend: copied once for all calls, never stale, each call's own; mapped files by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

joblib = pytest.importorskip("joblib")
from joblib import Parallel, delayed, parallel_config  # noqa: E402

from allcores.integrations import arrays  # noqa: E402
from allcores.pool import repeated  # noqa: E402

MANY = 1 << 18  # float64 of 2 MB: beyond joblib's max_nbytes


@pytest.fixture(autouse=True)
def ours(kept_workers: None) -> Iterator[None]:
    with parallel_config(backend="allcores"):
        yield


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the arrays that are copied into shared memory."""
    made: list[tuple[int, ...]] = []

    def noted(array: Any) -> Any:
        made.append(array.shape)
        return repeated.store(array)

    monkeypatch.setattr(arrays, "store", noted)
    return made


def total(x: Any, _: int = 0) -> float:
    return float(np.asarray(x).sum())


def spoil(x: Any, _: int) -> float:
    before = float(x.sum())
    x[:] = -1
    return before


def attributes(x: Any) -> tuple[Any, ...]:
    return x.shape, x.dtype, x.flags.f_contiguous, x.flags.c_contiguous, x.tobytes()


@pytest.mark.parametrize("batch_size", [1, "auto"])
def test_an_array_in_many_calls_is_copied_once(batch_size: Any, copies: list[tuple[int, ...]]) -> None:
    x = np.arange(MANY, dtype="f8")
    got = Parallel(n_jobs=2, batch_size=batch_size)(delayed(total)(x, i) for i in range(30))
    assert got == [x.sum()] * 30
    assert copies == [x.shape]


def test_wherever_in_an_argument_it_is(copies: list[tuple[int, ...]]) -> None:
    x = np.ones(MANY)

    class Model:
        def __init__(self) -> None:
            self.parts = {"x": x}

        def total(self) -> float:
            return float(self.parts["x"].sum())

    model = Model()
    assert Parallel(n_jobs=2)(delayed(model.total)() for _ in range(9)) == [MANY] * 9
    assert copies == [x.shape]


def test_an_array_that_the_input_changes_is_never_stale(copies: list[tuple[int, ...]]) -> None:
    x = np.zeros(MANY)

    def calls() -> Iterator[Any]:
        for i in range(20):
            x[i * 1000] = 1
            yield delayed(total)(x)

    # Of one batch a call, none is made before the one before it was sent.
    got = Parallel(n_jobs=2, batch_size=1, pre_dispatch=1)(calls())
    assert got == sorted(got)
    assert got[-1] == 20
    assert set(np.diff(got)) <= {0, 1, 2}
    assert len(copies) == len(set(got)) >= 9


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_each_call_may_write_to_its_own(batch_size: Any, copies: list[tuple[int, ...]]) -> None:
    """Also those of one batch, whose size is a matter of time."""
    x = np.ones(MANY)
    of_args = Parallel(n_jobs=2, batch_size=batch_size)(delayed(spoil)(x, i) for i in range(9))
    of_words = Parallel(n_jobs=2, batch_size=batch_size)(delayed(spoil)(x=x, _=i) for i in range(9))
    assert of_args == of_words == [MANY] * 9
    assert x.min() == 1
    assert copies == [x.shape] * 2


def test_one_that_is_twice_in_a_call_is_one() -> None:
    x = np.ones(MANY)
    assert Parallel(n_jobs=2, batch_size=3)(delayed(is_same)(x, y=x) for _ in range(6)) == [True] * 6


def is_same(x: Any, y: Any) -> bool:
    return x is y


@pytest.mark.parametrize("batch_size", [1, 3])
def test_within_an_argument_it_is_read_only(batch_size: int) -> None:
    """Calls of one batch have the same: none is to see what another has written."""
    x = np.ones(MANY)
    got = Parallel(n_jobs=2, batch_size=batch_size)(delayed(may_write)([x], x) for _ in range(9))
    assert got == [(False, True)] * 9


def may_write(arrays: list[Any], x: Any) -> tuple[bool, bool]:
    return arrays[0].flags.writeable, x.flags.writeable


@pytest.mark.parametrize(
    "x",
    [
        np.arange(MANY).reshape(512, 512),
        np.asfortranarray(np.arange(MANY).reshape(512, 512)),
        np.arange(2 * MANY)[::2],
        np.arange(MANY)[10:],
        np.arange(MANY).astype("datetime64[s]"),
        np.zeros(MANY, dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["text"] * MANY, dtype=object),
        np.broadcast_to(np.arange(MANY), (2, MANY)),
        np.zeros((0, 5)),
        np.frombuffer(bytes(8 * MANY)),
    ],
    ids=["C", "F", "strided", "view", "dates", "fields", "objects", "broadcast", "empty", "bytes"],
)
def test_every_array_arrives_as_it_is(x: Any) -> None:
    want = attributes(x)
    for got in Parallel(n_jobs=2)(delayed(attributes)(x) for _ in range(3)):
        assert got[:2] == want[:2]
        assert x.dtype.hasobject or got[4] == want[4]


def test_one_that_cannot_be_written_to_is_not_compared(copies: list[tuple[int, ...]]) -> None:
    x = np.ones(MANY)
    x.flags.writeable = False
    assert Parallel(n_jobs=2, batch_size=1)(delayed(total)(x) for _ in range(9)) == [MANY] * 9
    assert copies == [x.shape]


def test_a_copy_goes_with_its_array(copies: list[tuple[int, ...]]) -> None:
    """Each call has an array of its own, and memory for a few of them is all that there is at a time."""
    import allcores

    most = 0

    def calls() -> Iterator[Any]:
        nonlocal most
        for i in range(40):
            most = max(most, allcores.statistics().bytes_used)
            yield delayed(total)(np.full(MANY, i))

    before = allcores.statistics().bytes_used
    assert Parallel(n_jobs=2, batch_size=1)(calls()) == [i * MANY for i in range(40)]
    assert len(copies) == 40
    assert most - before < 20 * 8 * MANY


@pytest.mark.parametrize("how", [{"max_nbytes": None}, {"mmap_mode": None}, {"max_nbytes": "1G"}])
def test_as_joblib_was_told(how: dict[str, Any], copies: list[tuple[int, ...]]) -> None:
    x = np.ones(MANY)
    assert Parallel(n_jobs=2, **how)(delayed(total)(x) for _ in range(4)) == [MANY] * 4
    assert copies == []


def write(out: Any, i: int) -> str:
    out[i] = i
    return type(out).__name__


def test_a_mapped_file_is_the_same_for_all(tmp_path: Path) -> None:
    out = np.memmap(tmp_path / "out", "f8", "w+", 64, (50, 4))
    kinds = Parallel(n_jobs=2)(delayed(write)(out[1:, ::2], i) for i in range(49))
    assert set(kinds) == {"memmap"}
    assert (np.asarray(out[1:, ::2]) == np.arange(49)[:, None]).all()
    assert (np.asarray(out[:, 1::2]) == 0).all()
    backwards = Parallel(n_jobs=2)(delayed(np.asarray)(out[::-1].T) for _ in range(2))
    assert all(np.array_equal(x, out[::-1].T) for x in backwards)


def test_private_changes_to_a_mapped_file_travel_too(tmp_path: Path) -> None:
    np.ones(MANY).tofile(tmp_path / "in")
    x = np.memmap(tmp_path / "in", "f8", "c")
    x[0] = 5
    assert Parallel(n_jobs=2)(delayed(total)(x) for _ in range(2)) == [MANY + 4] * 2
