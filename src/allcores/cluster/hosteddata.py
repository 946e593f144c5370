"""Values and arrays of a cluster, where they are hosted: in shared memory of that process, by ``allcores.shared``.

So their types, conversions and errors are those of a machine's own. Each operation is one step, under the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allcores.cluster.calls import Call
from allcores.cluster.hosted import Hosted, Hosts
from allcores.cluster.hostedlocks import Lock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Data",)


class Data(Hosted):
    """A Value, or an Array."""

    def __init__(self, hosts: Hosts, oid: int, code: str, first: Any, guard: int | None) -> None:
        super().__init__(hosts, oid)
        from allcores import shared

        is_value, what = first
        self.data = shared.Value(code, what, lock=False) if is_value else shared.Array(code, what, lock=False)
        found = None if guard is None else hosts.objects.get(guard)
        self.guard = found if isinstance(found, Lock) else None

    async def _guarded(self, call: Call, step: Callable[[], Any]) -> Any:
        if self.guard is None or self.guard.is_mine(call.who):
            return step()
        await self.guard.do_acquire(call)
        try:
            return step()
        finally:
            if self.guard.is_mine(call.who):
                self.guard.do_release(call)

    async def do_get(self, call: Call) -> Any:
        """The value."""
        return await self._guarded(call, lambda: self.data.value)

    async def do_set(self, call: Call, value: Any) -> None:
        """Set the value."""
        await self._guarded(call, lambda: setattr(self.data, "value", value))

    async def do_add(self, call: Call, *what: Any) -> Any:
        """Add to the value, or to an element: the new value."""
        return await self._guarded(call, lambda: self.data.add(*what))

    async def do_item(self, call: Call, key: Any) -> Any:
        """An element, or a slice."""
        return await self._guarded(call, lambda: self.data[_key(key)])

    async def do_set_item(self, call: Call, key: Any, value: Any) -> None:
        """Set it."""
        await self._guarded(call, lambda: self.data.__setitem__(_key(key), value))


def _key(told: Any) -> Any:
    return slice(*told) if isinstance(told, tuple) else told
