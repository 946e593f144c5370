"""The places of a pool's workers: each its share of the cores, perhaps cores of its own, perhaps a device.

A place outlives its worker: whoever replaces it has the same number, cores and device.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores import codec, cores, limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from allcores.pool.plan import Plan

__all__ = ("Place", "check_affinity", "check_devices", "places_of")


class Place(NamedTuple):
    """What one worker of a pool has that the others have not."""

    number: int  # from 0
    cores: int  # its share
    cpus: frozenset[int] | None = None  # that it is pinned to
    threads: int | None = None  # of native libraries; None: its share, unless the user has set another number
    device: str | None = None

    def shape(self, of_pool: int) -> int:
        """The pool's shape, for this place: libraries that a worker has loaded keep what its environment said then."""
        if not of_pool:
            return 0
        return hash((of_pool, self.device, self.cpus, tuple(self._variables().items()))) & (1 << 63) - 1 | 1

    def _variables(self) -> dict[str, str]:
        return limits.variables(self.threads or self.cores, forced=self.threads is not None)

    def surroundings(self) -> dict[str, Any]:
        """What a process in this place finds otherwise than where the pool was made."""
        found: dict[str, Any] = {"cores": self.cores, "threads": self._variables()}
        if self.cpus is not None:
            found["cpus"] = self.cpus
        if self.device is not None:
            found["environ"] = {**os.environ, "CUDA_VISIBLE_DEVICES": self.device}
        return found


def places_of(plan: Plan) -> list[Place]:
    """The places of a pool that is made here and now."""
    n, share = plan.processes, cores.split(plan.processes)
    pinned = _pinned(plan.affinity, n)
    devices = plan.devices or ()
    return [
        Place(
            i,
            share if pinned is None else min(share, len(pinned[i])),
            None if pinned is None else pinned[i],
            plan.threads_per_worker,
            str(devices[i % len(devices)]) if devices else None,
        )
        for i in range(n)
    ]


def _pinned(affinity: Any, n: int) -> list[frozenset[int]] | None:
    """The cores of each of n workers."""
    if affinity is False:
        return None
    if affinity is not True:
        return [affinity[i % len(affinity)] for i in range(n)]
    usable = sorted(os.sched_getaffinity(0))
    if n >= len(usable):
        return [frozenset({usable[i % len(usable)]}) for i in range(n)]
    # All cores, neighbours together: as even as it goes.
    return [frozenset(usable[i * len(usable) // n : (i + 1) * len(usable) // n]) for i in range(n)]


def check_affinity(affinity: Any) -> bool | tuple[frozenset[int], ...]:
    """``Pool``'s argument: False, True, or the cores of each place, one after another."""
    if affinity is None or isinstance(affinity, bool):
        return bool(affinity)
    what = "True, or a list with a core or a set of cores for each worker"
    if isinstance(affinity, str | bytes | dict) or not hasattr(affinity, "__iter__"):
        raise TypeError(f"affinity must be {what}, not {codec.short_repr(affinity)}")
    each = [_core_set(entry, what) for entry in affinity]
    if not each:
        raise ValueError(f"affinity must be {what}, and it is empty; leave it out to pin nobody")
    usable = os.sched_getaffinity(0)
    missing = sorted(frozenset().union(*each) - usable)
    if missing:
        raise ValueError(f"affinity names cores that this process may not use, {missing}: it has {sorted(usable)}")
    return tuple(each)


def _core_set(entry: Any, what: str) -> frozenset[int]:
    entries = [entry] if isinstance(entry, int) else entry
    if isinstance(entry, str | bytes | dict) or not hasattr(entries, "__iter__"):
        raise TypeError(f"affinity must be {what}, and has {codec.short_repr(entry)} in it")
    found = list(entries)
    if not found or not all(isinstance(core, int) and not isinstance(core, bool) for core in found):
        raise TypeError(f"affinity must be {what}, and has {codec.short_repr(entry)} in it")
    return frozenset(found)


def check_devices(devices: Iterable[int | str] | None) -> tuple[int | str, ...] | None:
    """``Pool``'s argument: the devices, one after another."""
    if devices is None:
        return None
    what = 'a list such as [0, 1] or ["GPU-uuid", "0,1"], an entry for each worker in turn'
    if isinstance(devices, str | bytes | dict) or not hasattr(devices, "__iter__"):
        raise TypeError(f"devices must be {what}, not {codec.short_repr(devices)}")
    found = tuple(devices)
    if not found:
        raise ValueError(f"devices must be {what}, and it is empty; leave it out to leave CUDA_VISIBLE_DEVICES alone")
    for device in found:
        if isinstance(device, bool) or not isinstance(device, int | str):
            raise TypeError(f"devices must be {what}, and has {codec.short_repr(device)} in it")
        if (isinstance(device, int) and device < 0) or "\0" in str(device) or device == "":
            raise ValueError(f"devices must be {what}, and has {device!r} in it")
    return found
