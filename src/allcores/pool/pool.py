"""Pool: the standard library's, over the workers of any context."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from allcores import checks, codec
from allcores.base import check_call
from allcores.context import get_context
from allcores.errors import NotSupported
from allcores.pool import onsignal
from allcores.pool.beside import Accompanied
from allcores.pool.chunking import Chunker
from allcores.pool.crew import Mode
from allcores.pool.engine import Engine
from allcores.pool.imap import IMapIterator
from allcores.pool.options import NO_OPTIONS, CallOptions, IMapOptions, MapOptions, Options, check_options
from allcores.pool.plan import PoolOptions, make_plan
from allcores.pool.results import AsyncResult, MapResult, RetriedResult
from allcores.pool.submitting import Submitting
from allcores.pool.watched import Watched, open_pools
from allcores.sharing.share import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from allcores.pool.crew import Crew, Known

__all__ = ("Pool",)

T = TypeVar("T", bound=IMapIterator)


class Pool(Watched, Submitting):
    """Workers that run calls of any function: ``map``, ``apply_async`` and their kin, as ``multiprocessing.Pool``.

    Tasks are taken by whichever worker is free; chunks are sized by the time that items have taken. A worker that
    dies fails the one item it was running, with ``WorkerDied``; the pool goes on with a fresh worker. Leaving a
    ``with`` block finishes what was submitted; an exception in the block terminates it.
    Its arguments are those of ``Context.Pool``, and the context where its workers run.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        plan = make_plan(options, processes, initializer, initargs, maxtasksperchild)
        self._crew: Crew = (context or get_context())._crew(plan)
        try:
            self._engine = Engine(self._crew)
        except BaseException:  # its keeper cannot be started
            self._crew.abort()
            raise
        self._closed = False
        onsignal.listen()
        self._pid = os.getpid()
        self._imaps: weakref.WeakSet[IMapIterator] = weakref.WeakSet()
        # The engine's end, not the pool's: results that outlive the pool still come.
        self._end = weakref.finalize(self._engine, self._crew.abort)
        self._end.atexit = False  # _at_exit does it, in order
        open_pools.add(self)

    def share(self, obj: Any) -> Any:
        """``allcores.share``: one read-only copy of an object for all workers, of this pool and any other."""
        return share(obj)

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Call ``func(*args, **kwds)`` in a worker and return its result. Blocks."""
        check_options("apply", CallOptions, options)
        result = self.apply_async(func, args, kwds, **options)
        try:
            return result.get()
        finally:
            if not result.ready_:  # Ctrl-C
                self._engine.give_up(result)

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult:
        """Have ``func(*args, **kwds)`` called in a worker. Does not block.

        Args:
            func: any function; lambdas and closures too. UnpicklableError if it, or an argument, cannot travel.
            args: a tuple of arguments: write ``(x,)`` for one.
            kwds: named arguments.
            callback: called with the result, in a background thread or in one that waits for a result of the pool.
            error_callback: likewise with the error. One that nobody is told of or asks for is logged at the pool's end.
            options: see ``CallOptions``.
        """
        if type(args) is not tuple or kwds:
            args, kwds = check_call(args, kwds)
        checked = check_options("apply_async", CallOptions, options) if options else NO_OPTIONS
        callbacks = None if callback is error_callback is None else _check_callbacks(callback, error_callback)
        known = self._learn(func, checked)
        call, payload = (known.call | Mode.KEYWORDS, (args, kwds)) if kwds else (known.call, args)
        result: AsyncResult
        try:
            if checked is NO_OPTIONS:
                result = AsyncResult(self._engine, known, args, callbacks)
                self._engine.submit(result, call, payload)
            else:
                result = RetriedResult(self._engine, known, args, callbacks).begin(call, payload, checked)
        except BaseException:
            self._crew.forget(known)
            raise
        if callbacks is not None:
            self._engine.drive(result)
        return result

    def map(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        **options: Unpack[MapOptions],
    ) -> list[Any]:
        """Call ``func`` with each item; the results in order. Blocks.

        Args:
            func: a function of one argument.
            iterable: any iterable; consumed as the work proceeds.
            chunksize: items per task; by default as many as take about a millisecond, by measured time.
            options: see ``MapOptions``.

        Raises:
            BaseException: the error of an item that failed, as itself, and at once: of those that are known then, the
                one of the lowest index. Nothing more of this map is begun; an item that runs goes on to its end, and is
                dropped. A note names the item, ``error.failure`` is a ``Failure`` with what was finished.
            WorkerDied: likewise, of an item whose worker died.
            TaskTimeout: likewise, of an item that took longer than ``timeout``.
            UnpicklableError: the function or the first item cannot travel to a process; nothing was begun then. Or
                another item or a result cannot, as an error of that item. It names the part to blame.
        """
        return self._map(func, iterable, chunksize, False, check_options("map", MapOptions, options)).run()  # type: ignore[no-any-return]

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        **options: Unpack[MapOptions],
    ) -> list[Any]:
        """``map`` for functions of several arguments: ``func(*item)`` for each item."""
        return self._map(func, iterable, chunksize, True, check_options("starmap", MapOptions, options)).run()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Unpack[MapOptions],
    ) -> MapResult:
        """``map`` that does not block: ``get()`` of what it returns has the list."""
        checked = check_options("map_async", MapOptions, options)
        return self._map_async(func, iterable, chunksize, False, checked, (callback, error_callback))

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        **options: Unpack[MapOptions],
    ) -> MapResult:
        """``starmap`` that does not block: ``get()`` of what it returns has the list."""
        checked = check_options("starmap_async", MapOptions, options)
        return self._map_async(func, iterable, chunksize, True, checked, (callback, error_callback))

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        **options: Unpack[IMapOptions],
    ) -> Iterator[Any]:
        """Results in order, as they are asked for, from an input of any length: never more than a bounded window ahead.

        An item that failed raises at its place; asking on gives the results after it. ``next(timeout)`` waits at most
        so long.
        """
        return self._imap(func, iterable, chunksize, True, check_options("imap", IMapOptions, options))

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        **options: Unpack[IMapOptions],
    ) -> Iterator[Any]:
        """``imap`` in the order in which results arrive."""
        return self._imap(func, iterable, chunksize, False, check_options("imap_unordered", IMapOptions, options))

    def close(self) -> None:
        """Take no more work. What was submitted is finished.

        Errors of calls whose result was dropped are logged, here and at the other ends of a pool: ``logging``, name
        "allcores", the first ten one by one.
        """
        self._closed = True
        self._engine.unasked.close()

    def terminate(self) -> None:
        """End the workers now. What is not there yet raises ``PoolTerminated``. Can be called twice."""
        self._closed = True
        if self._pid != os.getpid():  # in a fork: the pool is its parent's
            return
        if self._end.detach() is not None:
            self._remember()
            self._engine.terminate()
        self._engine.unasked.close()
        open_pools.discard(self)

    def join(self) -> None:
        """Wait until everything submitted is done and the workers have ended. After ``close`` or ``terminate``.

        Raises:
            ValueError: the pool is still open.
        """
        if not self._closed:
            raise ValueError("join() of an open pool: close() or terminate() it first")
        if not self._end.alive:
            return
        self._finish(whatever_length=True)

    def _finish(self, whatever_length: bool) -> None:
        for results in list(self._imaps):
            results.finish(whatever_length)
        self._engine.wait_idle()
        for results in list(self._imaps):
            results.part()
        self._engine.join_driver()
        self._remember()
        self._engine.end()
        self._crew.finish()
        self._crew.show_all()
        self._end.detach()
        self._engine.unasked.close()
        open_pools.discard(self)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exc: object) -> None:
        self.close()
        if self._pid != os.getpid():  # a fork that leaves its parent's block
            return
        if kind is not None:
            self.terminate()
        if self._end.alive:
            self._finish(whatever_length=False)

    def __reduce__(self) -> Any:
        raise TypeError("a pool cannot be sent to another process: make one there, pools can be nested")

    def __repr__(self) -> str:
        return f"<Pool of {self._crew.size} {'closed' if self._closed else 'open'}>"

    def is_usable(self) -> bool:
        """Whether it takes work: it is not closed, not broken, and of this process."""
        return not self._closed and self._engine.broken is None and self._pid == os.getpid()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the pool is closed: make a new one")

    def _learn(self, func: Callable[..., Any], options: Options) -> Known:
        if self._closed:
            self._check_open()
        if options.seed is not None and not self._crew.alone:
            raise NotSupported(_SEED_IN_THREADS)
        if not callable(func):
            raise TypeError(
                f"func must be callable, not {codec.short_repr(func)}: write pool.map(job, items), not job()"
            )
        if self._engine.broken is not None:
            raise self._engine.broken
        if self._pid != os.getpid():
            raise RuntimeError("this pool belongs to the process that forked this one: make a Pool here")
        return self._crew.learn(func)

    def _map(
        self,
        func: Callable[..., Any],
        items: Iterable[Any],
        size: int | None,
        star: bool,
        options: Options,
        callbacks: tuple[Any, Any] | None = None,
    ) -> MapResult:
        chunks = self._chunks(items, size, _MOST_OF_MAP, options)
        return MapResult(self._engine, self._learn(func, options), chunks, star, options, callbacks)

    def _map_async(
        self,
        func: Callable[..., Any],
        items: Iterable[Any],
        size: int | None,
        star: bool,
        options: Options,
        callbacks: tuple[Any, Any],
    ) -> MapResult:
        items = list(items) if isinstance(items, list) else items  # the caller may change it meanwhile
        result = self._map(func, items, size, star, options, _check_callbacks(*callbacks))
        try:
            result.begin()
            self._engine.drive(result)
        except BaseException as error:
            result.abandon(error)
            raise
        return result

    def _imap(
        self, func: Callable[..., Any], items: Iterable[Any], size: int | None, ordered: bool, options: Options
    ) -> IMapIterator | Accompanied:
        results = self._begin_imap(IMapIterator, func, items, size, ordered, options)
        return results if results.beside is None else Accompanied(results)

    def _begin_imap(
        self,
        kind: Callable[..., T],
        func: Callable[..., Any],
        items: Iterable[Any],
        size: int | None,
        ordered: bool,
        options: Options,
    ) -> T:
        chunks = self._chunks(list(items) if isinstance(items, list) else items, size, _MOST_OF_IMAP, options)
        results = kind(self._engine, self._learn(func, options), chunks, ordered, options).begin()
        self._imaps.add(results)
        return results

    def _chunks(self, items: Iterable[Any], size: int | None, most: int, options: Options) -> Chunker:
        if self._closed:
            self._check_open()
        if options.exact and not self._crew.sees_items:  # else the one that ends its worker runs again, to be found
            most = 1
        return Chunker(items, self._crew.size, _check_items(items, size), most, options, self._crew.pace)


_SEED_IN_THREADS = (
    "seed= needs workers that share no memory: threads draw from the same global generators, in an order that nobody "
    "knows; use the process or serial context, or starmap over enumerate(items) and give each item "
    "numpy.random.default_rng([seed, index])"
)

# A chunk is a message, and a map of a million quick calls a few dozen of them; of imap somebody waits for the first.
_MOST_OF_MAP = 1 << 15
_MOST_OF_IMAP = 1 << 12


def _check_items(items: Any, size: Any) -> int | None:
    if not hasattr(items, "__iter__") and not hasattr(items, "__getitem__"):
        what = codec.short_repr(items)
        raise TypeError(f"iterable must be something to iterate over, not {what}: write [x] for one item")
    if size is None:
        return None
    return checks.count("chunksize", size, "items per task", "leave it out to have it measured")


def _check_callbacks(callback: Any, error_callback: Any) -> tuple[Any, Any] | None:
    if callback is None and error_callback is None:
        return None
    for name, given in (("callback", callback), ("error_callback", error_callback)):
        if given is not None and not callable(given):
            raise TypeError(f"{name} must be callable, not {codec.short_repr(given)}: write {name}=told, not told()")
    return callback, error_callback


# A forked child has the parent's pools in its memory, and not their workers.
os.register_at_fork(after_in_child=open_pools.clear)


@atexit.register
def _at_exit() -> None:
    for pool in list(open_pools):
        pool.terminate()
