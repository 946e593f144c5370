"""Deaths beside a Parking, their recovery, and what has to hold: parking.py has the steps of all others.

What the dead was taking is put back first, and only then everybody who sleeps looks again: a wake-up that had reached
the dead is passed on so. And only after all this the slot of the dead is used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .parking import Config, Dead, Flaw, Process, Turn, World
from .ring import replaced


class Rescue(NamedTuple):
    """The monitor about to do one step; every step by its name."""

    config: Config
    world: World

    def then(self, monitor: str) -> World:
        return self.world._replace(monitor=monitor)

    def begin(self) -> World:
        return self.then("clear_spinner" if self.config.flaw is Flaw.SETTLE_LAST else "settle")

    def settle(self) -> World:
        """What the dead was taking is put back."""
        dead = self.world.dead[0]
        step = "release" if self.config.flaw is Flaw.SETTLE_LAST else "clear_spinner"
        if self.config.flaw is Flaw.SPINNER_LAST:
            step = "clear_waking"
        after = self.world._replace(items=self.world.items + dead.taking)
        return after._replace(monitor=step, dead=(dead._replace(taking=0), *self.world.dead[1:]))

    def clear_spinner(self) -> World:
        """CAS(spinner, dead, 0)."""
        clears = self.world.spinner == self.world.dead[0].slot and self.config.flaw is not Flaw.SPINNER_STAYS
        after = self.world._replace(spinner=0) if clears else self.world
        return after._replace(monitor="release" if self.config.flaw is Flaw.SPINNER_LAST else "clear_waking")

    def clear_waking(self) -> World:
        stays = self.config.flaw is Flaw.WAKING_STAYS
        step = "release" if self.config.flaw is Flaw.NOT_DISTURBED else "count_up"
        return self.then(step)._replace(waking=self.world.waking and stays)

    def count_up(self) -> World:
        return self.then("wake_all").counted()

    def wake_all(self) -> World:
        last = {Flaw.SETTLE_LAST: "settle", Flaw.SPINNER_LAST: "clear_spinner"}
        told = "release" if self.config.flaw is Flaw.SEVERAL_NOT_TOLD else "count_several_up"
        return self.then(last.get(self.config.flaw, told) if self.config.flaw else told).woken()

    def count_several_up(self) -> World:
        """Always: the dead may have taken the announcement down already."""
        return self.then("wake_several").counted(several=True)

    def wake_several(self) -> World:
        return self.then("release").told()

    def release(self) -> World:
        """The slot may be used again."""
        return self.then("begin")._replace(dead=self.world.dead[1:])


class ParkingModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.slots = [1 if config.one_process else me for me in range(1, config.waiters + 1)]
        self.slots += range(config.waiters + 1, config.waiters + len(config.changes) + config.several + 1)

    def initial(self) -> World:
        config = self.config
        early = config.flaw is Flaw.NOTIFY_BEFORE_CHANGE
        changer = Process("see_spinner", back="change") if early else Process("change")
        begin = Process("look_soon" if config.promises else "attempt")
        processes = [Process("asleep")] * config.asleep + [begin] * (config.waiters - config.asleep)
        processes += [changer._replace(todo=n) for n in config.changes]
        processes += [Process("read_several")] * config.several
        world = World(tuple(processes), config.kills, config.breaks, config.monitor_kills)
        return world._replace(sleepers=config.asleep > 0)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step in ("dead", "done", "asleep", "several"):
                continue
            after = getattr(Turn(self.config, world, me, self.slots[me - 1], process), process.step)()
            for world_after in after if isinstance(after, list) else [after]:
                yield f"{me}.{process.step}", world_after
        if world.dead:
            yield f"monitor.{world.monitor}", getattr(Rescue(self.config, world), world.monitor)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        if world.breaks:
            yield from self._breaks(world._replace(breaks=world.breaks - 1))
        for slot in set(self.slots) if world.kills else ():
            if self.config.mortal and slot not in self.config.mortal:
                continue
            its = [p for p, s in zip(world.processes, self.slots, strict=True) if s == slot]
            if all(p.step in ("dead", "done") for p in its):
                continue
            pairs = zip(world.processes, self.slots, strict=True)
            processes = tuple(Process("dead") if s == slot else p for p, s in pairs)
            dead = (*world.dead, Dead(slot, sum(p.taking for p in its)))
            yield f"kill {slot}", world._replace(processes=processes, kills=world.kills - 1, dead=dead)
        if world.monitor_kills and world.monitor != "begin":
            yield "kill monitor", world._replace(monitor="begin", monitor_kills=world.monitor_kills - 1)

    def _breaks(self, world: World) -> Iterator[tuple[str, World]]:
        """A sleep ends too early; one that has been woken is not asleep any more."""
        for index, process in enumerate(world.processes):
            if process.step == "asleep":
                for why in ("timeout", "signal"):
                    awake = process._replace(step="woken", broken=why)
                    yield f"{why} {index + 1}", world._replace(processes=replaced(world.processes, index, awake))

    def finished(self, world: World) -> bool:
        """All changes made, all deaths recovered, and nobody left who waits for what is there."""
        n = self.config.waiters
        changers = world.processes[n : n + len(self.config.changes)]
        if world.dead or any(p.step not in ("done", "dead") for p in changers):
            return False
        return not world.items or all(p.step in ("done", "dead") for p in world.processes)

    def hopeful(self, world: World) -> bool:
        """Nobody may wait for ever beside what he waits for."""
        return True
