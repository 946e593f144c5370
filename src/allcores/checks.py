"""Numbers that users give: of any type that is one, NumPy's too, or refused with the cure."""

from __future__ import annotations

import operator
from typing import Any

from allcores import codec

__all__ = ("count", "number")


def count(name: str, value: Any, what: str, cure: str, least: int = 1) -> int:
    """A whole number.

    Args:
        name: of the argument.
        value: of it, as given.
        what: it is.
        cure: for one that is too small or of another type.
        least: that it may be.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        whole = operator.index(value)
    except TypeError:
        hint = f"write {int(value)}" if isinstance(value, float) and value.is_integer() else cure
        raise TypeError(f"{name} must be an int, {what}, not {codec.short_repr(value)}; {hint}") from None
    if whole < least:
        raise ValueError(f"{name} must be at least {least}, not {whole}; {cure}")
    return whole


def number(name: str, value: Any, what: str, cure: str) -> float:
    """A number above 0; arguments as of ``count``."""
    if not hasattr(value, "__float__") or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, {what}, not {codec.short_repr(value)}; {cure}")
    if not value > 0:  # nan neither
        raise ValueError(f"{name} must be more than 0, {what}, not {value}; {cure}")
    return float(value)
