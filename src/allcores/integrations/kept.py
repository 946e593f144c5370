"""Pools that outlive the call they were made for: the next call of the same shape finds its workers warm.

acquire(shape) ──▶ in use by n calls ──release──▶ idle, until another shape is asked for, shutdown(), or the end
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from allcores.pool.pool import Pool

__all__ = ("KeptPools",)


class KeptPools:
    """Pools by shape. Thread-safe. In a fork there are none: the workers are the parent's."""

    def __init__(self, make: Callable[[Any], Pool]) -> None:
        self._make = make
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._pools: dict[Hashable, Pool] = {}
        self._users: dict[int, int] = {}  # by the id of a pool

    def acquire(self, shape: Hashable) -> Pool:
        """A pool of this shape, to be released; the one that is there, or a new one. Idle ones of others end."""
        with self._lock:
            pool = self._pools.get(shape)
            if pool is not None and not pool.is_usable():
                self._drop(pool)
                pool = None
            if pool is None:
                for idle in self._take_idle():
                    idle.close()
                    idle.join()  # its workers may serve the next pool of theirs
                pool = self._pools[shape] = self._make(shape)
            self._users[id(pool)] = self._users.get(id(pool), 0) + 1
            return pool

    def release(self, pool: Pool) -> None:
        """A user less; without any it stays, idle."""
        with self._lock:
            self._users[id(pool)] -= 1
            if not self._users[id(pool)]:
                del self._users[id(pool)]
                if pool not in self._pools.values():
                    pool.terminate()

    def end_alone(self, pool: Pool) -> bool:
        """What runs in it is not wanted any more: if it has no other user, it ends now. Returns whether it did."""
        with self._lock:
            if self._users.get(id(pool), 0) > 1:
                return False
            self._drop(pool)
        pool.terminate()
        return True

    def shutdown(self) -> None:
        """End the workers of all pools that are idle."""
        with self._lock:
            for pool in self._take_idle():
                pool.terminate()

    def _drop(self, pool: Pool) -> None:
        for shape, kept in list(self._pools.items()):
            if kept is pool:
                del self._pools[shape]

    def _take_idle(self) -> list[Pool]:
        idle = {shape: pool for shape, pool in self._pools.items() if id(pool) not in self._users}
        for shape in idle:
            del self._pools[shape]
        return list(idle.values())
