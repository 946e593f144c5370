"""The methods of a pool that take a call as the call is written: everything after the function is the function's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.pool.executor import Executor
    from allcores.pool.futures import Future
    from allcores.pool.options import MapOptions

__all__ = ("Submitting",)

T = TypeVar("T")


class Submitting:
    """What ``Pool`` has of ``concurrent.futures``."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` called in a worker: a ``concurrent.futures.Future``. Does not block.

        All arguments are the function's, as the standard's ``submit`` has it. For options of the call use
        ``pool.executor(timeout=5, retries=2).submit(fn, ...)`` or ``apply_async``.
        """
        from allcores.pool import executor

        return executor.submit(self, fn, args, kwargs)  # type: ignore[arg-type] # Pool inherits this

    @property
    def _max_workers(self) -> int:
        """By this name dask asks an executor how many calls to send at a time."""
        return self._crew.size  # type: ignore[attr-defined,no-any-return] # Pool inherits this

    def executor(self, **options: Unpack[MapOptions]) -> Executor:
        """The pool as a ``concurrent.futures.Executor``, whose calls have these options.

        Its workers are the pool's: ``shutdown()``, or leaving its ``with`` block, closes and joins the pool.
        """
        from allcores.pool.executor import Executor

        return Executor(self, **options)  # type: ignore[arg-type] # Pool inherits this
