"""Contexts: a context says where the work runs; everything else stays the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Unpack

from allcores import chosen, table
from allcores.faces import face
from allcores.methods import StartMethods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from allcores.base import BaseProcess
    from allcores.managers import SyncManager
    from allcores.pool.executor import Executor as ExecutorType
    from allcores.pool.plan import Plan, PoolOptions
    from allcores.pool.pool import Pool as PoolType

__all__ = ("Context", "DefaultContext", "default_context", "get_all_contexts", "get_context")

__getattr__ = face(
    __name__,
    {
        "BaseContext": "allcores.context Context",
        **{each: f"allcores.contexts.process {each}" for each in ("ForkContext", "ForkServerContext", "SpawnContext")},
        **{
            each: f"allcores.process {each}" for each in ("ForkProcess", "ForkServerProcess", "Process", "SpawnProcess")
        },
    },
)


class Context(StartMethods):
    """A place where work runs, with the vocabulary of ``multiprocessing``.

    Value, Array and the locks are the same in all contexts; Process, Thread, Queue and Pool are the context's own.
    """

    name: str
    OPTIONS: tuple[str, ...] = ()  # what ``get_context`` may be told beside the name
    Process: type[BaseProcess]
    Thread: type[BaseProcess]
    _is_here = False  # its workers live in this process

    def Pool(  # noqa: N802 - the standard's name
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **options: Unpack[PoolOptions],
    ) -> PoolType:
        """Make a pool of workers.

        Args:
            processes: how many; by default one per usable core (see ``cpu_count``). Within a worker of a pool: one per
                core of the worker's share, its pool's cores divided by its workers, and never more than that.
            initializer: called in each worker before its first task.
            initargs: its arguments, a tuple.
            maxtasksperchild: replace a worker after so many tasks. No effect where workers are not processes.
            options: see ``PoolOptions``.
        """
        from allcores.pool.pool import Pool

        return Pool(processes, initializer, initargs, maxtasksperchild, self, **options)

    def Executor(  # noqa: N802
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        **options: Unpack[PoolOptions],
    ) -> ExecutorType:
        """Make a ``concurrent.futures.Executor`` over a pool of its own; see ``allcores.pool.executor.Executor``.

        Args:
            max_workers: as ``processes`` of ``Pool``.
            mp_context: another context of allcores to be used instead; those of ``multiprocessing`` change nothing.
            initializer: called in each worker before its first task.
            initargs: its arguments, a tuple.
            max_tasks_per_child: as ``maxtasksperchild`` of ``Pool``.
            options: see ``PoolOptions``.
        """
        from allcores.pool.asstandard import context_of
        from allcores.pool.executor import Executor

        where = context_of(mp_context) or self
        return Executor(max_workers, where, initializer, initargs, max_tasks_per_child=max_tasks_per_child, **options)

    def _crew(self, plan: Plan) -> Any:
        raise NotImplementedError

    def Manager(self) -> SyncManager:  # noqa: N802
        """Start a manager: a process of its own that has lists, dicts, queues, locks, ... for others to work with.

        Where workers live in this process the objects do too. See ``allcores.managers.SyncManager``.
        """
        from allcores.managers import SyncManager

        manager = SyncManager(ctx=self)
        manager.start()
        return manager

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Any:  # noqa: N802
        """Make a queue; see ``allcores.queues.Queue``."""
        raise NotImplementedError

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Any:  # noqa: N802
        """Make a queue that can be joined; see ``allcores.queues.JoinableQueue``."""
        raise NotImplementedError

    def SimpleQueue(self) -> Any:  # noqa: N802
        """Make a queue without limits; see ``allcores.queues.SimpleQueue``."""
        raise NotImplementedError

    def Pipe(self, duplex: bool = True) -> tuple[Any, Any]:  # noqa: N802
        """Make a pipe: its two ends, each an ``allcores.connection.Connection``.

        Args:
            duplex: both ends send and receive. False: the first only receives, the second only sends.
        """
        from allcores import connection

        return connection.join_ends(self._pipe_ends, duplex)

    def _pipe_ends(self) -> Any:
        raise NotImplementedError

    def wait(self, object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
        """Wait until some of the things are ready; see ``allcores.several.wait``."""
        from allcores import several

        return several.wait(object_list, timeout)

    def Lock(self, *, on_owner_death: Any = "poison") -> Any:  # noqa: N802
        """Make a lock; see ``allcores.sync.Lock``."""
        from allcores import sync

        return sync.Lock(on_owner_death=on_owner_death)

    def RLock(self, *, on_owner_death: Any = "poison") -> Any:  # noqa: N802
        """Make a recursive lock; see ``allcores.sync.RLock``."""
        from allcores import sync

        return sync.RLock(on_owner_death=on_owner_death)

    def Semaphore(self, value: int = 1) -> Any:  # noqa: N802
        """Make a semaphore; see ``allcores.sync.Semaphore``."""
        from allcores import sync

        return sync.Semaphore(value)

    def BoundedSemaphore(self, value: int = 1) -> Any:  # noqa: N802
        """Make a bounded semaphore; see ``allcores.sync.BoundedSemaphore``."""
        from allcores import sync

        return sync.BoundedSemaphore(value)

    def Event(self) -> Any:  # noqa: N802
        """Make an event; see ``allcores.sync.Event``."""
        from allcores import sync

        return sync.Event()

    def Condition(self, lock: Any = None) -> Any:  # noqa: N802
        """Make a condition variable; see ``allcores.sync.Condition``."""
        from allcores import sync

        return sync.Condition(lock)

    def Barrier(  # noqa: N802
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> Any:
        """Make a barrier; see ``allcores.sync.Barrier``."""
        from allcores import sync

        return sync.Barrier(parties, action, timeout)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:  # noqa: N802
        """Make a typed shared value; see ``allcores.shared.Value``."""
        from allcores import shared

        return shared.Value(typecode_or_type, *args, lock=lock)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any = None, *, lock: Any = True) -> Any:  # noqa: N802
        """Make a typed shared array; see ``allcores.shared.Array``."""
        from allcores import shared

        return shared.Array(typecode_or_type, size_or_initializer, lock=lock)

    def RawValue(self, typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802
        """``Value`` without a lock."""
        return self.Value(typecode_or_type, *args, lock=False)

    def RawArray(self, typecode_or_type: Any, size_or_initializer: Any = None) -> Any:  # noqa: N802
        """``Array`` without a lock."""
        return self.Array(typecode_or_type, size_or_initializer, lock=False)

    @property
    def SharedArray(self) -> Any:  # noqa: N802
        """The class of NumPy arrays in shared memory; see ``allcores.arrays.SharedArray``."""
        from allcores import arrays

        return arrays.SharedArray

    def share(self, obj: Any) -> Any:
        """Copy an object into shared memory once, read-only; see ``allcores.sharing.share.share``."""
        from allcores.sharing.share import share

        return share(obj)

    def cpu_count(self) -> int:
        """Usable CPUs: the least of affinity, cpuset and cgroup quota, a part of a CPU counted as one.

        ``ALLCORES_CPU_COUNT`` in the environment says it instead. In a worker too it is what the whole program has;
        the worker's own share of it is the default size of the pools that it makes.

        Raises:
            UsageError: the variable is no whole number of at least 1.
        """
        from allcores import cores

        return cores.cpu_count()

    def current_process(self) -> Any:
        """The process or thread of this context that runs here."""
        raise NotImplementedError

    def active_children(self) -> list[Any]:
        """Those that were started from here and have not ended."""
        raise NotImplementedError

    def get_context(self, method: str | None = None, **options: Any) -> Context:
        """This context, or another by its name and options."""
        return self if method is None else table.find(method, options)

    def __repr__(self) -> str:
        return f"<{self.name} context of allcores>"

    def __reduce__(self) -> Any:
        return get_context, (self.name,)


class DefaultContext(Context):
    """The context of a program that names none: at each call the one that is chosen then.

    That is ``process``, or what the environment variable ``ALLCORES_CONTEXT`` names, or what ``set_start_method`` has
    set. ``Process`` asks for the start method when it is started.
    """

    @property
    def name(self) -> str:  # type: ignore[override] # not for others to set
        return chosen.name()

    @property
    def Process(self) -> type[BaseProcess]:  # type: ignore[override] # noqa: N802
        """The class of processes, which asks for the start method of the program when it starts one."""
        if chosen.place() is not None:
            return self._actual().Process
        from allcores import process

        return process.Process

    @property
    def Thread(self) -> type[BaseProcess]:  # type: ignore[override] # noqa: N802
        """The class of threads."""
        return self._actual().Thread

    @property
    def Executor(self) -> type[ExecutorType]:  # noqa: N802
        """The class of executors, whose workers are of the context that is chosen when one is made."""
        from allcores.pool import executor

        return executor.Executor

    def _actual(self) -> Context:
        actual: Context = table.find(chosen.name())
        return actual

    def prepared(self) -> DefaultContext:
        """This, when what it needs has begun to start: the program goes on importing meanwhile."""
        self._actual()
        return self

    def get_context(self, method: str | None = None, **options: Any) -> Context:
        """The context of a name; without one that of the program, which stays what it is from now on."""
        found: Context = table.find(chosen.fix() if method is None else method, options)
        return found

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """The start method of the program; where its context has none, the name of that.

        Args:
            allow_none: None if nothing was chosen or used so far; else it stays what it is from now on.
        """
        if allow_none and not chosen.is_fixed():
            return None
        return self.get_context().get_start_method()

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Choose the start method of the program: ``fork``, ``forkserver`` or ``spawn``. Once, and before it is used.

        Where ``ALLCORES_CONTEXT`` names a context without processes, all of the program runs there as before.

        Args:
            method: which; None with ``force``: as if nothing had been chosen.
            force: again.

        Raises:
            RuntimeError: it was chosen before, or used, and ``force`` is not given.
            UsageError: there is no such start method.
        """
        if chosen.is_fixed() and not force:
            raise RuntimeError(
                "context has already been set: set_start_method() goes before the first use, or force=True"
            )
        if method is not None:
            chosen.check(method)
        chosen.choose(method and (chosen.place() or method))

    def __reduce__(self) -> Any:
        return "default_context"


# The start method is chosen for good by who has processes: as the standard has it, and only where it matters.
_FIXING = ("Manager", "Pool")


def _asking(name: str) -> Callable[..., Any]:
    """The method of that name of whatever context is chosen at the call."""

    @functools.wraps(getattr(Context, name))
    def ask(self: DefaultContext, *args: Any, **kwargs: Any) -> Any:
        actual = self.get_context() if name in _FIXING else self._actual()
        return getattr(actual, name)(*args, **kwargs)

    return ask


# What is said of start methods is the same for all, and to ask a context would begin to start its processes.
for _each in set(dir(Context)) - set(dir(StartMethods)) - set(vars(DefaultContext)):
    if not _each.startswith("_") and callable(getattr(Context, _each)):
        setattr(DefaultContext, _each, _asking(_each))

default_context = DefaultContext()


def get_all_contexts() -> list[str]:
    """The names that ``get_context`` knows."""
    return table.names()


def get_context(method: str | None = None, **options: Any) -> Context:
    """The context of a name: ``serial``, ``thread``, ``process``, or a start method of that: ``fork``, ``spawn``,
    ``forkserver``; ``dask`` or ``ray`` for a cluster. Without a name that of the program; see ``DefaultContext``.
    In a program for which ``ALLCORES_CONTEXT`` names a context without processes, the start methods mean that one.

    Args:
        method: the name.
        options: of a cluster, see ``contexts.dask.DaskContext`` and ``contexts.ray.RayContext``. The same options give
            the same context.

    Raises:
        UsageError: there is no context of that name, it has no such option, or its engine is not installed.
    """
    return default_context.get_context(method, **options)
