"""Errors of calls whose result nobody asked for: logged when their pool ends, so that none is lost in silence.

    a result fails ──▶ Unseen, which it holds ──▶ asked for: forgotten
                                             └──▶ the result is dropped: noted, and logged when the pool is closed

A result that is still held when its pool ends may yet be asked for: it is logged when it is dropped, at the latest
when the program ends. Results that succeed know nothing of all this.
"""

from __future__ import annotations

import atexit
import gc
import os
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Unasked", "Unseen")

# Of each pool, so many are logged one by one; of the others the count.
_MOST = 10


class Unseen:
    """The error of one failed result, until somebody asks for it."""

    __slots__ = ("__weakref__", "_error", "_func", "_unasked")

    def __init__(self, unasked: Unasked, func: Callable[..., Any], error: BaseException) -> None:
        self._unasked: Unasked | None = unasked
        self._func = func
        self._error = error
        unasked.held.add(self)

    def seen(self) -> None:
        """Somebody asked."""
        self._unasked = None

    def dropped(self) -> None:
        """Nobody will ask any more."""
        unasked, self._unasked = self._unasked, None
        if unasked is not None:
            unasked.note(self._func, self._error)

    __del__ = dropped


class Unasked:
    """The errors of one pool that nobody asked for."""

    def __init__(self, local: bool) -> None:
        self.held: weakref.WeakSet[Unseen] = weakref.WeakSet()
        self._local = local
        self._noted: list[tuple[str, BaseException]] = []
        self._count = 0
        self._last: BaseException | None = None
        self._closed = False
        _pools.add(self)

    def note(self, func: Callable[..., Any], error: BaseException) -> None:
        """This will not be asked for. Of a pool that broke, all results have the same error: it is told once."""
        if error is self._last:
            return
        self._last = error
        self._count += 1
        if self._count <= _MOST:
            self._noted.append((getattr(func, "__qualname__", None) or type(func).__name__, error))
        if self._closed:
            self._log()

    def close(self) -> None:
        """The pool ends: log what there is, and what comes at once."""
        self._closed = True
        if self._local and self.held:
            # An error raised in this very process has its frames, and one of them the result: the collector drops it.
            gc.collect()
        self._log()
        if self._count > _MOST:
            _logger().error("and %d more calls of this pool failed unasked for", self._count - _MOST)
            self._count = _MOST

    def _log(self) -> None:
        while self._noted:
            name, error = self._noted.pop(0)
            _logger().error("nobody asked for the result of a call of %s, which failed", name, exc_info=error)

    def __del__(self) -> None:
        if self._noted or self._count > _MOST:  # a pool that was never closed, or what was dropped after that
            self.close()


def _logger() -> Any:
    import logging

    return logging.getLogger("allcores")


_pools: weakref.WeakSet[Unasked] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    for pool in list(_pools):
        for unseen in list(pool.held):
            unseen.dropped()
        pool.close()


def _forget_all() -> None:
    """In a process that was forked from this one: they are its parent's to tell."""
    for pool in list(_pools):
        for unseen in list(pool.held):
            unseen.seen()
        pool.held.clear()
    _pools.clear()


os.register_at_fork(after_in_child=_forget_all)
