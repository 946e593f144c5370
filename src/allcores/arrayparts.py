"""Arrays, alone or in a tuple or list with plain things, as most messages with arrays are: taken apart and put together
without a pickler of their own, which costs several times as much.

    (3, array, "x")  ──▶  [3, None, "x"], and of the array how it lies and its data: in shared memory already; small,
                          and beside it; or a buffer of the message: one copy into a block, which then is the array's
"""

from __future__ import annotations

import pickle
from typing import Any

from allcores import _native
from allcores.reducers import array_on, memory_under, spelling

__all__ = ("put_together", "take_apart")

# Smaller arrays cost more as a block of their own than as a copy.
LEAST_BUFFER = 4096

Made = tuple[list[bytes], list[Any], list[int]]


def take_apart(obj: Any) -> Made | None:
    """The parts of a message for ``_native``: pickle, buffers, offsets of shared memory. None: it takes a pickler.

    Args:
        obj: an ndarray, or a tuple or list of ndarrays and of what the C pickler knows.
    """
    items = [obj] if type(obj) not in (tuple, list) else list(obj)
    arrays: list[tuple[Any, ...]] = []
    buffers: list[Any] = []
    offsets: list[int] = []
    seen = set()
    for i, item in enumerate(items):
        if type(item).__name__ != "ndarray":
            continue
        if id(item) in seen or item.dtype.hasobject:
            return None  # the same array twice is to arrive as one; objects need a pickler
        seen.add(id(item))
        items[i] = None
        memory = None if item.base is None else memory_under(item)
        if memory is None:
            arrays.append((i, *_data(item, buffers)))
        elif type(memory) is _native.Memory:
            arrays.append((i, (memory.nbytes, memory.offset), *_lie(item, memory)))
            offsets.append(memory.offset)
        else:
            return None
    return [pickle.dumps((type(obj).__name__, items, arrays), 5)], buffers, offsets


def _lie(array: Any, memory: Any) -> tuple[Any, ...]:
    address, shape, strides, writeable = _native.geometry(array)
    return shape, spelling(array.dtype), address - memory.address if array.size else 0, strides, writeable


def _data(array: Any, buffers: list[Any]) -> tuple[Any, ...]:
    """The data of a private array, and how it is to lie; what arrives is writable, whatever was sent."""
    strides = None
    if not array.flags.c_contiguous:
        if array.flags.f_contiguous:
            strides, array = array.strides, array.T
        else:
            array = array.copy()
    shape = array.shape if strides is None else array.shape[::-1]
    if array.nbytes < LEAST_BUFFER:
        return bytearray(array.tobytes()), shape, spelling(array.dtype), 0, strides, True
    buffers.append(array)
    return len(buffers) - 1, shape, spelling(array.dtype), 0, strides, True


def put_together(parts: Any, buffers: Any = ()) -> Any:
    """What ``take_apart`` took apart, from its pickle and the blocks of its buffers."""
    kind, items, arrays = pickle.loads(parts)
    for i, data, *how in arrays:
        if type(data) is tuple:
            nbytes, offset = data
            data = _native.Memory(nbytes, offset, False)
        elif type(data) is int:
            data = buffers[data]
        items[i] = array_on(data, how)
    return items if kind == "list" else tuple(items) if kind == "tuple" else items[0]
