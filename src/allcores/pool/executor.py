"""Executor: the interface of ``concurrent.futures`` over a pool of any context."""

from __future__ import annotations

import atexit
import concurrent.futures
import os
import sys
import threading
import time
import weakref
from collections.abc import Sized
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from allcores.errors import InitializerFailed, RemoteTraceback, UnpicklableError, UsageError, WorkerDied, as_broken
from allcores.pool.asstandard import AsStandard, Logged, check_arguments, context_for
from allcores.pool.crew import Mode
from allcores.pool.futures import CarefulCall, Future
from allcores.pool.imap import IMapIterator
from allcores.pool.options import NO_OPTIONS, CallOptions, IMapOptions, MapOptions, Options, check_options
from allcores.pool.pool import (
    Pool,  # not for its name alone: what ends pools at exit must come after what ends executors
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from allcores.pool.chunking import Chunker
    from allcores.pool.crew import Known
    from allcores.pool.engine import Engine
    from allcores.pool.plan import PoolOptions

__all__ = ("Executor", "MapIterator", "ProcessPoolExecutor", "submit")

T = TypeVar("T")


def submit(
    pool: Pool, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options = NO_OPTIONS
) -> Future[T]:
    """The future of a call. What cannot travel is its error, as the standard has it."""
    engine = pool._engine
    try:
        known = pool._learn(fn, options)
    except UnpicklableError as error:
        failed: Future[T] = Future(engine)
        failed.watch(fn, error)
        failed.fail(error)
        return failed
    except InitializerFailed as error:
        raise as_broken(error) from error.__cause__
    call, payload = (known.call | Mode.KEYWORDS, (args, kwargs)) if kwargs else (known.call, args)
    if options is not NO_OPTIONS:
        careful = CarefulCall(engine, known, args)
        careful.send(call, payload, options)
        return careful.future
    future: Future[T] = Future(engine, known, args)
    future.send(call, payload)
    return future


class Executor(AsStandard, concurrent.futures.Executor):
    """A ``concurrent.futures.Executor``: what runs with ``ProcessPoolExecutor`` runs with this.

    A worker that dies fails the one call that it was running, and the executor goes on: the error is a ``WorkerDied``
    and a ``BrokenProcessPool``. At the end of the program, and when it is dropped, what was submitted is finished
    first, as the standard has it; not after Ctrl-C. Functions may be lambdas and closures.

    Args:
        max_workers: as ``processes`` of ``Pool``.
        mp_context: the context of allcores that the workers are of; by default that of the program. A context of
            ``multiprocessing`` changes nothing.
        initializer: called in each worker before its first task.
        initargs: its arguments, a tuple.
        max_tasks_per_child: as ``maxtasksperchild`` of ``Pool``.
        options: see ``PoolOptions``.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        context = context_for(mp_context, max_tasks_per_child)
        check_arguments(context, max_workers, max_tasks_per_child)
        logged = Logged(initializer) if callable(initializer) else initializer
        pool = context.Pool(max_workers, logged, initargs, max_tasks_per_child, **options)
        self._begin(pool, {})
        self._mp_context = context
        _own.add(self)
        weakref.finalize(self, _dropped, pool).atexit = False

    @classmethod
    def over(cls, pool: Pool, **options: Unpack[MapOptions]) -> Executor:
        """One over a pool that is there, and whose calls have these options."""
        executor = Executor.__new__(Executor)
        executor._begin(pool, dict(options))
        return executor

    def _begin(self, pool: Pool, options: dict[str, Any]) -> None:
        self._pool = pool
        self._given = options
        self._for_map = check_options("executor", MapOptions, options)
        if self._for_map.errors == "skip":
            raise UsageError(
                "errors='skip' leaves results out, and those of an executor's map belong to its inputs one by one: use "
                "errors='return', or pool.map(..., errors='skip')"
            )
        of_calls = {name: value for name, value in options.items() if name in CallOptions.__annotations__}
        self._for_submit = check_options("submit", CallOptions, of_calls)
        self._owner: Executor | None = None

    @property
    def pool(self) -> Pool:
        """The pool that does the work."""
        return self._pool

    def with_options(self, **options: Unpack[MapOptions]) -> Executor:
        """The same workers, and calls with these options: ``executor.with_options(timeout=5, retries=2).submit(f, x)``.

        Its ``shutdown`` is that of this executor. Options: see ``MapOptions``; ``submit`` takes no notice of those that
        only make sense for ``map``.
        """
        given: Any = {**self._given, **options}
        other = Executor.over(self._pool, **given)
        other._owner = self._owner or self
        return other

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have ``fn(*args, **kwargs)`` called in a worker. Does not block.

        Raises:
            RuntimeError: after ``shutdown``.
            BrokenProcessPool: the initializer failed.
        """
        if self._pool._closed:
            self._check_open()
        return submit(self._pool, fn, args, kwargs, self._for_submit)

    async def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """``await executor.run(fn, ...)``; see ``Pool.run``."""
        from allcores.pool import stream

        self._check_open()
        return await stream.run(self._pool, fn, args, kwargs, self._for_submit)  # type: ignore[no-any-return]

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """``map(fn, *iterables)`` over the workers: an iterator of the results, in order.

        An input of known length is read and sent at its own pace, whether or not the results are asked for; one of
        unknown length only so far as results are, and the rest of it at ``shutdown``. Closing the iterator, or an error
        in it, ends the work: what has not begun never runs.

        Args:
            fn: a function of as many arguments as there are iterables.
            iterables: their items; the shortest one decides.
            timeout: seconds from now on; a result that is not there by then raises ``TimeoutError``.
            chunksize: items per task; by default as many as take about a millisecond, by measured time.
            buffersize: the input is read at most so many items ahead of the results that were taken, whatever its
                length.
        """
        self._check_open()
        end = None if timeout is None else time.monotonic() + timeout
        given = self._given if buffersize is None else {**self._given, "buffersize": buffersize}
        options = check_options("map", IMapOptions, given)
        star = len(iterables) != 1
        items: Iterable[Any] = zip(*iterables, strict=False) if star else iterables[0]
        sized = all(isinstance(each, Sized) for each in iterables)
        if star and sized:
            items = list(items)
        kind = partial(MapIterator, star=star, eager=sized and buffersize is None)
        return _results(self._pool._begin_imap(kind, fn, items, chunksize, True, options), end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. Those that were submitted are finished, and then the workers end.

        Args:
            wait: return when that is so. Else at once, and it goes on in the background.
            cancel_futures: calls that no worker has begun are cancelled. One that has a worker to itself, which only
                has not come to it yet, counts as begun.
        """
        pool = self._pool
        if pool._pid != os.getpid():
            return
        pool.close()
        if cancel_futures:
            for results in list(pool._imaps):
                if isinstance(results, MapIterator):
                    results.cancel()
            tasks = list(pool._engine._tasks.items())[pool._crew.size :]
            pool._engine.take_back([number for number, task in tasks if _is_call(task)])
        if wait:
            pool.join()
        else:
            _end_in_background(pool)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        """Finish, as the standard does; after Ctrl-C end at once."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._pool.terminate()
        self.shutdown()

    def __repr__(self) -> str:
        return f"<Executor of {self._pool!r}>"

    def _check_open(self) -> None:
        if self._pool._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if self._pool._engine.broken is not None:
            raise as_broken(self._pool._engine.broken)


ProcessPoolExecutor = Executor  # by the standard's name


class MapIterator(IMapIterator):
    """The results of ``Executor.map``: all of them come, asked for or not, unless they are cancelled.

    Args:
        eager: the input is sent at its own pace, and results wait to be asked for. Else it goes with the consumer.
    """

    def __init__(
        self,
        engine: Engine,
        known: Known,
        chunks: Chunker,
        ordered: bool,
        options: Options,
        star: bool = False,
        eager: bool = False,
    ) -> None:
        super().__init__(engine, known, chunks, ordered, options, star)
        self._eager = eager

    def begin(self) -> Self:
        self.engine.maps.add(self)  # keeps it when the generator is dropped
        try:
            super().begin()
        except BaseException:
            self.engine.maps.discard(self)
            raise
        if self._eager:
            self._drive()
        return self

    def _drive(self) -> None:
        try:
            self.engine.drive(_Sent(self))
        except RuntimeError as error:  # no thread is to be had: the interpreter ends
            from concurrent.futures.process import BrokenProcessPool

            self.cancel()
            raise BrokenProcessPool(f"the input of this map cannot be sent in the background: {error}") from error

    def ahead(self) -> int:
        return 0 if self._eager else super().ahead()

    def handed_over(self) -> None:
        super().handed_over()
        if self._eager or self.exhausted:
            self.engine.later(self.proceed)

    def fed(self) -> None:
        if self.exhausted and not self.pending:
            self.engine.maps.discard(self)
            self.engine.tell()

    def abandon(self, error: BaseException) -> None:
        super().abandon(error)
        self.engine.maps.discard(self)

    def cancel(self) -> None:
        """What has not begun never runs; who asks for more gets ``CancelledError``."""
        self.part()
        if self in self.engine.maps:
            self.abandon(concurrent.futures.CancelledError())
            self.engine.give_up(self, interrupt=False)
            self.proceed()
            self.engine.tell()


class _Sent:
    """Ready when all of a map's input is done."""

    def __init__(self, results: MapIterator) -> None:
        self._results = results

    @property
    def ready_(self) -> bool:
        return self._results not in self._results.engine.maps


def _is_call(task: Any) -> bool:
    return isinstance(getattr(task, "job", task), Future | CarefulCall)


def _results(results: MapIterator, end: float | None) -> Iterator[Any]:
    """A generator, as the standard's: a map whose results nobody has begun to ask for is done all the same."""
    try:
        yield from _InTime(results, end)
    finally:
        results.cancel()


class _InTime:
    """The results until a moment. Holds none that it has given."""

    def __init__(self, results: MapIterator, end: float | None) -> None:
        self._results, self._end = results, end

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self._results.next(None if self._end is None else max(self._end - time.monotonic(), 0))
        except (WorkerDied, InitializerFailed) as error:
            if isinstance(error.__cause__, RemoteTraceback):  # of a pool that the function has
                raise
            raise as_broken(error) from error.__cause__


# The end of executors: as the standard has it, after what was submitted to them.

_own: weakref.WeakSet[Executor] = weakref.WeakSet()
_ending: set[threading.Thread] = set()


def _dropped(pool: Pool) -> None:
    if pool._closed or pool._pid != os.getpid():
        return
    pool.close()
    if pool._engine.idle():
        pool.terminate()
    else:
        _end_in_background(pool)


def _end_in_background(pool: Pool) -> None:
    def end() -> None:
        try:
            pool.join()
        finally:
            _ending.discard(thread)

    thread = threading.Thread(target=end, name="allcores-executor-end", daemon=True)
    _ending.add(thread)
    thread.start()


@atexit.register
def _at_exit() -> None:
    if getattr(sys, "last_type", None) is KeyboardInterrupt:  # then the pools are terminated
        return
    for executor in list(_own):
        executor.shutdown()
    for thread in list(_ending):
        thread.join()


def _after_fork() -> None:
    _own.clear()
    _ending.clear()


os.register_at_fork(after_in_child=_after_fork)
