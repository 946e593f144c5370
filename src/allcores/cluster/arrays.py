"""SharedArray of a cluster: an array that each worker has once, by the engine's object store, to be read there."""

from __future__ import annotations

import pickle
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import numpy as np

from allcores.cluster import stored
from allcores.errors import NotSupported

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

__all__ = ("SharedArray",)


class SharedArray(np.ndarray):
    """A NumPy array for all workers of a cluster, read-only: a cluster has no memory that all see.

    As argument of a pool's calls, or in one, it is in the engine's object store once, and in each worker that needs it
    once. To processes and through queues it goes as a copy. What is computed from it is an ordinary array.

    Args:
        shape: a number or a tuple of numbers.
        dtype: any NumPy dtype but ``object``.
        fill: what it holds, by default zeros.
        lock: False: there is nothing to guard.
    """

    def __new__(cls, shape: Any, dtype: DTypeLike = float, *, fill: Any = None, lock: bool = False) -> Self:
        value = np.asarray(0 if fill is None else fill, dtype)
        return cls.from_array(np.broadcast_to(value, shape), lock=lock)

    @classmethod
    def from_array(cls, array: ArrayLike, *, lock: bool = False) -> Self:
        """A copy of an array, or of anything that ``numpy.asarray`` takes."""
        source = np.asarray(array)
        if source.dtype.hasobject:
            raise TypeError("dtype object holds pointers, which mean nothing to other machines: use a dtype of numbers")
        if lock is not False:
            raise NotSupported("a SharedArray of a cluster is read-only, so it has no lock: use mp.Lock() beside it")
        copy, end = stored.kept_copy(source, stored.READ_ONLY)
        made = _read_only(copy, cls)
        weakref.finalize(made, end).atexit = False
        return cast("Self", made)

    def __setitem__(self, _key: Any, _value: Any) -> NoReturn:
        raise NotSupported(
            "a SharedArray of a cluster is read-only: its workers are on several machines, which share no memory; "
            "return what is new as a result, or use an Array for single numbers"
        )

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        """What is computed is an ordinary array."""
        return array[()] if return_scalar else array.view(np.ndarray)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        plain = np.ascontiguousarray(self.view(np.ndarray))
        flat: Any = plain.reshape(-1).view(np.uint8)
        return _arrived, (pickle.PickleBuffer(flat), self.shape, self.dtype)


def _arrived(buffer: Any, shape: Any, dtype: Any) -> Any:
    return _read_only(np.ndarray(shape, dtype, buffer), SharedArray)


def _read_only(array: Any, cls: Any) -> Any:
    made = array.view(cls)
    made.flags.writeable = False
    return made
