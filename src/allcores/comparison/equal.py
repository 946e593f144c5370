"""Whether two results say the same, whatever they are made of."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

__all__ = ("first_difference", "same")


def first_difference(expected: Sequence[Any], seen: Sequence[Any]) -> int | None:
    """The index of the first pair that is not the same, or of the first one missing; None: all the same."""
    for index, (left, right) in enumerate(zip(expected, seen, strict=False)):
        if not same(left, right):
            return index
    return None if len(expected) == len(seen) else min(len(expected), len(seen))


def same(left: Any, right: Any) -> bool:
    """Whether two results say the same.

    As ``==`` does, except that NaN is the same as NaN, that arrays are compared whole, and that objects
    without an ``==`` of their own are compared by what they hold: a copy that went through pickle is the same
    as its original.
    """
    try:
        return _same(left, right)
    except RecursionError:  # structures that contain themselves; their pickles tell
        return _pickles_alike(left, right)


def _same(left: Any, right: Any) -> bool:
    if left is right:
        return True
    if isinstance(left, float | complex) and isinstance(right, float | complex):
        return bool(left == right or (left != left and right != right))
    if _is_array(left) or _is_array(right):
        return _same_arrays(left, right)
    if isinstance(left, str | bytes | int) or type(left) is not type(right):
        return _truth(left == right)
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, AbstractSet):
        return _truth(left == right)
    return _same_objects(left, right)


def _same_objects(left: Any, right: Any) -> bool:
    if callable(equals := getattr(left, "equals", None)):  # pandas: its == gives a table, and NaN differs from NaN
        return _truth(equals(right))
    if _own_equality(left):
        return _truth(left == right)
    if hasattr(left, "__dict__") and vars(left):
        return _same(vars(left), vars(right))
    return _pickles_alike(left, right)


def _own_equality(value: object) -> bool:
    own: object = type(value).__eq__
    return own is not object.__eq__


def _truth(answer: Any) -> bool:
    """An answer of ``==`` as a bool; a container (a table, a masked array) is true if all in it is."""
    try:
        return bool(answer)
    except (TypeError, ValueError):
        whole = answer.all()
        return bool(whole.all() if hasattr(whole, "all") else whole)


def _is_array(value: Any) -> bool:
    # An array can only be here if NumPy has been imported; comparing numbers must not import it.
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray | numpy.generic)


def _same_arrays(left: Any, right: Any) -> bool:
    import numpy

    one, two = numpy.asanyarray(left), numpy.asanyarray(right)
    if one.shape != two.shape:
        return False
    if one.dtype == object or two.dtype == object:
        return all(map(_same, one.ravel().tolist(), two.ravel().tolist()))
    if one.dtype.names:
        return one.dtype.names == two.dtype.names and all(_same_arrays(one[n], two[n]) for n in one.dtype.names)
    floating = all(numpy.issubdtype(a.dtype, numpy.inexact) or a.dtype.kind in "mM" for a in (one, two))
    return bool(numpy.array_equal(one, two, equal_nan=floating))


def _pickles_alike(left: Any, right: Any) -> bool:
    import pickle

    try:
        return pickle.dumps(left) == pickle.dumps(right)
    except Exception:  # noqa: BLE001 - whatever a __reduce__ may raise
        return False
