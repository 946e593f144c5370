"""``multiprocessing.sharedctypes``: Value and Array, with and without a lock, and what makes one from the other."""

from __future__ import annotations

import ctypes
from typing import Any

from allcores.codec import short_repr
from allcores.faces import face
from allcores.guarded import Guarded, guard_of
from allcores.shared import Array, RawArray, RawValue, Value
from allcores.structures import StructureArray, StructureValue

__all__ = ("Array", "RawArray", "RawValue", "Value", "copy", "synchronized")

__getattr__ = face(__name__)


def copy(obj: Any) -> Any:
    """A new Value or Array in shared memory, without a lock, with the contents of this one or of a ctypes object."""
    source = _looked_at(obj)
    made = RawValue(type(source))
    ctypes.memmove(ctypes.addressof(_looked_at(made)), ctypes.addressof(source), ctypes.sizeof(source))
    return made


def synchronized(obj: Any, lock: Any = None, ctx: Any = None) -> Any:
    """The same memory with a lock: a Value or Array that looks at what a RawValue or RawArray looks at.

    Args:
        obj: what ``RawValue``, ``RawArray`` or ``copy`` made.
        lock: a Lock or RLock; by default one that belongs to the memory, the same whoever asks.
        ctx: for the standard's sake only.

    Raises:
        AssertionError: it has a lock already.
        TypeError: it is not in shared memory.
    """
    memory = obj._memory if isinstance(obj, StructureValue | StructureArray) else obj
    if not isinstance(memory, Guarded):
        raise TypeError(f"synchronized() takes what RawValue or RawArray made, not {short_repr(obj)}")
    assert memory._guard == guard_of(False), "object already synchronized"
    guarded = type(memory)._attach(memory._code, memory._n, memory.offset, guard_of(lock))
    return guarded if memory is obj else obj._on(guarded)


def _looked_at(obj: Any) -> Any:
    """The ctypes object at the memory of one of ours, which those without a lock do not show; else itself."""
    look = getattr(type(obj), "get_obj", None)
    return obj if look is None else look(obj)
