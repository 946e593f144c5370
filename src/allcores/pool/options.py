"""What the methods of a pool may be told besides the work: how long an item may take, what becomes of a failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

from allcores import checks, codec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ("NO_OPTIONS", "CallOptions", "IMapOptions", "MapOptions", "Options", "check_options")

Errors = Literal["raise", "return", "skip"]


class CallOptions(TypedDict, total=False):
    """The options of ``apply``, ``apply_async`` and ``submit``, and those of every item of ``map`` and its kin."""

    timeout: float | None
    """Seconds that each item may run. One that takes longer is a ``TaskTimeout``; all others are done. Its worker is
    ended, with every process that it has started, and replaced; items of the same chunk that it had not answered yet
    run again. A thread cannot be ended: another takes its place, and what becomes of the item is dropped. In the serial
    context the item runs to its end first."""
    retries: int
    """How often an item runs again whose worker died or that took too long: what it had done till then stays done. By
    default 0; where workers are a cluster's, it runs again up to three times after a death, if nothing is said here."""
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    """Errors raised by the function after which it is tried again as well. By default none is."""
    seed: int | None
    """Seeds ``random``, NumPy and torch anew for each item, from this number and the item's index (of a single call:
    0), so results do not depend on workers, chunks or retries; see ``item_seed`` for other generators. Without it each
    worker draws its own numbers. NotSupported where workers are threads, which share those generators."""


class MapOptions(CallOptions, total=False):
    """The options of ``map``, ``starmap`` and their asynchronous forms."""

    errors: Errors
    """``"raise"``: the first failure ends the map. ``"return"``: failures are in the results, each a ``Failure`` in
    its place. ``"skip"``: they are left out."""
    progress: bool | str
    """Show a bar that counts what is done; a str is its label."""
    max_bytes: int | None
    """So many bytes of items on their way at a time, about; of ``imap`` also of results that nobody has taken yet. What
    is larger goes alone. By default a chunk of several items has at most 8 MiB."""
    checkpoint: str | os.PathLike[str] | None
    """A file that keeps what is done: the same call after a crash does only what is missing; items that failed run
    again. CheckpointMismatch if function or items have changed, CheckpointError if the file is in use or damaged. Read
    like pickles: only files of your own. What a crash loses is work of some 10 ms, besides what was running."""


class IMapOptions(MapOptions, total=False):
    """The options of ``imap``, ``imap_unordered`` and ``stream``."""

    buffersize: int | None
    """The input is read at most so many items ahead of the results that were taken; chunks become as small as that
    needs, with ``chunksize`` too. By default some chunks of a millisecond, up to 1,024 items where one takes long."""


class Options(NamedTuple):
    """The options of one call of a pool's method, checked."""

    timeout: float | None = None
    retries: int = 0
    retry_on: tuple[type[BaseException], ...] = ()
    seed: int | None = None
    errors: Errors = "raise"
    progress: bool | str = False
    max_bytes: int | None = None
    checkpoint: str | None = None
    buffersize: int | None = None
    exact: bool = False  # how often to retry was said, and be it 0

    @property
    def travels(self) -> bool:
        """Whether some of them are for the worker: tasks then come with orders."""
        return self.timeout is not None or self.seed is not None

    def orders(self, start: int = 0) -> tuple[int, float | None, int | None]:
        """The ``Orders`` of a task, as they travel.

        Args:
            start: index of its first item in the input.
        """
        return start, self.timeout, self.seed


NO_OPTIONS = Options()


def check_options(method: str, known: type, given: Mapping[str, Any]) -> Options:
    """The options of a call of a method that knows those of a class. Refuses others, and what makes no sense."""
    if not given:
        return NO_OPTIONS
    names = known.__annotations__
    for name in given:
        if name not in names:
            raise TypeError(f"{method}() has no option {name!r}: it knows {', '.join(sorted(names))}")
    checked = {name: _CHECKS[name](name, value) for name, value in given.items()}
    return Options(**checked, exact="retries" in given)


# Seconds, some thirty years. What is more would not fit in 64 bits of nanoseconds, and is no limit.
_FOREVER = 1e9


def _timeout(name: str, value: Any) -> float | None:
    if value is None:
        return None
    seconds = checks.number(name, value, "the seconds that an item may run", "leave it out for no limit")
    return seconds if seconds < _FOREVER else None


def _count(least: int, what: str, cure: str) -> Callable[[str, Any], int]:
    return lambda name, value: checks.count(name, value, what, cure, least)


def _count_or_none(least: int, what: str, cure: str) -> Callable[[str, Any], int | None]:
    return lambda name, value: None if value is None else checks.count(name, value, what, cure, least)


def _retry_on(name: str, value: Any) -> tuple[type[BaseException], ...]:
    classes = () if value is None else value if isinstance(value, tuple) else (value,)
    for each in classes:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise TypeError(
                f"{name} must be a class of exceptions or a tuple of such, as (OSError, ValueError), "
                f"not {codec.short_repr(value)}"
            )
    return classes


def _errors(name: str, value: Any) -> Errors:
    if value not in ("raise", "return", "skip"):
        raise ValueError(
            f"{name} must be 'raise', 'return' or 'skip', not {codec.short_repr(value)}; 'return' has a Failure in "
            "the place of each item that failed, 'skip' leaves them out"
        )
    return value  # type: ignore[no-any-return]


def _progress(name: str, value: Any) -> bool | str:
    if value is None:
        return False
    if not isinstance(value, bool | str):
        raise TypeError(f"{name} must be True, False or a str, the label of the bar, not {codec.short_repr(value)}")
    return value


def _checkpoint(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f'{name} must be the path of a file, as "run.db", not {codec.short_repr(value)}')
    path = os.fsdecode(value)
    if not path:  # SQLite would take a file that nobody finds again
        raise ValueError(f'{name} must be the path of a file, as "run.db", and is empty; leave it out to keep nothing')
    return path


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "timeout": _timeout,
    "retries": _count(0, "how often an item runs again", "0 is never"),
    "retry_on": _retry_on,
    "seed": _count_or_none(
        0, "the number that all random streams derive from", "leave it out for other ones each time"
    ),
    "errors": _errors,
    "progress": _progress,
    "max_bytes": _count_or_none(1, "the bytes of items that may be on their way", "leave it out for 8 MiB a chunk"),
    "checkpoint": _checkpoint,
    "buffersize": _count_or_none(
        1, "how many items the input may be ahead of the results", "leave it out for a default"
    ),
}
