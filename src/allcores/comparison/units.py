"""Numbers with their units, as people say them."""

from __future__ import annotations

__all__ = ("count_text", "scale_for", "short_repr", "size_text", "time_text")

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"), (1, "B"))


def scale_for(seconds: float) -> tuple[float, str]:
    """The unit in which a time reads well, as (seconds per unit, name)."""
    for factor, unit in _TIMES:
        if seconds >= factor:
            return factor, unit
    return _TIMES[-1]


def time_text(seconds: float) -> str:
    """A time in words, to about two digits: ``3 µs``, ``40 ms``, ``5.2 s``."""
    factor, unit = scale_for(seconds)
    return f"{_short(seconds / factor)} {unit}"


def size_text(size: float) -> str:
    """A size in bytes in words, in powers of ten: ``80 MB``, ``512 B``."""
    for factor, unit in _SIZES:
        if size >= factor:
            return f"{_short(size / factor)} {unit}"
    return "0 B"


def count_text(count: int, what: str) -> str:
    """A count with its noun: ``1 item``, ``2,000 items``."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def short_repr(value: object) -> str:
    """``repr(value)`` on one line of at most 60 characters; never raises."""
    try:
        text = " ".join(repr(value).split())
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not hide the error that is being reported
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
