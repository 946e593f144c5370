"""SharedArray: a NumPy array in shared memory.

    block of the segment ◀── Memory (held by each process that has it) ◀── ndarray ◀── slices, transposes, reshapes

The array is an ordinary ndarray; what is special is the memory under it. So NumPy computes with it as with any other,
what comes out is private, and whatever looks at that memory travels by handle (``reducers``): no copy, however large.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from allcores import _native
from allcores.reducers import memory_under
from allcores.sync import Lock, RLock

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ("SharedArray",)


class _Kind(type):
    """Arrays made without a lock are plain ndarrays: what makes one a SharedArray is its memory."""

    def __instancecheck__(cls, obj: object) -> bool:
        return isinstance(obj, np.ndarray) and isinstance(memory_under(obj), _native.Memory)


class SharedArray(np.ndarray, metaclass=_Kind):
    """A NumPy array that all processes see, and may write to.

    It is an ``ndarray`` and nothing else: slices, transposes and reshapes look at the same memory, what NumPy computes
    from it is an ordinary, private array. It and its views travel by handle, at no copy and any size: as argument or
    result, through queues, in closures and containers; the receiver sees what others write. The memory is freed with
    the last array that looks at it, in any process; a killed one counts no more. Nobody waits for anybody: with
    several writers, take turns by ``lock``, or write to different parts.

    Args:
        shape: a number or a tuple of numbers, 0 or more.
        dtype: any NumPy dtype but ``object``: structured, dates, fixed-length text.
        fill: what it holds at first, by default zeros; anything that ``array[...] = fill`` takes.
        lock: True for a lock of its own, or an allcores Lock: then ``get_lock()`` of the array and its views gives it.
            Taking it is up to you: reading and writing elements does not.

    Raises:
        ValueError: a shape that is negative, or larger than any memory.
        TypeError: dtype ``object``: it holds pointers, which mean nothing to other processes.
        OverflowError, ValueError: ``fill`` does not fit the dtype.
        MemoryError: the system has no memory for it.
    """

    _guard: Lock | None = None

    def __new__(cls, shape: Any, dtype: DTypeLike = float, *, fill: Any = None, lock: bool | Lock = False) -> Self:
        dims, kind = _checked_shape(shape), _checked_dtype(dtype)
        nbytes = _checked_bytes(dims, kind)
        _check_lock(lock)
        first = None if fill is None else _checked_fill(fill, dims, kind)
        memory = _native.Memory(nbytes, zeroed=first is None)
        array = np.ndarray(dims, kind, cast(Any, memory))
        if first is not None:
            array[...] = first
        return cast("Self", _guarded(array, lock))

    @classmethod
    def from_array(cls, array: ArrayLike, *, lock: bool | Lock = False) -> Self:
        """A shared copy of an array, or of anything that ``numpy.asarray`` takes: same shape, dtype, memory order.

        Raises:
            TypeError: its dtype is ``object``.
            MemoryError: the system has no memory for it.
        """
        source = np.asarray(array)
        kind = _checked_dtype(source.dtype)
        _check_lock(lock)
        memory = _native.Memory(source.nbytes, zeroed=False)
        axes = _outer_first(source)
        packed = np.ndarray(tuple(source.shape[i] for i in axes), kind, cast(Any, memory))
        made = packed.transpose(np.argsort(axes)) if axes else packed
        made[...] = source
        return cast("Self", _guarded(made, lock))

    def get_lock(self) -> Lock:
        """The lock that this array, or the one it is a view of, was made with.

        Raises:
            AttributeError: it is a copy, which is private and has none.
        """
        if self._guard is None or memory_under(self) is None:
            raise AttributeError("this array has no lock: it is private, or was made without lock=True")
        return self._guard

    def __array_finalize__(self, obj: Any) -> None:
        self._guard = getattr(obj, "_guard", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """What is computed is an ordinary array."""
        if array is self:
            return array
        return array[()] if return_scalar else array.view(np.ndarray)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As its memory and its lock; a copy as what it is, an ordinary array."""
        plain, memory = self.view(np.ndarray), memory_under(self)
        if self._guard is None or memory is None:
            return plain.__reduce_ex__(protocol)
        own = self._guard.offset == memory.offset
        if own:
            _native.travels(memory.offset)
        return _with_lock, (plain, None if own else self._guard)


class _Locked(SharedArray):
    """One with a lock. Not SharedArray itself: of an exact type Python says "is one" without asking for its memory."""


_Locked.__name__ = _Locked.__qualname__ = SharedArray.__name__


def _with_lock(array: NDArray[Any], lock: Lock | None) -> SharedArray:
    """The array with a lock, by default the one that lies in its memory. As it is, where a copy has arrived."""
    if memory_under(array) is None:  # from the user's own pickle
        return cast("SharedArray", array)
    made = array.view(_Locked)
    made._guard = RLock._attach(memory_under(array).offset) if lock is None else lock
    return made


def _guarded(array: NDArray[Any], lock: bool | Lock) -> NDArray[Any]:
    return array if lock is False else _with_lock(array, None if lock is True else lock)


def _check_lock(lock: Any) -> None:
    if not isinstance(lock, bool | Lock):
        raise TypeError(f"lock must be True, False, or an allcores Lock or RLock, not {lock!r}")


def _outer_first(array: NDArray[Any]) -> list[int]:
    """The axes of an array in the order in which they lie in memory."""
    axes = list(range(array.ndim))
    return axes if array.flags.c_contiguous else sorted(axes, key=lambda i: -abs(array.strides[i]))


def _checked_shape(shape: Any) -> tuple[int, ...]:
    try:
        dims = tuple(int(n.__index__()) for n in (shape if isinstance(shape, tuple | list) else (shape,)))
    except (AttributeError, TypeError):
        raise TypeError(f"shape must be a whole number or a tuple of them, not {shape!r}") from None
    if any(n < 0 for n in dims):
        raise ValueError(f"shape must have no negative number, as {shape!r} has: give the length of each axis")
    return dims


def _checked_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise TypeError(
            f"dtype {kind} holds pointers to Python objects, which mean nothing to other processes: use a dtype of "
            "numbers or fixed-length text, or allcores.share(obj) for Python objects"
        )
    return kind


def _checked_bytes(dims: tuple[int, ...], kind: np.dtype[Any]) -> int:
    nbytes = math.prod(dims) * kind.itemsize
    if nbytes > sys.maxsize or max(dims, default=0) > sys.maxsize:
        raise ValueError(f"shape {dims} of {kind} takes {nbytes:,} bytes, more than any memory: make it smaller")
    return nbytes


def _checked_fill(fill: Any, dims: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
    """The fill as an array of the dtype that broadcasts to the shape."""
    given = np.asarray(fill)
    if kind.kind in "biuf" and given.dtype.kind == "c":
        raise ValueError(f"fill {fill!r} does not fit {kind}, which has no imaginary part: use a complex dtype")
    if kind.kind in "iu" and given.dtype.kind == "f" and not np.all(np.isfinite(given)):
        raise ValueError(f"fill {fill!r} does not fit {kind}, which has no NaN and no infinity: use a float dtype")
    if kind.kind in "iu" and given.dtype.kind in "biuf" and kind != given.dtype and given.size:
        bounds = np.iinfo(kind)
        if int(given.min()) < bounds.min or int(given.max()) > bounds.max:
            raise OverflowError(f"fill {fill!r} does not fit {kind}, which holds {bounds.min} to {bounds.max}")
    if kind.names is not None:
        first = np.array(fill, kind)  # a tuple is one element
    else:
        first = np.empty(given.shape, kind)
        first[...] = fill if given.dtype.hasobject else given
    if np.broadcast_shapes(first.shape, dims) != dims:
        raise ValueError(f"fill of shape {first.shape} does not fit shape {dims}")
    return first
