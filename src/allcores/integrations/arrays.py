"""Large arrays that several messages of one call have in common are copied into shared memory once.

    Parallel()(delayed(f)(X, i) for i in ...)    message 1 ─┐
                                                 message 2 ─┼─▶ X in one block ◀── each call's own X, by MAP_PRIVATE
                                                 message 3 ─┘

An argument that is an array each call has as its own, to write to, also where several calls go in one message. Within
other objects it is the same one for all calls of a message, and so read-only.

The input of a call may be a generator that changes an array between two uses: so once it has been asked for more, an
array's bytes are compared with the copy (as long as one sum over it) and copied anew where they differ. Arrays that
nobody can write to need no comparison. Files that NumPy has mapped travel by name, and what is written to one is there
for all.
"""

from __future__ import annotations

import os
import weakref
from typing import Any, NamedTuple, Self

from allcores.pool.repeated import Stands, private, store
from allcores.reducers import sending

__all__ = ("Call", "SentOnce")

# A function, and its arguments.
Call = tuple[Any, tuple[Any, ...], dict[str, Any]]


class _Stored(NamedTuple):
    """An array's copy, and the end of whoever has its bytes."""

    what: tuple[Any, tuple[Any, ...]]
    end: weakref.ref[Any]


class SentOnce:
    """While it is entered, this thread sends each large array once. Not thread-safe; joblib sends under its lock.

    Args:
        least: bytes from which on an array is large; None for no array ever.
    """

    def __init__(self, least: int | None) -> None:
        self._least = least
        self._stored: dict[Any, _Stored] = {}
        self._compared: set[Any] = set()  # since the input was read

    def __enter__(self) -> Self:
        self._before = sending.arrays
        sending.arrays = None if self._least is None else self.reduce
        return self

    def __exit__(self, *_exc: object) -> None:
        sending.arrays = self._before

    def input_was_read(self) -> None:
        """The user's code had its turn, and may have changed any array."""
        self._compared.clear()

    def clear(self) -> None:
        """Forget all arrays."""
        self._stored.clear()
        self._compared.clear()

    def each_own(self, calls: list[Call]) -> list[Call]:
        """The calls, with something that arrives as the array in the place of each argument that is sent once."""
        return calls if self._least is None else [self._own(*call) for call in calls]

    def _own(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        stands: dict[int, Any] = {}  # by id: an array that is there twice arrives as one
        for x in (*args, *kwargs.values()):
            how = self._travels(x)
            if how is not NotImplemented and how[0] is private:
                stands[id(x)] = Stands(*how[1])
        if not stands:
            return func, args, kwargs
        return func, tuple(stands.get(id(x), x) for x in args), {k: stands.get(id(x), x) for k, x in kwargs.items()}

    def reduce(self, array: Any) -> Any:
        """How an array travels within another object, as ``__reduce__`` has it; NotImplemented for as always."""
        how = self._travels(array)
        return how if how is NotImplemented or how[0] is not private else (_read_only, how[1])

    def _travels(self, array: Any) -> Any:
        if type(array).__module__ not in ("numpy", "numpy.memmap") or array.dtype.hasobject or not array.nbytes:
            return NotImplemented
        owner, mapped = array, None
        while getattr(owner, "base", None) is not None:
            mapped = owner if type(owner).__name__ == "memmap" else mapped
            owner = owner.base
        if mapped is not None:
            return _by_file(array, mapped)
        if type(array).__name__ == "memmap" or array.nbytes < (self._least or 0) or not array.flags.forc:
            return NotImplemented
        return self._by_copy(array, owner)

    def _by_copy(self, array: Any, owner: Any) -> Any:
        key = id(owner), array.__array_interface__["data"][0], array.shape, array.strides, array.dtype
        stored = self._stored.get(key)
        if stored is None or not self._is_as_it_was(key, array, owner, stored.what[0]):
            me = weakref.ref(self)
            try:
                end = weakref.ref(owner, lambda _: _forget(me(), key))
            except TypeError:  # nobody would tell of its end, after which another may have its address
                return NotImplemented
            stored = self._stored[key] = _Stored(store(array), end)
        self._compared.add(key)
        return private, stored.what

    def _is_as_it_was(self, key: Any, array: Any, owner: Any, memory: Any) -> bool:
        fixed = type(owner) is type(array) and not (array.flags.writeable or owner.flags.writeable)
        if fixed or key in self._compared:
            return True
        import ctypes

        memcmp = ctypes.CDLL(None).memcmp  # without the GIL
        memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        return int(memcmp(key[1], memory.address, array.nbytes)) == 0


def _read_only(*stored: Any) -> Any:
    array = private(*stored)
    array.flags.writeable = False
    return array


def _forget(once: SentOnce | None, key: Any) -> None:
    if once is not None:
        once._stored.pop(key, None)
        once._compared.discard(key)


def _by_file(array: Any, mapped: Any) -> Any:
    """A mapped file, or a part of one, by its name; its first map is ``mapped``."""
    if mapped.mode == "c" or mapped.filename is None or not os.path.exists(mapped.filename):
        return NotImplemented  # changes that are in no file
    from numpy.lib.array_utils import byte_bounds

    low, high = byte_bounds(array)
    start, _ = byte_bounds(mapped)
    mode = "r+" if array.flags.writeable else "r"
    first = array.__array_interface__["data"][0] - low
    how = (array.shape, array.dtype, first, array.strides)
    return _from_file, (os.fspath(mapped.filename), mode, mapped.offset + low - start, high - low, how)


def _from_file(path: str, mode: Any, offset: int, nbytes: int, how: tuple[Any, ...]) -> Any:
    import numpy as np

    shape, dtype, first, strides = how
    flat: Any = np.memmap(path, np.uint8, mode, offset, (nbytes,))
    begin = flat[first : first + dtype.itemsize].view(dtype)
    return np.lib.stride_tricks.as_strided(begin, shape, strides, subok=True)
