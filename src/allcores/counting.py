"""Limits of queues, and how many bytes an item has where it does not travel."""

from __future__ import annotations

import sys
from typing import Any

from allcores.reducers import memory_under

__all__ = ("check_limits", "estimate_bytes")

# About what the handle of a shared object takes in a pickle.
HANDLE = 64


def check_limits(maxsize: Any, max_bytes: Any) -> None:
    """Refuse limits of a queue that make no sense, with the cure."""
    if not isinstance(maxsize, int):
        raise TypeError(f"maxsize must be an int, the number of items that may wait, not {maxsize!r}")
    if max_bytes is not None and not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be an int, the bytes that may wait, or None for no limit, not {max_bytes!r}")
    if max_bytes is not None and not 1 <= max_bytes < 1 << 63:
        raise ValueError(f"max_bytes must be 1 or more, not {max_bytes}: None is for no limit")


def estimate_bytes(obj: object) -> int:
    """About what an object would take on its way to another process, for contexts in which it does not travel.

    The bytes of buffers (arrays, bytes, memoryviews) and of text, through lists, tuples, sets and dicts; of anything
    else ``sys.getsizeof``, without what it refers to. A shared object counts as its handle. At least 1.
    """
    seen: set[int] = set()
    todo = [obj]
    total = 0
    while todo:
        each = todo.pop()
        if isinstance(each, list | tuple | set | frozenset | dict):
            if id(each) not in seen:
                seen.add(id(each))
                todo.extend(each)
                todo.extend(each.values() if isinstance(each, dict) else ())
        else:
            total += _bytes_of(each)
    return max(total, 1)


def _bytes_of(obj: object) -> int:
    if isinstance(obj, str):
        return len(obj) if obj.isascii() else len(obj.encode("utf-8", "surrogatepass"))
    if hasattr(type(obj), "_attach") or _is_shared_array(obj):  # travels by handle
        return HANDLE
    try:
        with memoryview(obj) as view:  # type: ignore[arg-type]
            return view.nbytes
    except (TypeError, ValueError, BufferError):  # has no bytes of its own, or none that can be seen as such
        nbytes = getattr(obj, "nbytes", None)  # NumPy's dates; arrays of other devices
        return nbytes if isinstance(nbytes, int) else sys.getsizeof(obj)


def _is_shared_array(obj: object) -> bool:
    base = getattr(obj, "base", None)
    return base is not None and hasattr(type(obj), "__array_interface__") and memory_under(obj) is not None
