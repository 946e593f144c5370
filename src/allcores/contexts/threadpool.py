"""ThreadPool: a pool of the thread context, as a class of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores.context import get_context
from allcores.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("ThreadPool",)


class ThreadPool(Pool):
    """A ``Pool`` whose workers are threads, as ``multiprocessing.pool.ThreadPool``: ``get_context("thread").Pool()``.

    Args:
        processes: how many; by default one per usable core.
        initializer: called in each worker before its first task.
        initargs: its arguments, a tuple.
        options: see ``PoolOptions``.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        **options: Any,
    ) -> None:
        super().__init__(processes, initializer, initargs, context=get_context("thread"), **options)
