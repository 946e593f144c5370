"""asyncio: a pool's calls and streams of results, awaited.

async or sync iterable ──▶ chunks, a bounded window of them ──▶ workers ──▶ loops.Bridge ──▶ async for
      read in the loop's thread, as far as there is room                      in order, or as they come
"""

from __future__ import annotations

import asyncio
import math
import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from allcores.errors import PoolTerminated
from allcores.pool.crew import Mode
from allcores.pool.imap import NOT_YET, IMapIterator
from allcores.pool.loops import Bridge, bridge_here
from allcores.pool.options import NO_OPTIONS, Options
from allcores.pool.results import AsyncResult, RetriedResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from allcores.pool.chunking import Chunker
    from allcores.pool.chunktask import ChunkTask
    from allcores.pool.crew import Known
    from allcores.pool.engine import Engine
    from allcores.pool.pool import Pool

__all__ = ("Stream", "run")

T = TypeVar("T")


class _Awaited(AsyncResult):
    """A call whose result a coroutine awaits."""

    bridge: Bridge
    waiter: asyncio.Future[None]

    def settle(self, ok: bool, value: Any) -> None:
        super().settle(ok, value)
        self.bridge.tell(self)

    def wake(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)

    def lose(self) -> None:
        """Nobody will ask."""

    def _watch(self, error: BaseException) -> None:
        """Who awaits it is told."""


class _AwaitedCarefully(_Awaited, RetriedResult):
    """Likewise, of a call with options."""


async def run(pool: Pool, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, options: Options) -> Any:
    """The result of a call in a worker. Cancelled, or dropped, it cancels the call."""
    engine = pool._engine
    bridge = bridge_here(engine)
    result: _Awaited | None = None
    try:
        result = _submit(pool, bridge, fn, args, kwargs, options)
        if result.ready_ or bridge.glance(result):
            await asyncio.sleep(0)  # others have their turn
        else:
            await result.waiter
        return result.get()
    finally:
        if result is not None and not result.ready_:
            bridge.cancel(result)
        bridge.leave()
        del result  # no cycle of error, traceback, frame and result


def _submit(
    pool: Pool, bridge: Bridge, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, options: Options
) -> _Awaited:
    engine = pool._engine
    known = pool._learn(fn, options)
    call, payload = (known.call | Mode.KEYWORDS, (args, kwargs)) if kwargs else (known.call, args)
    result: _Awaited
    kind = _Awaited if options is NO_OPTIONS else _AwaitedCarefully
    result = kind(engine, known, args)
    result.bridge, result.waiter = bridge, bridge.loop.create_future()
    try:
        if isinstance(result, _AwaitedCarefully):
            result.begin(call, payload, options)
        else:
            engine.submit(result, call, payload)
    except BaseException:
        engine.crew.forget(known)
        raise
    bridge.look()
    return result


class _Buffer:
    """What was read of an asynchronous input and is not sent yet: an iterator that ends where there is no more now."""

    def __init__(self) -> None:
        self.items: deque[Any] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self.items:
            raise StopIteration
        return self.items.popleft()


class _Results(IMapIterator):
    """The results of a stream, as they come to a loop. The input is read in its thread only."""

    source_error: BaseException | None = None
    hungry = False  # who reads it waits for room
    _flushing = False

    def __init__(
        self,
        engine: Engine,
        known: Known,
        chunks: Chunker,
        ordered: bool,
        options: Options,
        bridge: Bridge,
        buffer: _Buffer | None,
    ) -> None:
        super().__init__(engine, known, chunks, ordered, options)
        self.bridge = bridge
        self.buffer = buffer  # of an asynchronous input
        self.reading = buffer is not None  # such an input, which has not ended
        self.waiters: list[asyncio.Future[None]] = []  # of who asks for a result, and of who reads the input

    def begin(self) -> Self:
        self.engine.maps.add(self)  # the pool's end waits for it
        try:
            return super().begin()
        except BaseException:
            self.engine.maps.discard(self)
            raise

    async def change(self) -> None:
        """Wait until something has changed, or may have. In the loop."""
        waiter = self.bridge.loop.create_future()
        self.waiters.append(waiter)
        await waiter

    def wake(self) -> None:
        if self.exhausted or self.rests:
            self.proceed()
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def lose(self) -> None:
        self.stop()

    def proceed(self) -> None:
        if threading.get_ident() == self.bridge.thread:
            super().proceed()
            self.bridge.look()
            if self.hungry:
                self.hungry = False
                self.bridge.tell(self)
        else:
            self.bridge.tell(self)

    def add(self, item: Any) -> None:
        """An item of an asynchronous input: sent when there are enough for a chunk, or in a moment."""
        assert self.buffer is not None
        self.buffer.items.append(item)
        if len(self.buffer.items) >= self.chunks.size():
            self.proceed()
        elif not self._flushing:
            self._flushing = True
            self.bridge.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self.proceed()

    def has_room(self, ahead: int) -> bool:
        """Whether more of an asynchronous input may be read, so many items of which are not taken as results yet."""
        assert self.buffer is not None
        most = self.options.buffersize
        return (most is None or ahead < most) and len(self.buffer.items) < self.chunks.size()

    def _from_input(self, window: float) -> ChunkTask | None:
        task = super()._from_input(window)
        if task is None and self.reading:
            self.exhausted = False
        elif task is None and self.exhausted and self.source_error is not None:
            error, self.source_error = self.source_error, None
            raise error
        return task

    def fed(self) -> None:
        if self.exhausted and not self.pending and self in self.engine.maps:
            self.engine.maps.discard(self)
            self.bridge.tell(self)

    def handed_over(self) -> None:
        super().handed_over()
        if self.window == math.inf:  # the loop may be blocked, by who joins the pool
            self.engine.later(super().proceed)
        self.bridge.tell(self)

    def finish(self, whatever_length: bool) -> None:
        """The pool is closing: what has been read is done, the rest of the input is not."""
        del whatever_length
        if not self.exhausted:
            self._input_error = PoolTerminated("the pool was closed before this input was used up: read it before that")
        self.reading, self.exhausted = False, True
        self.window = math.inf  # type: ignore[assignment] # a number of chunks all the same
        super().proceed()
        self.engine.tell()

    def abandon(self, error: BaseException) -> None:
        super().abandon(error)
        self.reading = False
        self.engine.maps.discard(self)
        self.bridge.tell(self)

    def is_over(self) -> bool:
        return self.exhausted and not self.pending and not self._waiting and not self._current

    def stop(self) -> None:
        """Nobody asks for more: what has not begun never runs, and what runs is interrupted."""
        if self.given_up:
            return
        self.given_up = True
        if self in self.engine.maps or self.pending:
            self.abandon(PoolTerminated("the stream was closed"))
            self.engine.give_up(self)
        self.part_soon()


async def _read(results: _Results, source: AsyncIterable[Any], taken: list[int]) -> None:
    """Read an asynchronous input, as far as there is room for it."""
    read = 0
    try:
        async for item in source:
            read += 1
            results.add(item)
            while results.reading and not results.has_room(read - taken[0]):
                results.hungry = True
                await results.change()
            if not results.reading:
                return
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # noqa: BLE001 - raised after the results before it
        results.source_error = error
    results.reading = False
    results.proceed()
    results.bridge.tell(results)


class Stream(Generic[T]):
    """Results of ``pool.stream``, for ``async for``.

    It begins with the first result that is asked for, and belongs to the loop that runs then. Left, closed or dropped
    before its end, it ends: no more of the input is read, what has not begun never runs, what runs is interrupted.
    """

    def __init__(
        self, pool: Pool, func: Callable[..., Any], source: Any, size: int | None, ordered: bool, options: Options
    ) -> None:
        self._begin: Any = (pool, func, source, size, ordered, options)  # until it has begun
        self._results: Any = None  # until it has ended
        self._reader: asyncio.Task[None] | None = None
        self._taken = [0]
        self._end: Callable[[], object] = lambda: None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """The next result. An item that failed raises at its place; asking on gives the results after it."""
        if self._begin is not None:
            self._start()
        results = self._results
        if results is None:
            raise StopAsyncIteration
        try:
            while (result := results.now()) is NOT_YET:
                if not results.ready_:  # else it came while the input was read, which `now` does
                    await results.change()
        except StopIteration:
            await self.aclose()
            raise StopAsyncIteration from None
        except BaseException:
            if results.is_over():
                self._end()
            raise
        self._taken[0] += 1
        if results.hungry and results.options.buffersize is not None:
            results.bridge.tell(results)
        if results.bridge.at_once:  # then nothing else would let the loop run
            await asyncio.sleep(0)
        return result  # type: ignore[no-any-return]

    def _start(self) -> None:
        (pool, func, source, size, ordered, options), self._begin = self._begin, None
        is_async = hasattr(source, "__aiter__")
        buffer = _Buffer() if is_async else None
        bridge = bridge_here(pool._engine)

        try:
            items = source if buffer is None else buffer
            kind = partial(_Results, bridge=bridge, buffer=buffer)
            self._results = results = pool._begin_imap(kind, func, items, size, ordered, options)
        except BaseException:
            bridge.leave()
            raise
        if is_async:
            self._reader = bridge.loop.create_task(_read(results, source, self._taken))
        end = weakref.finalize(self, _close, results, bridge, self._reader)
        end.atexit = False
        self._end = end

    async def aclose(self) -> None:
        """End it, and wait until the input is read no more. Can be called twice."""
        self._begin = self._results = None
        self._end()
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.wait([reader])


def _close(results: _Results, bridge: Bridge, reader: asyncio.Task[None] | None) -> None:
    results.stop()
    if reader is not None:
        bridge.in_loop(reader.cancel)
    bridge.leave()
