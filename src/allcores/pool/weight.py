"""About how many bytes an object comes to when it travels: by what it says of itself, without a pickle of it."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ("weight_of",)

# What is not looked into: a number, a name, a handle.
_LITTLE = 32
# Of a long list so many are looked at; the others are taken to be like them.
_LOOKED_AT = 64
_DEPTH = 3


def weight_of(obj: Any, depth: int = _DEPTH) -> int:
    """About the bytes of an object: arrays, bytes and text exactly; of containers and plain objects what is in them."""
    kind = type(obj)
    if kind in (int, float, bool) or obj is None:
        return _LITTLE
    if kind in (bytes, bytearray, str):
        return len(obj) + _LITTLE
    nbytes = getattr(obj, "nbytes", None)
    if isinstance(nbytes, int):
        return (nbytes if nbytes < _BY_HANDLE or not _is_shared(obj) else 0) + _LITTLE
    if not depth:
        return _LITTLE
    if kind in (list, tuple):
        return _sum(obj[:_LOOKED_AT], len(obj), depth)
    if kind is dict:
        return _sum([x for _, x in zip(range(_LOOKED_AT), obj.values(), strict=False)], len(obj), depth)
    state = getattr(obj, "__dict__", None)
    return _sum(list(state.values()), len(state), depth) if type(state) is dict else _LITTLE


def _sum(some: Any, count: int, depth: int) -> int:
    return _LITTLE + (sum(weight_of(x, depth - 1) for x in some) * count // len(some) if some else 0)


# An array on shared memory travels by handle; whether it is one is only asked of those that are felt.
_BY_HANDLE = 4096


def _is_shared(obj: Any) -> bool:
    if "numpy" not in sys.modules or type(obj).__module__ != "numpy":
        return False
    from allcores.reducers import memory_under

    return memory_under(obj) is not None
