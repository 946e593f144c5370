"""Faults in how data travels that a review found, each by what went wrong."""

import math
import pickle
import queue
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import allcores

from .kit import PATIENCE, Context


class Holder:
    def __init__(self, *parts: Any) -> None:
        self.parts = parts


class ndarray:  # noqa: N801 - somebody else's, of the same name
    base = None

    def __init__(self, number: int) -> None:
        self.number = number


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


DATED = np.array([(1, "2020-02-03"), (2, "2021-03-04")], [("n", "i4"), ("day", "M8[D]")])


@pytest.mark.needs("shares")
@pytest.mark.parametrize("array", [np.arange(5, dtype="i1"), np.arange(9000.0), DATED], ids=lambda a: str(a.shape))
def test_an_array_that_is_read_only_is_shared_with_its_own_values(mp: Context, array: Any) -> None:
    # They were those at the beginning of the block, and could be written to.
    original = Holder(np.arange(7), read_only(array.copy()), read_only(array[::-1].copy()))
    shared = mp.share(original)
    with mp.Pool(1) as pool:
        for found in (shared.parts, pool.apply(lambda x: x.parts, (shared,))):
            np.testing.assert_array_equal(found[1], array)
            np.testing.assert_array_equal(found[2], array[::-1])
        for i in range(3):
            with pytest.raises(ValueError, match="read-only"):
                shared.parts[i][0] = 0
            assert not pool.apply(lambda x, i=i: x.parts[i].flags.writeable, (shared,))


def test_a_frame_with_an_index_of_several_levels_is_shared(mp: Context) -> None:
    pd = pytest.importorskip("pandas")
    index = pd.MultiIndex.from_product([[1, 2], ["a", "b"]])
    frame = pd.DataFrame({"v": [1, 2, 3, 4]}, index=index)
    assert mp.share(index).equals(index)
    assert mp.share(frame).equals(frame)


def test_a_read_only_array_with_dates_among_its_fields_travels(mp: Context) -> None:
    items: Any = mp.Queue()
    for sent in (DATED, DATED[:0], np.repeat(DATED, 5000)):
        items.put({"a": (read_only(sent.copy()),)})
        found = items.get()["a"][0]
        assert found.dtype == sent.dtype
        assert np.array_equal(found, sent)


def test_what_is_said_of_a_dtype_stays_with_it_and_with_no_other(mp: Context) -> None:
    said = np.zeros(3, np.dtype("f2", metadata={"unit": "m"}))
    plain = np.zeros(3, "f2")
    items: Any = mp.Queue()
    for array in (said, plain, said, plain):
        items.put(array)
        assert items.get().dtype.metadata == array.dtype.metadata
    shared = mp.share(Holder(said)).parts[0]
    assert shared.dtype.metadata == said.dtype.metadata


def test_another_library_may_call_its_class_ndarray(mp: Context) -> None:
    items: Any = mp.Queue()
    items.put([ndarray(3), 1])
    assert items.get()[0].number == 3


@pytest.mark.needs("shares")
def test_your_own_pickle_of_an_array_with_a_lock_is_a_copy(mp: Context) -> None:
    for lock in (True, mp.RLock()):
        array = mp.SharedArray(3, int, fill=4, lock=lock)
        for protocol in (2, 5):
            copy = pickle.loads(pickle.dumps(array, protocol))
            array[0] = 9
            assert type(copy) is np.ndarray
            assert copy.tolist()[1:] == [4, 4]
            assert copy is not array
            array[0] = 4


@pytest.mark.needs("shares")
def test_a_copy_of_an_array_with_a_lock_is_no_shared_array(mp: Context) -> None:
    array: Any = mp.SharedArray((2, 3), lock=True)
    for shared in (array, array[1:], array.T, array.reshape(-1)):
        assert isinstance(shared, allcores.SharedArray)
    for private in (array.copy(), array[[0, 1]], array.astype(int), np.sort(array), array + 1):
        assert not isinstance(private, allcores.SharedArray)
    assert repr(array).startswith("SharedArray(")


@pytest.mark.needs("shares")
def test_fills_that_do_not_fit_are_refused(mp: Context) -> None:
    for dtype, fill in (("i4", 1e300), ("i4", 3e9), ("u1", -1.0), ("i8", [0, 1e19, 2])):
        with pytest.raises(OverflowError, match="does not fit"):
            mp.SharedArray(3, dtype, fill=fill)
    for dtype in ("f8", "i4", "?"):
        with pytest.raises(ValueError, match="imaginary"):
            mp.SharedArray(3, dtype, fill=complex(1, math.nan))
    assert mp.SharedArray(3, "i1", fill=3.7).tolist() == [3, 3, 3]


def test_a_tuple_fills_a_structured_array(mp: Context) -> None:
    dtype = [("a", "i4"), ("b", "f8")]
    assert mp.SharedArray(2, dtype, fill=(1, 2.5)).tolist() == [(1, 2.5)] * 2
    assert mp.SharedArray(2, dtype, fill=[(1, 2.5), (3, 4.5)]).tolist() == [(1, 2.5), (3, 4.5)]
    assert mp.SharedArray(2, dtype, fill=7).tolist() == [(7, 7.0)] * 2


@pytest.mark.needs("shares")
def test_from_array_keeps_any_order_of_axes(mp: Context) -> None:
    for array in (np.arange(60).reshape(3, 4, 5).transpose(axes) for axes in ((1, 0, 2), (2, 0, 1), (2, 1, 0))):
        made = mp.SharedArray.from_array(array)
        assert made.strides == array.strides
        np.testing.assert_array_equal(made, array)
    assert mp.SharedArray.from_array(np.broadcast_to(np.arange(3), (2, 3))).tolist() == [[0, 1, 2]] * 2
    assert mp.SharedArray.from_array(np.arange(4)[::-1]).tolist() == [3, 2, 1, 0]


@pytest.mark.needs("shares")
@pytest.mark.parametrize("cls", [np.recarray, np.matrix], ids=lambda cls: str(cls.__name__))
def test_views_of_other_classes_look_at_the_same_memory(mp: Context, cls: Any) -> None:
    array = mp.SharedArray((2, 2), [("a", "i4"), ("b", "f8")] if cls is np.recarray else float)
    view: Any = array.view(cls)

    def write(found: Any) -> type:
        found[0] = 7
        return type(found)

    with mp.Pool(1) as pool:
        assert pool.apply(write, (view,)) is cls
        assert pool.apply(lambda x: type(x[0]), ([view[1:]],)) is cls
    assert array.tolist()[0] == ([(7, 7.0)] * 2 if cls is np.recarray else [7.0, 7.0])
    assert isinstance(view[1:], allcores.SharedArray)


def test_a_class_of_a_module_that_was_not_imported_yet_is_the_same_class(mp: Context) -> None:
    # NumPy imports numpy.rec when it is asked for: a recarray arrived as of a copy of its class, which did not work.
    records = np.zeros(2, [("a", "i4")]).view(np.recarray)

    def take(found: Any) -> Any:
        found[0] = 7
        return type(found) is np.recarray, found.a.tolist(), found[0].a

    with mp.Pool(1) as pool:
        assert pool.apply(take, (records.copy(),)) == (True, [7, 0], 7)
        assert pool.apply(lambda: take(records.copy())) == (True, [7, 0], 7)
        shared = mp.share([records, lambda: 1])
        assert pool.apply(lambda: type(shared[0]) is np.recarray)


def test_the_end_of_a_program_says_nothing() -> None:
    code = (
        "import allcores\nclass Kind: pass\nq = allcores.Queue()\nq.put(allcores.share([Kind, Kind()]))\n"
        "got = q.get()\nkept = [got[1], got]\nkept.append(kept)\nKind.kept = kept\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_class_of_the_script_is_shared_again_after_it_arrived(mp: Context) -> None:
    items: Any = mp.Queue()
    kinds: list[Any] = []

    class Local:
        number = 3

    for _ in range(5):
        items.put(mp.share([int, Local, Local()]))
        kinds.append(items.get())
        assert kinds[-1][1].number == kinds[-1][2].number == 3
        kinds.pop()


def test_a_time_that_is_not_a_number_is_over_at_once(mp: Context) -> None:
    items: Any = mp.Queue(1)
    _, end = mp.Pipe()
    assert mp.wait([items], math.nan) == []
    assert end.poll(math.nan) is False
    with pytest.raises(queue.Empty):
        items.get(timeout=math.nan)
    items.put(1, timeout=math.inf)
    with pytest.raises(queue.Full):
        items.put(2, timeout=math.nan)
    assert items.get(timeout=math.inf) == 1


def test_a_closed_queue_is_not_waited_for(mp: Context) -> None:
    items: Any = mp.Queue()
    items.close()
    with pytest.raises(ValueError, match="closed"):
        mp.wait([items], 0)
