"""What a pool is to be like: how many workers, and how each of them lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

from allcores import codec
from allcores.base import check_call

__all__ = ("Plan",)


class Plan(NamedTuple):
    """The arguments of ``Pool``, checked; see there for their meaning."""

    processes: int
    initializer: Callable[..., object] | None = None
    initargs: Iterable[Any] = ()
    maxtasksperchild: int | None = None

    def checked(self) -> Self:
        """Itself, after refusing what makes no sense."""
        _check_count("processes", self.processes, "the number of workers", "leave it out for one per usable core")
        if self.initializer is not None and not callable(self.initializer):
            raise TypeError(f"initializer must be callable, not {codec.short_repr(self.initializer)}")
        check_call(self.initargs, None)
        most = self.maxtasksperchild
        if most is not None and (not isinstance(most, int) or most < 1):
            raise ValueError(f"maxtasksperchild must be an int of at least 1 or None, not {most!r}")
        return self


def _check_count(name: str, value: Any, what: str, cure: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, {what}, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}; {cure}")
