"""An array that is in many items of one map is copied once: into shared memory. Each call gets it as a private mapping
of that copy, to write to as to any other: only the pages that it writes to are copied then.

    [(a, 1), (a, 2), (a, 3)]  ──▶  a in one block  ◀── each call's own a, by mmap MAP_PRIVATE
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from allcores import _native
from allcores.reducers import memory_under

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Repeats", "Stands", "private", "repeats_in", "store")

# A mapping costs some tens of microseconds, a copy of so many bytes as well.
_LEAST = 256 << 10


def repeats_in(items: Any) -> Repeats | None:
    """The large arrays that more than one item of a list or tuple is or has in it; None where there are none.

    Only looked for where the first item has a large array: a million numbers are not gone through.
    """
    if type(items) not in (list, tuple) or not items or not any(_is_large(x) for x in _inside(items[0])):
        return None
    found = {id(x): x for item in items for x in _inside(item) if _is_large(x)}
    times = Counter(i for item in items for i in {id(x) for x in _inside(item)} if i in found)
    several = {i: found[i] for i, n in times.items() if n > 1}
    return Repeats(several) if several else None


def _inside(item: Any) -> Any:
    return item if type(item) in (tuple, list) else (item,)


def _is_large(x: Any) -> bool:
    return (
        type(x).__name__ == "ndarray"
        and type(x).__module__ == "numpy"
        and x.nbytes >= _LEAST
        and not x.dtype.hasobject
        and (x.base is None or memory_under(x) is None)
    )


class Repeats:
    """The arrays of one map that several of its items have in common, each stored when it is first sent."""

    def __init__(self, arrays: dict[int, Any]) -> None:
        self._arrays = arrays  # by id, which holds as long as they are held
        self._stored: dict[int, tuple[_native.Memory, tuple[Any, ...]]] = {}

    def replace(self, items: list[Any]) -> list[Any]:
        """The items, with something that arrives as the array in the place of each array that is repeated."""
        return [self._item(item) for item in items]

    def _item(self, item: Any) -> Any:
        inside = [x for x in _inside(item) if id(x) in self._arrays]
        if not inside:
            return item
        stands = {id(x): Stands(*self._store(x)) for x in inside}  # one for each item: its arrays are its own
        if type(item) in (tuple, list):
            return type(item)(stands.get(id(x), x) for x in item)
        return stands[id(item)]

    def _store(self, array: Any) -> tuple[_native.Memory, tuple[Any, ...]]:
        stored = self._stored.get(id(array))
        if stored is None:
            stored = self._stored[id(array)] = store(array)
        return stored


def store(array: Any) -> tuple[_native.Memory, tuple[Any, ...]]:
    """A copy of an array in shared memory, and how it lies there: what ``private`` takes, in any process."""
    import numpy as np

    memory: Any = _native.Memory(array.nbytes, zeroed=False)
    order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    copy: Any = np.ndarray(array.shape, array.dtype, memory, order=order)
    copy[...] = array
    return memory, (array.shape, array.dtype, order)


class Stands:
    """Stands for an array in a message."""

    def __init__(self, memory: _native.Memory, how: tuple[Any, ...]) -> None:
        self._memory, self._how = memory, how

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return private, (self._memory, self._how)


def private(memory: _native.Memory, how: tuple[Any, ...]) -> Any:
    """The array that was stored, to write to: only the pages that are written to are copied then."""
    import numpy as np

    shape, dtype, order = how
    copy: Any = _native.PrivateCopy(memory)
    return np.ndarray(shape, dtype, copy, order=order)
