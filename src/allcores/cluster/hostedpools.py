"""Of each pool of a cluster: what its workers must know, which process is which, and what has begun.

A pool is known from the first that it keeps here until it ends, or its program does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allcores.cluster.calls import Gone, is_of

if TYPE_CHECKING:
    from allcores.cluster.calls import Call

__all__ = ("HostedPools",)

# Tasks that have begun, before those that are done are sorted out.
_MANY = 256


class _Pool:
    """One of them."""

    def __init__(self) -> None:
        self.owner = ""  # the node whose it is
        self.kept: dict[str, bytes] = {}  # what its workers ask for
        self.places: list[str] = []  # its workers' nodes; empty where one has died
        self.entering: set[tuple[str, int]] = set()  # node and pid of those that were never ready
        self.begun: set[int] = set()  # runs of tasks that must not run twice


class HostedPools:
    """The part of the table that is the pools'. An operation of a Link is a method ``do_…``."""

    def __init__(self) -> None:
        self.pools: dict[str, _Pool] = {}

    def _pool(self, team: str) -> _Pool:
        try:
            return self.pools[team]
        except KeyError:
            raise Gone("the pool of this task has ended") from None

    def do_keep(self, call: Call, team: str, key: str, data: bytes) -> None:
        """Keep something for the workers of a pool, which is the caller's."""
        pool = self.pools.setdefault(team, _Pool())
        pool.owner = call.who.node
        pool.kept[key] = data

    def do_fetch(self, _call: Call, team: str, key: str) -> bytes:
        """What was kept."""
        return self._pool(team).kept[key]

    def do_join(self, call: Call, team: str) -> int:
        """A process begins to be a worker of a pool: its number in it. That of one that has died is free again."""
        pool, node = self._pool(team), call.who.node
        pool.entering.add((node, call.who.pid))
        if node not in pool.places:
            if "" in pool.places:
                pool.places[pool.places.index("")] = node
            else:
                pool.places.append(node)
        return pool.places.index(node)

    def do_readied(self, call: Call, team: str) -> None:
        """It is ready for tasks."""
        self._pool(team).entering.discard((call.who.node, call.who.pid))

    def do_was_entering(self, _call: Call, team: str, node: str, pid: int) -> bool:
        """Whether a worker that has died had joined this pool, and was never ready."""
        return team in self.pools and (node, pid) in self.pools[team].entering

    def do_begin(self, _call: Call, team: str, task: int, oldest: int) -> bool:
        """A task that must not run twice is about to run. False: it has run before.

        Args:
            team: its pool.
            task: its number, as of ``Job.run``.
            oldest: the lowest of those that its pool has no answer of: of others nobody will ask.
        """
        begun = self._pool(team).begun
        if task in begun:
            return False
        if len(begun) > _MANY:
            begun.intersection_update([each for each in begun if each >= oldest])
        begun.add(task)
        return True

    def do_begun(self, _call: Call, team: str, task: int) -> bool:
        """Whether a task has begun, of which nothing came."""
        return team in self.pools and task in self.pools[team].begun

    def do_disband(self, _call: Call, team: str) -> None:
        """A pool has ended."""
        self.pools.pop(team, None)

    def leave_pools(self, node: str) -> None:
        """A process has ended, with all that it had started: its pools, and its places in others'."""
        for team, pool in list(self.pools.items()):
            pool.places[:] = ["" if is_of(each, node) else each for each in pool.places]
            if is_of(pool.owner, node):
                del self.pools[team]
