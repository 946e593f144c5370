"""``multiprocessing.dummy``: the names of ``multiprocessing`` over threads. The standard's own, but for its pool.

The thread context (``get_context("thread")``) is what we have for that; this is for programs that name this module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from multiprocessing.dummy import *  # noqa: F403
from multiprocessing.dummy import __all__ as _names
from typing import Any

from allcores.contexts.threadpool import ThreadPool
from allcores.dummy import connection as connection
from allcores.faces import face

__all__ = tuple(_names)


def Pool(  # type: ignore[no-redef] # noqa: N802 - the standard's name
    processes: int | None = None, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()
) -> ThreadPool:
    """A pool of threads; see ``allcores.pool.ThreadPool``."""
    return ThreadPool(processes, initializer, initargs)


def Manager() -> Any:  # type: ignore[no-redef] # noqa: N802
    """This module: its ``list``, ``dict``, ``Lock`` and so on are shared by all threads as they are."""
    return sys.modules[__name__]


__getattr__ = face(__name__)
