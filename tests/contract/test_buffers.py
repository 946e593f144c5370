"""Large buffers inside any object: one copy into shared memory, none out, and what arrives is the receiver's own."""

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from allcores import _native

from .kit import PATIENCE, Context, Handle

Start = Callable[..., Handle]

LARGE = 200_000  # bytes; a buffer of 4 KiB has a block of its own, bytes of 64 KiB are not copied into a pickle first


class Holder:
    def __init__(self, data: Any) -> None:
        self.data = data


OBJECTS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: bytes(LARGE),
    "bytes in a tuple": lambda: (1, b"x" * LARGE, None),
    "bytes in a dict": lambda: {"a": [b"x" * LARGE, b"y" * LARGE]},
    "bytearray": lambda: bytearray(b"z" * LARGE),
    "bytearrays": lambda: [bytearray(b"z" * LARGE), {"k": bytearray(5)}],
    "text": lambda: ["ä" * LARGE],
    "memoryview": lambda: memoryview(b"m" * LARGE),
    "memoryview of doubles": lambda: np.arange(30_000.0).reshape(100, 300).data,
    "memoryview with steps": lambda: memoryview(bytearray(range(256)) * 100)[::7],
    "memoryview of nothing": lambda: memoryview(b""),
}

ARRAYS: dict[str, Callable[[], Any]] = {
    "doubles": lambda: np.arange(30_000.0),
    "few": lambda: np.arange(3),
    "one": lambda: np.array(5.0),
    "none": lambda: np.zeros((3, 0)),
    "Fortran": lambda: np.asfortranarray(np.arange(30_000.0).reshape(300, 100)),
    "few, Fortran": lambda: np.asfortranarray(np.arange(6).reshape(2, 3)),
    "steps": lambda: np.arange(60_000)[::2],
    "backwards": lambda: np.arange(30_000)[::-1],
    "transposed": lambda: np.arange(24_000).reshape(20, 30, 40).transpose(2, 0, 1),
    "dates": lambda: np.arange(30_000).astype("M8[s]"),
    "structures": lambda: np.zeros(9_000, [("x", "f4"), ("t", "M8[s]"), ("n", "i8", 3)]),
    "text": lambda: np.array(["a", "bcd"] * 5_000),
    "other bytes first": lambda: np.arange(30_000, dtype=">i4"),
    "read-only": lambda: np.frombuffer(bytes(LARGE), "i4"),
    "objects": lambda: np.array([1, "a", None, [2]], dtype=object),
}

WHERE: dict[str, Callable[[Any], Any]] = {
    "alone": lambda x: x,
    "in a tuple": lambda x: (1, x, "a"),
    "in a list": lambda x: [x, None],
    "in a dict": lambda x: {"x": [x]},
    "in an object": Holder,
}


def inner(placed: Any) -> Any:
    if isinstance(placed, Holder):
        return placed.data
    if isinstance(placed, dict):
        return placed["x"][0]
    return next(x for x in (placed if isinstance(placed, tuple | list) else [placed]) if isinstance(x, np.ndarray))


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_equal_through_everything(mp: Context, make: Callable[[], Any]) -> None:
    sent = make()
    queue = mp.Queue()
    queue.put(sent)
    with mp.Pool(1) as pool:
        for got in (queue.get(timeout=PATIENCE), pool.apply(lambda x: x, (sent,)), *pool.map(lambda x: x, [sent])):
            assert type(got) is type(sent)
            assert got == sent


@pytest.mark.parametrize("put", WHERE.values(), ids=WHERE)
@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.needs("copies")
def test_arrays_are_the_receivers_own(mp: Context, make: Callable[[], Any], put: Callable[[Any], Any]) -> None:
    sent = make()
    before = sent.copy()

    def scribble(placed: Any) -> tuple[Any, Any]:
        got = inner(placed)
        equal = np.array_equal(got, before) and got.dtype == before.dtype and got.flags.writeable
        if got.size:
            got[...] = got[(0,) * got.ndim]
        return equal, placed

    with mp.Pool(1) as pool:
        equal, back = pool.apply(scribble, (put(sent),))
    assert equal
    assert np.array_equal(sent, before)
    returned = inner(back)
    assert returned.flags.writeable
    if returned.size:
        returned[...] = before.ravel()[-1:]
    assert np.array_equal(sent, before)


@pytest.mark.needs("copies")
def test_the_same_array_twice_in_a_message_is_one(mp: Context) -> None:
    array = np.arange(10_000)
    queue = mp.Queue()
    for sent in ((array, array), [array, 1, array], {"a": array, "b": array}):
        queue.put(sent)
        got = queue.get(timeout=PATIENCE)
        first, *_, last = got.values() if isinstance(got, dict) else got
        assert first is last


@pytest.mark.needs("copies")
def test_a_memoryview_keeps_whether_it_may_be_written_to(mp: Context) -> None:
    queue = mp.Queue()
    for source in (bytes(LARGE), bytearray(LARGE), bytearray(10)):
        view = memoryview(source)
        queue.put(view)
        got = queue.get(timeout=PATIENCE)
        assert got.readonly == view.readonly
        if not got.readonly:
            got[0] = 1
            assert view[0] == 0


@pytest.mark.needs("copies")
def test_nothing_is_kept_of_what_was_sent(mp: Context) -> None:
    queue = mp.Queue()
    before = _native.usage()[1]
    for _ in range(20):
        for sent in (np.zeros(100_000), (1, bytes(LARGE)), {"a": np.zeros(100_000)}, memoryview(bytearray(LARGE))):
            queue.put(sent)
            queue.get(timeout=PATIENCE)
    del queue
    assert _native.usage()[1] <= before


# The same array in many items of one map.


def scribble(x: Any, k: int = 0) -> tuple[Any, Any]:
    seen = x.ravel()[[0, -1]].tolist()
    x[...] = -1 - k
    return seen, x.flags.writeable


@pytest.mark.needs("copies")
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_in_many_items_is_everybodys_own(mp: Context, order: Any) -> None:
    array = np.arange(60_000.0).reshape(200, 300).copy(order=order)
    ends = array.ravel()[[0, -1]].tolist()
    other = np.ones(60_000)
    with mp.Pool(2) as pool:
        for chunksize in (None, 1, 5):
            assert pool.map(scribble, [array] * 10, chunksize) == [(ends, True)] * 10
            assert pool.starmap(scribble, [(array, i) for i in range(10)], chunksize) == [(ends, True)] * 10
            assert list(pool.imap(scribble, [array] * 10, chunksize)) == [(ends, True)] * 10
            mixed = pool.map(scribble, [array, other, array, other, np.zeros(60_000)], chunksize)
            assert [seen for seen, _ in mixed] == [ends, [1, 1], ends, [1, 1], [0, 0]]
        assert pool.starmap(lambda x, y: x is y, [(array, array), (array, other)]) == [True, False]
    assert array.ravel()[[0, -1]].tolist() == ends


@pytest.mark.needs("copies")
def test_an_array_in_many_items_is_copied_once(mp: Context) -> None:
    array = np.ones(4_000_000)  # 32 MB; forty copies would be 1.3 GB

    def most(_x: Any) -> int:
        return _native.usage()[1]

    with mp.Pool(2) as pool:
        pool.map(abs, range(4))
        before = _native.usage()[1]
        used = pool.map(most, [array] * 40, 1)
        assert max(used) - before < 2 * array.nbytes
        del used
        pool.map(abs, range(4))
    assert _native.usage()[1] < before + array.nbytes


@pytest.mark.needs("kills")
def test_a_worker_dies_with_its_copy(mp: Context) -> None:
    array = np.ones(100_000)
    before = _native.usage()[1]

    def die_once(item: tuple[Any, int]) -> Any:
        x, i = item
        x[0] = i
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x[:2].tolist()

    with mp.Pool(2) as pool:
        results = pool.map_async(die_once, [(array, i) for i in range(8)], 1)
        with pytest.raises(Exception, match="item 3"):
            results.get(PATIENCE)
        assert pool.map(die_once, [(array, i) for i in (0, 1)]) == [[0, 1], [1, 1]]
        del results
    assert _native.usage()[1] < before + array.nbytes
    assert array[0] == 1


@pytest.mark.needs("copies")
def test_closures_over_large_arrays_do_not_pile_up(mp: Context) -> None:
    def sum_of(array: Any) -> Callable[[], float]:
        return lambda: float(array[:10].sum())

    with mp.Pool(1) as pool:
        pool.apply(abs, (1,))
        before = _native.usage()[1]
        jobs = [sum_of(np.full(2_000_000, i)) for i in range(12)]  # 16 MB each
        assert [pool.apply(job) for job in jobs] == [10.0 * i for i in range(12)]
        assert _native.usage()[1] - before < 7 * 16_000_000
        assert pool.apply(jobs[0]) == 0
        assert pool.apply(jobs[-1]) == 110


# Other libraries, by their own protocols.


def test_pandas(mp: Context) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"x": np.arange(30_000.0), "t": pd.date_range("2020", periods=30_000, freq="min"), "s": "abc"})
    with mp.Pool(1) as pool:
        got = pool.apply(lambda f: f, (frame,))
        total = pool.apply(lambda f: f["x"].sum(), (frame,))
    assert got.equals(frame)
    assert total == frame["x"].sum()
    got.loc[0, "x"] = 9.0
    assert got.loc[0, "x"] == 9


@pytest.mark.needs("shares")
def test_a_frame_on_shared_memory_stays_there(mp: Context, start: Start) -> None:
    pd = pytest.importorskip("pandas")
    array = mp.SharedArray((1000, 4))
    frame = pd.DataFrame(array, copy=False)

    def see(got: Any) -> float:
        array[:] = 2
        return float(got.to_numpy().sum())

    p = start(see, frame)
    p.join(PATIENCE)
    assert p.result() == 8000
    assert frame.to_numpy().sum() == 8000


@pytest.mark.needs("shares")
def test_arrow(mp: Context) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"x": np.arange(30_000.0), "s": ["ab"] * 30_000})
    queue = mp.Queue()
    queue.put(table)
    assert queue.get(timeout=PATIENCE).equals(table)
    array = mp.SharedArray(1000, fill=3)
    looked = pa.py_buffer(array)
    array[0] = 4
    assert np.frombuffer(looked)[0] == 4


def test_torch(mp: Context) -> None:
    torch = pytest.importorskip("torch")
    sent = {
        "w": torch.ones(50_000, dtype=torch.bfloat16).reshape(100, 500).T,
        "p": torch.nn.Parameter(torch.ones(10_000)),
        "few": torch.arange(3),
        "none": torch.empty(0),
    }
    queue = mp.Queue()
    queue.put(sent)
    got = queue.get(timeout=PATIENCE)
    for name, tensor in sent.items():
        assert torch.equal(got[name], tensor)
        assert got[name].dtype == tensor.dtype
        assert got[name].requires_grad == tensor.requires_grad
    assert got["w"].stride() == sent["w"].stride()
    array = mp.SharedArray(100)
    torch.from_numpy(array)[0] = 5
    torch.from_dlpack(array)[1] = 6
    assert array[:2].tolist() == [5, 6]
