"""A cluster's context, whatever the engine: the whole vocabulary over a Fleet and its Link."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, ClassVar

from allcores.base import current_process, here
from allcores.cluster import link as links
from allcores.cluster import objectdata, objectqueues, objects
from allcores.context import Context
from allcores.errors import NotSupported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from allcores.cluster.crew import ClusterCrew
    from allcores.cluster.link import Origin
    from allcores.cluster.seams import Fleet
    from allcores.pool.plan import Plan

__all__ = ("ClusterContext",)


class ClusterContext(Context):
    """Work runs on a cluster. Of an engine: its ``__init__`` has the options, ``_found`` gives the Fleet."""

    _all: ClassVar[weakref.WeakSet[ClusterContext]] = weakref.WeakSet()

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._joined: Fleet | None = None
        self._of_parent: Fleet | None = None  # what the process had that was forked to be this one: it has no threads
        self._process: Any = None
        self._joining = threading.RLock()
        self._all.add(self)

    def _found(self) -> Fleet:
        """Start the cluster, or come to it; called once. In a worker of it (``link.home``), that is this one."""
        raise NotImplementedError

    def _fleet(self) -> Fleet:
        with self._joining:
            if self._joined is None:
                self._joined = self._found()
                atexit.register(self._at_exit)
            return self._joined

    def _origin(self) -> Origin:
        here = links.home(self.name)
        if here is not None and not self._options:
            return here
        fleet = self._fleet()
        return fleet.cluster, self.name, fleet.options

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here; at the next use it is found again."""
        with self._joining:
            joined, self._joined = self._joined, None
            if joined is not None:
                atexit.unregister(self._at_exit)
                joined.close()

    def _at_exit(self) -> None:
        if self._joined is None:
            return
        for name in ("executor", "pool"):  # they may have been imported before the cluster was found, and need it
            module: Any = sys.modules.get(f"allcores.pool.{name}")
            if module is not None:
                module._at_exit()
        processes: Any = sys.modules.get("allcores.cluster.process")
        if processes is not None:
            processes.end_children(self._process)
        self.close()

    def _forked(self) -> None:
        self._joining = threading.RLock()
        self._of_parent, self._joined = self._joined or self._of_parent, None

    def Pool(  # noqa: N802 - the standard's name
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        **options: Any,
    ) -> Any:
        """Make a pool; see ``Context.Pool``. By default of as many workers as the cluster has room for."""
        if processes is None:
            processes = self._fleet().slots()
        return super().Pool(processes, initializer, initargs, maxtasksperchild, **options)

    def _crew(self, plan: Plan) -> ClusterCrew:
        from allcores.cluster.crew import ClusterCrew, check

        check(plan)  # before a cluster is looked for
        return ClusterCrew(plan, self._fleet())

    @property
    def Process(self) -> Any:  # type: ignore[override] # noqa: N802 - not for others to set
        """The class of processes of this cluster."""
        if self._process is None:
            from allcores.cluster.process import ClusterProcess

            self._process = type("Process", (ClusterProcess,), {"_context": self, "__module__": __name__})
        return self._process

    def Manager(self) -> Any:  # noqa: N802
        raise NotSupported("a Manager is a process of one machine: use the cluster's own Queue, Lock, Value, ...")

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Any:  # noqa: N802
        return objectqueues.Queue(self._origin(), maxsize, max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Any:  # noqa: N802
        return objectqueues.JoinableQueue(self._origin(), maxsize, max_bytes=max_bytes)

    def SimpleQueue(self) -> Any:  # noqa: N802
        return objectqueues.SimpleQueue(self._origin())

    def _pipe_ends(self) -> Any:
        return objectqueues.make_pipe(self._origin())

    def wait(self, object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
        from allcores.cluster import several

        return several.wait(object_list, timeout)

    def Lock(self, *, on_owner_death: Any = "poison") -> Any:  # noqa: N802
        return objects.Lock(self._origin(), on_owner_death=on_owner_death)

    def RLock(self, *, on_owner_death: Any = "poison") -> Any:  # noqa: N802
        return objects.RLock(self._origin(), on_owner_death=on_owner_death)

    def Semaphore(self, value: int = 1) -> Any:  # noqa: N802
        return objects.Semaphore(self._origin(), value)

    def BoundedSemaphore(self, value: int = 1) -> Any:  # noqa: N802
        return objects.BoundedSemaphore(self._origin(), value)

    def Event(self) -> Any:  # noqa: N802
        return objects.Event(self._origin())

    def Condition(self, lock: Any = None) -> Any:  # noqa: N802
        return objects.Condition(self._origin(), lock)

    def Barrier(  # noqa: N802
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> Any:
        return objects.Barrier(self._origin(), parties, action, timeout)

    def Value(self, typecode_or_type: Any, *args: Any, lock: Any = True) -> Any:  # noqa: N802
        return objectdata.make_value(self._origin(), typecode_or_type, args, lock)

    def Array(self, typecode_or_type: Any, size_or_initializer: Any = None, *, lock: Any = True) -> Any:  # noqa: N802
        return objectdata.make_array(self._origin(), typecode_or_type, size_or_initializer, lock)

    @property
    def SharedArray(self) -> Any:  # noqa: N802
        """The class of arrays that are sent to each worker once; see ``allcores.cluster.arrays.SharedArray``."""
        from allcores.cluster import arrays

        return arrays.SharedArray

    def current_process(self) -> Any:
        return here() or current_process()

    def active_children(self) -> list[Any]:
        from allcores.cluster.process import active_children

        return active_children()

    def __reduce__(self) -> Any:
        from allcores.context import get_context

        return _context, (get_context, self._origin())


def _context(get: Any, origin: Origin) -> Any:
    """The context of that cluster, where it arrives: in a worker of it, and where it came from, that one."""
    cluster, name, options = origin
    for each in list(ClusterContext._all):
        if each._joined is not None and each._joined.cluster == cluster:
            return each
    here = links.home(name)
    return get(name) if here is not None and here[0] == cluster else get(name, **options)


def _mark_forked() -> None:
    for each in list(ClusterContext._all):
        each._forked()


os.register_at_fork(after_in_child=_mark_forked)
