"""The process context: work runs in processes of this machine, on shared memory."""

# ruff: noqa: E402 - the template starts first, and imports while this process does
from __future__ import annotations

from allcores import start

start.prepare()

import itertools
import os
import signal
import threading
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from allcores import _native, codec, connection, process
from allcores.base import current_process
from allcores.context import Context
from allcores.contexts.thread import Thread
from allcores.pool import worker
from allcores.pool.crew import Known, Mode, Outcome
from allcores.queues import JoinableQueue, Queue, SimpleQueue

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from allcores.pool.engine import Engine
    from allcores.pool.plan import Plan

__all__ = ("ProcessContext",)

# Functions kept for the next call of the same; more than a program has, fewer than would be felt in memory. Closures
# over large arrays are felt sooner: of more bytes only the last is kept.
_KEPT = 256
_KEPT_BYTES = 64 << 20


class ProcessContext(Context):
    """Work runs in processes of this machine."""

    name = "process"
    Process = process.Process
    Thread = Thread

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Queue:  # noqa: N802
        return Queue(maxsize, max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> JoinableQueue:  # noqa: N802
        return JoinableQueue(maxsize, max_bytes=max_bytes)

    def SimpleQueue(self) -> SimpleQueue:  # noqa: N802
        return SimpleQueue()

    def _pipe_ends(self) -> Any:
        return connection.make_pipe()

    def _crew(self, plan: Plan) -> _Crew:
        return _Crew(plan)

    def current_process(self) -> Any:
        return current_process()

    def active_children(self) -> list[Any]:
        return list(process.active_children())


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


class _Crew:
    """Worker processes around two channels, of tasks and of answers, and a third of news: what becomes of the workers.

    A keeper thread sleeps on the news and replaces who has ended, also while nobody waits for a result.
    """

    local = False

    def __init__(self, plan: Plan) -> None:
        self.size = n = plan.processes
        self._pid = os.getpid()
        # Without an initializer, workers that die when they start are killed from outside: that may happen often.
        self.patience = n if plan.initializer is not None else max(100, n)
        self._tasks, self._answers, self._news = Queue(), Queue(), Queue()
        self._how = (self._tasks, self._answers, self._news, plan)
        self._functions = _Functions()
        self._workers: dict[int, process.Process] = {}
        self._lock = threading.RLock()  # of the workers
        self._over = False
        self._keeper: threading.Thread | None = None
        # Bound once: a frame less for each task.
        self.learn = self._functions.learn
        self.forget = self._functions.forget
        self.send = self._tasks.send_task
        self.receive_into = self._answers.receive_into
        try:
            for _ in range(n):
                self._start()
        except BaseException:
            self.abort()
            raise

    def begin(self, engine: weakref.ref[Engine]) -> None:
        self._keeper = threading.Thread(target=_keep, args=(self, engine), name="allcores-pool-keeper", daemon=True)
        self._keeper.start()

    def _start(self) -> None:
        made = process.Process(target=worker.serve, args=self._how, daemon=True)
        made._crew = self._news.offset
        made.name = f"PoolWorker-{made.name.rpartition('-')[2]}"
        made.start()
        assert made.pid is not None
        self._workers[made.pid] = made

    def replace(self, pid: int) -> None:
        """Start a worker in the place of the one that ended."""
        with self._lock:
            gone = self._workers.pop(pid, None)
            if gone is None:
                return
            gone.join()
            gone.close()
            if not self._over:
                self._start()

    def give_up(self, tasks: list[int]) -> list[int]:
        dropped: list[int] = self._tasks.drop(tasks)
        for pid in list(self._workers):
            if _native.give_up_task(pid, tasks):
                start.send_signal(pid, signal.SIGINT)
        return dropped

    def wake(self) -> None:
        self._answers.send(0, Outcome.WAKE, None)

    def finish(self) -> None:
        with self._lock:
            self._over = True
            for _ in self._workers:
                self._tasks.send(0, worker.STOP, None)
            for each in self._workers.values():
                each.join()
        self._end()

    def abort(self) -> None:
        if self._pid != os.getpid():  # in a fork: the workers are its parent's
            return
        with self._lock:
            self._over = True
            for each in self._workers.values():
                each.kill()
            for each in self._workers.values():
                each.join()
        self._end()

    def _end(self) -> None:
        self._news.send(0, Outcome.WAKE, None)
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
        with self._lock:
            for each in self._workers.values():
                each.close()
            self._workers.clear()
        self._functions.clear()


def _keep(crew: _Crew, engine_ref: weakref.ref[Engine]) -> None:
    """The keeper: tells the engine of each event in a worker's life, and replaces who has ended."""
    while True:
        number, info, body = crew._news.receive()
        outcome = info & 0xFF
        engine = engine_ref()
        if outcome == Outcome.WAKE or engine is None:
            return
        try:
            if outcome == Outcome.RETIRED:
                crew.replace(body)
            elif outcome == Outcome.DIED:
                crew.replace(body[0])
        except Exception as error:  # noqa: BLE001 - no process or descriptor to be had
            if not crew._workers:
                engine.break_("no worker is left, and none can be started", error)
        engine.post_news((number, info, body))
        del engine


class _Functions:
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
