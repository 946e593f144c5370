"""What is known of an item that failed, or took too long."""

from __future__ import annotations

import contextlib
from typing import Any

from allcores.errors import RemoteTraceback

__all__ = ("Failure",)


class _TaskTimeout:
    """An item ran longer than the ``timeout`` it was given, and was ended: a TimeoutError.

    In the process context its worker is gone, with all processes that it had started. A thread cannot be ended: the
    item goes on there, and what becomes of it is dropped; in the serial context it has run to its end.

    Attributes:
        timeout: the seconds it was given.
        seconds: how long it ran.
        index: index of the item in the input of ``map`` and its kin; None for a single call.
        item: short repr of the item, or of the arguments.
        pid: the worker's.
        attempts: how often it was tried: more than 1 with ``retries``.
    """

    def __init__(
        self,
        timeout: float,
        seconds: float,
        index: int | None = None,
        item: str = "",
        pid: int | None = None,
        attempts: int = 1,
    ) -> None:
        self.timeout, self.seconds = timeout, seconds
        self.index, self.item, self.pid, self.attempts = index, item, pid, attempts
        if index is None:
            at = f"this call of {item}" if item else "this call"
        else:
            at = f"item {index} ({item})" if item else f"item {index}"
        tried = f", at attempt {attempts}" if attempts > 1 else ""
        # Of a thread too, which goes on. The other parent is an exception.
        super().__init__(  # type: ignore[call-arg]
            f"{at} took longer than its timeout of {timeout:g} s{tried}, and was given up "
            f"after {seconds:.3g} s in process {pid}: give it a larger timeout, or leave timeout out for no limit"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.timeout, self.seconds, self.index, self.item, self.pid, self.attempts)


class Failure:
    """An item that failed: in its place among the results with ``errors="return"``, and ``.failure`` of a raised error.

    Attributes:
        index: index of the item in the input of ``map`` and its kin; None for a single call.
        item: short repr of the item, or of the arguments.
        error: what it raised, ``WorkerDied`` or ``TaskTimeout``; None in the ``.failure`` of that very error.
        pid: the worker's; None if not known.
        seconds: how long the item ran, at its last attempt; None if not known.
        attempts: how often it was tried: more than 1 with ``retries``.
        traceback: as text, where it was raised.
        results: of the raised error of a ``map``: what was finished by then, by index. Pickles are without it.
    """

    __slots__ = ("_said", "_traceback", "attempts", "error", "index", "item", "pid", "results", "seconds")

    def __init__(
        self,
        index: int | None,
        item: str,
        error: BaseException | None,
        pid: int | None = None,
        seconds: float | None = None,
        attempts: int = 1,
        said: str = "",
        traceback: str = "",
    ) -> None:
        self.index, self.item, self.error = index, item, error
        self.pid, self.seconds, self.attempts = pid, seconds, attempts
        self.results: dict[int, Any] = {}
        self._said, self._traceback = said, traceback

    @property
    def traceback(self) -> str:
        """As text, where the error was raised."""
        cause = None if self.error is None else self.error.__cause__
        if isinstance(cause, RemoteTraceback):
            return cause.text
        if self.error is None or self.error.__traceback__ is None:
            return self._traceback
        import traceback

        return "".join(traceback.format_exception(self.error))

    def carried(self, results: dict[int, Any] | None = None) -> BaseException:
        """The error, which carries this failure from now on; and this no error: they would keep each other alive."""
        error = self.error
        assert error is not None
        self._said, self._traceback, self.results = repr(error), self.traceback, results or {}
        self.error = None
        with contextlib.suppress(AttributeError, TypeError):  # of a class that takes no attributes
            error.failure = self  # type: ignore[attr-defined]
        return error

    def __repr__(self) -> str:
        said = self._said if self.error is None else repr(self.error)
        what = f"of {self.item}" if self.index is None else f"item {self.index} of the input"
        return f"<Failure {what}: {said}>"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.index, self.item, self.error, self.pid, self.seconds, self.attempts)
        return type(self), (*fields, self._said, self.traceback)
