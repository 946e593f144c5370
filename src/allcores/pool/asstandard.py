"""An executor as programs of ``concurrent.futures.ProcessPoolExecutor`` expect it, beyond what that promises.

What they look at has a leading underscore, and they look all the same: which processes there are, whether it is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.context import Context, default_context

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from allcores.pool.pool import Pool

__all__ = ("AsStandard", "Logged", "check_arguments", "context_for", "context_of")


class AsStandard:
    """The attributes of the standard's that others look at."""

    _pool: Pool
    _mp_context: Context | None = None  # None: the pool was there before

    @property
    def _max_workers(self) -> int:
        return int(self._pool._crew.size)

    @property
    def _processes(self) -> dict[int, Any]:
        """The worker processes, by pid; empty when they have ended, and where workers are no processes."""
        found: dict[int, Any] = getattr(self._pool._crew, "_workers", {})
        return found

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:
        """Ends with the workers."""
        return getattr(self._pool._crew, "_keeper", None)

    @property
    def _call_queue(self) -> Any:
        return getattr(self._pool._crew, "_tasks", None)

    @property
    def _broken(self) -> str | bool:
        """Why it takes no calls, though nobody has shut it down; or False."""
        broken = self._pool._engine.broken
        return False if broken is None or self._pool._closed else str(broken)


class Logged:
    """An initializer whose error is logged in the worker, as the standard's executor has it, and raised."""

    def __init__(self, initializer: Callable[..., object]) -> None:
        self._initializer = initializer

    def __call__(self, *args: Any) -> None:
        try:
            self._initializer(*args)
        except BaseException:
            import logging

            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            raise


def context_of(given: Any) -> Context | None:
    """The context that an ``mp_context`` means; None: it says nothing of ours."""
    if given is None or isinstance(given, Context):
        return given
    if not hasattr(given, "get_start_method"):
        raise TypeError(f"mp_context must be a context, as get_context() gives it, not {codec.short_repr(given)}")
    return None


def context_for(given: Any, most: int | None) -> Context:
    """Likewise, and else that of the program: where workers are replaced, it forks no program of several threads."""
    context = context_of(given)
    if context is not None:
        return context
    return default_context.get_context(None if most is None else "spawn")


def check_arguments(context: Context, workers: Any, most: Any) -> None:
    """Refuse what the standard's refuses."""
    if isinstance(workers, int) and workers < 1:
        raise ValueError(f"max_workers must be greater than 0, not {workers}; leave it out for one per usable core")
    if most is None:
        return
    if not isinstance(most, int) or most < 1:
        kind = ValueError if isinstance(most, int) else TypeError
        raise kind(f"max_tasks_per_child must be an int of at least 1 or None, not {most!r}")
    if context.get_start_method() == "fork":
        raise ValueError(
            "max_tasks_per_child goes with the start methods forkserver and spawn, not with fork: a program would be "
            'forked while its threads are at work; give mp_context=get_context("forkserver")'
        )
