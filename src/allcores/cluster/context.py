"""A cluster's context, whatever the engine: the whole vocabulary over a Fleet and its Link."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from allcores.cluster import link as links
from allcores.cluster import objects
from allcores.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from allcores.cluster.crew import ClusterCrew
    from allcores.cluster.link import Origin
    from allcores.cluster.seams import Fleet
    from allcores.pool.plan import Plan

__all__ = ("ClusterContext",)


class ClusterContext(Context):
    """Work runs on a cluster. Of an engine: its ``__init__`` has the options, ``_found`` gives the Fleet."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._joined: Fleet | None = None
        self._joining = threading.RLock()

    def _found(self) -> Fleet:
        """Start the cluster, or come to it; called once. In a worker of it (``link.home``), that is this one."""
        raise NotImplementedError

    def _fleet(self) -> Fleet:
        with self._joining:
            if self._joined is None:
                self._joined = self._found()
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
                joined.close()

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
        from allcores.cluster.crew import ClusterCrew

        return ClusterCrew(plan, self._fleet())

    def Lock(self, *, on_owner_death: Any = "poison") -> objects.Lock:  # noqa: N802
        return objects.Lock(self._origin(), on_owner_death=on_owner_death)

    def RLock(self, *, on_owner_death: Any = "poison") -> objects.RLock:  # noqa: N802
        return objects.RLock(self._origin(), on_owner_death=on_owner_death)

    def Semaphore(self, value: int = 1) -> objects.Semaphore:  # noqa: N802
        return objects.Semaphore(self._origin(), value)

    def __reduce__(self) -> Any:
        from allcores.context import get_context

        _, name, options = self._origin()
        return _context, (get_context, name, options)


def _context(get: Any, name: str, options: dict[str, Any]) -> Any:
    """The context of that name, where it arrives: in a worker of that very cluster its own."""
    here = links.home(name)
    return get(name) if here is not None and here[2] == options else get(name, **options)
