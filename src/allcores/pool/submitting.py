"""The methods of a pool that take a call as the call is written: everything after the function is the function's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable

    from allcores.pool.executor import Executor
    from allcores.pool.futures import Future
    from allcores.pool.options import IMapOptions, MapOptions
    from allcores.pool.stream import Stream

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

    async def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """``await pool.run(fn, ...)``: the result of ``fn(*args, **kwargs)`` in a worker; the event loop goes on.

        All arguments are the function's; for options of the call use ``pool.executor(timeout=5).run(fn, ...)``. When
        the awaiting task is cancelled, as by ``asyncio.timeout``, so is the call. In the serial context it blocks, as
        everything there.
        """
        from allcores.pool import stream
        from allcores.pool.options import NO_OPTIONS

        return await stream.run(self, fn, args, kwargs, NO_OPTIONS)  # type: ignore[arg-type,no-any-return]

    def stream(
        self,
        func: Callable[[Any], T],
        iterable: Iterable[Any] | AsyncIterable[Any],
        *,
        ordered: bool = True,
        chunksize: int | None = None,
        **options: Unpack[IMapOptions],
    ) -> Stream[T]:
        """``async for result in pool.stream(func, iterable)``: imap for asyncio, from an input of any length.

        Leaving the loop, ``aclose()``, or the end of the awaiting task ends the work: no more of the input is read,
        what has not begun never runs, and what runs is interrupted.

        Args:
            func: a function of one argument.
            iterable: asynchronous, or not. It is read in the event loop's thread, never more than a bounded window
                ahead of the results; one that is not asynchronous should not block.
            ordered: results in the order of the input; else as they come.
            chunksize: items per task; by default as many as take about a millisecond, by measured time. From an
                asynchronous input no item waits for others to come.
            options: see ``IMapOptions``.
        """
        from allcores.pool.options import IMapOptions, check_options
        from allcores.pool.stream import Stream

        checked = check_options("stream", IMapOptions, options)
        return Stream(self, func, iterable, chunksize, ordered, checked)  # type: ignore[arg-type]

    def executor(self, **options: Unpack[MapOptions]) -> Executor:
        """The pool as a ``concurrent.futures.Executor``, whose calls have these options.

        Its workers are the pool's: ``shutdown()``, or leaving its ``with`` block, closes and joins the pool.
        """
        from allcores.pool.executor import Executor

        return Executor.over(self, **options)  # type: ignore[arg-type] # Pool inherits this
