"""The functions of a pool of processes: stored once in the segment, for all its workers."""

from __future__ import annotations

import itertools
import threading
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from allcores import _native, codec
from allcores.pool import worker
from allcores.pool.crew import Known, Mode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("StoredFunctions",)

# Functions kept for the next call of the same; more than a program has, fewer than would be felt in memory. Closures
# over large arrays are felt sooner: of more bytes only the last is kept.
_KEPT = 256
_KEPT_BYTES = 64 << 20


class _Stored(Known):
    """A function that was stored in the segment for the workers."""

    __slots__ = ("block", "cells", "handles", "kept", "nbytes")

    def __init__(self, func: Callable[..., Any], number: int) -> None:
        made, self.handles = codec.dumps_kept(func)
        self.cells = _cells(func)
        self.block, self.nbytes = _native.store(made)
        # Only plain functions are the same function the next time: a method's object may have changed.
        self.kept = isinstance(func, FunctionType | BuiltinFunctionType)
        super().__init__(func, number << worker.BLOCK_BITS | self.block)
        if not self.kept:
            self.call |= Mode.ONCE


def _cells(func: Callable[..., Any]) -> tuple[object, ...]:
    """What a closure holds now: other objects in its cells make it another function to send."""
    closure = getattr(func, "__closure__", None)
    if not closure:
        return ()
    return tuple(_Empty if _is_empty(cell) else cell.cell_contents for cell in closure)


class _Empty:
    """In the place of a cell that is not filled yet."""


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking raises
    except ValueError:
        return True
    return False


class StoredFunctions:
    """The functions that were stored for the workers of a pool. Thread-safe."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._by_func: dict[int, _Stored] = {}
        self._bytes = 0
        self._stored: set[_Stored] = set()
        self._lock = threading.RLock()  # a finalizer may come to forget() in the middle of learn()

    def learn(self, func: Callable[..., Any]) -> _Stored:
        with self._lock:
            known = self._by_func.get(id(func))
            if known is None or (known.cells and not _same(known.cells, _cells(func))):
                known = self._store(func)
            known.uses += 1
            return known

    def _store(self, func: Callable[..., Any]) -> _Stored:
        known = _Stored(func, next(self._numbers))
        self._stored.add(known)
        if known.kept:
            self._keep_no_longer(id(func))
            self._by_func[id(func)] = known
            self._bytes += known.nbytes
            while len(self._by_func) > _KEPT or (self._bytes > _KEPT_BYTES and len(self._by_func) > 1):
                self._keep_no_longer(next(iter(self._by_func)))
        return known

    def _keep_no_longer(self, key: int) -> None:
        known = self._by_func.pop(key, None)
        if known is not None:
            self._bytes -= known.nbytes
            known.kept = False
            self._drop_unused(known)

    def _drop_unused(self, known: _Stored) -> None:
        if known.uses == 0 and known in self._stored:
            self._stored.remove(known)
            _native.drop_stored(known.block)

    def forget(self, known: Known) -> None:
        assert isinstance(known, _Stored)
        with self._lock:
            known.uses -= 1
            if not known.kept:
                self._drop_unused(known)

    def clear(self) -> None:
        with self._lock:
            self._by_func.clear()
            self._bytes = 0
            for known in self._stored:
                _native.drop_stored(known.block)
            self._stored.clear()


def _same(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
