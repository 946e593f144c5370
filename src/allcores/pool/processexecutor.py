"""The class that takes the place of ``concurrent.futures.ProcessPoolExecutor``: called, inherited from, asked for.

``Context.Executor`` is a method of a context; programs of the standard's have a class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores.context import get_context
from allcores.pool.executor import Executor, keep, make_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("ProcessPoolExecutor",)


class _Kind(type):
    """Every executor over a pool of its own is one of this class."""

    def __instancecheck__(cls, obj: object) -> bool:
        return super().__instancecheck__(obj) or (cls is ProcessPoolExecutor and isinstance(obj, Executor))


class ProcessPoolExecutor(Executor, metaclass=_Kind):
    """An ``Executor`` of allcores that is made as the standard's is: see ``concurrent.futures.ProcessPoolExecutor``.

    It runs in the default context of ``allcores``, or in ``mp_context`` if that is one of ours.

    Args:
        max_workers: how many processes; by default one for each usable core.
        mp_context: a context of allcores; those of the standard library change nothing.
        initializer: called in each worker before its first task.
        initargs: its arguments, a tuple.
        max_tasks_per_child: replace a worker after so many tasks.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        life = initializer, initargs, max_tasks_per_child
        super().__init__(make_pool(get_context(), max_workers, mp_context, life, {}))
        keep(self)
