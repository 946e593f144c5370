"""The process context: work runs in processes of this machine, on shared memory."""

from __future__ import annotations

import itertools
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from allcores import _native, codec, process
from allcores.base import current_process
from allcores.context import Context
from allcores.contexts.thread import Thread
from allcores.pool import worker
from allcores.pool.crew import Outcome
from allcores.queues import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("ProcessContext",)

# Functions kept for the next call of the same; more than a program has, fewer than would be felt in memory.
_KEPT = 256


class ProcessContext(Context):
    """Work runs in processes of this machine."""

    name = "process"
    Process = process.Process
    Thread = Thread

    def Queue(self, maxsize: int = 0) -> Queue:  # noqa: N802
        return Queue(maxsize)

    def _crew(self, n: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], most: int) -> _Crew:
        return _Crew(n, initializer, initargs, most)

    def current_process(self) -> Any:
        return current_process()

    def active_children(self) -> list[Any]:
        return list(process.active_children())


class _Known:
    """A function that was stored for the workers."""

    __slots__ = ("block", "cells", "func", "handles", "key", "uses")

    def __init__(self, func: Callable[..., Any], number: int) -> None:
        made, self.handles = codec.dumps_kept(func)
        self.func = func
        self.cells = _cells(func)
        self.block = _native.store(made)
        self.key = number << worker.BLOCK_BITS | self.block
        self.uses = 0


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


class _Crew:
    """Worker processes around two channels: one of tasks, one of answers."""

    local = False

    def __init__(self, n: int, initializer: Callable[..., object] | None, initargs: tuple[Any, ...], most: int) -> None:
        self.size = n
        self._tasks = Queue()
        self._answers = Queue()
        self._how = (self._tasks, self._answers, initializer, initargs, most)
        self._numbers = itertools.count(1)
        self._by_func: dict[int, _Known] = {}
        self._by_key: dict[int, _Known] = {}
        self._workers: dict[int, process.Process] = {}
        self._over = False
        try:
            for _ in range(n):
                self._start()
        except BaseException:
            self.abort()
            raise

    def _start(self) -> None:
        made = process.Process(target=worker.serve, args=self._how, daemon=True)
        made.name = f"PoolWorker-{made.name.rpartition('-')[2]}"
        made.start()
        assert made.pid is not None
        self._workers[made.pid] = made

    def learn(self, func: Callable[..., Any]) -> int:
        known = self._by_func.get(id(func))
        if known is None or (known.cells and not _same(known.cells, _cells(func))):
            known = self._store(func)
        known.uses += 1
        return known.key

    def _store(self, func: Callable[..., Any]) -> _Known:
        known = _Known(func, next(self._numbers))
        self._by_key[known.key] = known
        # Only plain functions are the same function the next time: a method's object may have changed.
        if isinstance(func, FunctionType | BuiltinFunctionType):
            self._by_func[id(func)] = known
            if len(self._by_func) > _KEPT:
                self._drop_oldest()
        return known

    def _drop_oldest(self) -> None:
        for address, known in list(self._by_func.items()):
            if known.uses == 0:
                del self._by_func[address]
                self._drop(known)
                return

    def _drop(self, known: _Known) -> None:
        del self._by_key[known.key]
        _native.drop_stored(known.block)

    def forget(self, key: int) -> None:
        known = self._by_key.get(key)
        if known is None:
            return
        known.uses -= 1
        if known.uses == 0 and self._by_func.get(id(known.func)) is not known:
            self._drop(known)

    def submit(self, task: int, key: int, mode: int, payload: Any) -> None:
        self._tasks.send(task, key << 8 | mode, payload, _native.IS_TASK)

    def receive(self, timeout: float | None = None) -> tuple[int, int, Any] | None:
        message: tuple[int, int, Any] | None = self._answers.receive(timeout)
        return message

    def wake(self) -> None:
        self._answers.send(0, Outcome.WAKE, None)

    def replace(self, pid: int) -> None:
        gone = self._workers.pop(pid, None)
        if gone is not None and not self._over:
            gone.join()
            self._start()

    def finish(self) -> None:
        self._over = True
        for _ in self._workers:
            self._tasks.send(0, worker.STOP, None)
        for each in self._workers.values():
            each.join()
        self._end()

    def abort(self) -> None:
        self._over = True
        for each in self._workers.values():
            each.kill()
        for each in self._workers.values():
            each.join()
        self._end()

    def _end(self) -> None:
        for each in self._workers.values():
            each.close()
        self._workers.clear()
        self._by_func.clear()
        for known in list(self._by_key.values()):
            self._drop(known)


def _same(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
