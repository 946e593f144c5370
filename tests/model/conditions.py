"""A condition whose waiters and notifiers may die, as a model: each who waits has a cell in shared memory.

    wait:    [lock]  check  claim_cell  unlock_wait   waiting ... lock_again  take_back  check ...
                     cell  FREE ─▶ WAITING(ticket, me)                        FREE
    notify:  [lock]  change  oldest  mark  unlock        mark = CAS(cell, WAITING as it was seen, NOTIFIED)
    recover: find_cell   WAITING(dead) -> FREE    NOTIFIED(dead) -> pass_on to the oldest that waits -> FREE
             find_lock   poisoned; or, if its death releases it, notify all and then free it

Recovery does not take the lock, since the dead may have it: so whoever changes a cell does it by CAS, the lock or not.
The condition is a number of items: a producer adds one and notifies one; a consumer waits until there is one. Who waits
looks at the lock as well: if it is poisoned, nobody can notify any more. A timeout is a fault, never a way out; the
lock itself and the wake-ups are single steps here (locking.py and parking.py have them in full).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from .explore import Broken
from .ring import replaced

FREE, WAITING, NOTIFIED = "FREE", "WAITING", "NOTIFIED"
POISONED = -1


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    TIMEOUT_SWALLOWS = auto()  # it was notified, but says that it timed out
    TAKE_BACK_BY_STORE = auto()  # what recovery passed on to it meanwhile is lost
    MARK_BY_STORE = auto()  # recovery has freed the cell of the one that is notified
    RECOVER_BY_STORE = auto()  # it was notified between the look and the store
    NOT_PASSED_ON = auto()  # a notify dies with the one who had it
    FREE_BEFORE_PASS_ON = auto()  # likewise, if the monitor dies between the two
    CLAIM_AFTER_UNLOCK = auto()  # notified between the check and the claim
    POISON_UNSEEN = auto()  # waits for one who can never come
    FREES_ONLY = auto()  # the lock of a dead notifier is free, and nobody hears of what it changed


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    consumers: int
    producers: int = 1
    breaks: int = 0  # timeouts
    kills: int = 0
    mortal: tuple[int, ...] = ()  # the processes that can die, if not all
    monitor_kills: int = 0
    release_mode: bool = False  # on_owner_death="release"
    flaw: Flaw | None = None


class Cell(NamedTuple):
    """A waiter's cell."""

    state: str = FREE
    ticket: int = 0
    owner: int = 0


class Process(NamedTuple):
    """A process, or the monitor: the step it does next, and its registers."""

    step: str
    cell: int = 0
    seen: Cell = Cell()
    target: int = 0  # the cell to be notified
    timed_out: bool = False


class World(NamedTuple):
    """All shared memory, all processes."""

    cells: tuple[Cell, ...]
    processes: tuple[Process, ...]
    kills: int
    breaks: int
    monitor_kills: int
    lock: int = 0
    items: int = 0
    monitor: Process = Process("begin")
    dead: tuple[int, ...] = ()

    def oldest(self, but: int = 0) -> int:
        """The cell that has waited longest, of another than `but`; -1: nobody waits."""
        waiting = [(c.ticket, i) for i, c in enumerate(self.cells) if c.state == WAITING and c.owner != but]
        return min(waiting, default=(0, -1))[1]


class Turn(NamedTuple):
    """One process, or the monitor (0), about to do one step; every step by its name."""

    config: Config
    world: World
    me: int
    process: Process

    def then(self, step: str, **registers: object) -> World:
        """Goes on with `step`; registers that are not named are not in use any more."""
        process = Process(step)._replace(**registers)  # type: ignore[arg-type]
        if not self.me:
            return self.world._replace(monitor=process)
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def on(self, **changes: object) -> Turn:
        """After a change of the shared memory."""
        return self._replace(world=self.world._replace(**changes))  # type: ignore[arg-type]

    def store(self, index: int, cell: Cell) -> Turn:
        return self.on(cells=replaced(self.world.cells, index, cell))

    def locked(self, step: str, **registers: object) -> World:
        """acquire(): waits while another has the lock; OwnerDied ends everything."""
        if self.world.lock == POISONED:
            return self.then("done")
        return self.on(lock=self.me).then(step, **registers) if not self.world.lock else self.world

    def unlocked(self, step: str, **registers: object) -> World:
        return self.on(lock=0).then(step, **registers)

    # a consumer

    def lock_first(self) -> World:
        return self.locked("check")

    def check(self) -> World:
        if self.world.items:
            return self.on(items=self.world.items - 1).then("unlock")
        return self.then("unlock_late" if self.config.flaw is Flaw.CLAIM_AFTER_UNLOCK else "claim_cell")

    def claim_cell(self) -> World:
        """The first free one; recovery frees cells, and nobody else claims any while this process has the lock."""
        free = [i for i, cell in enumerate(self.world.cells) if cell.state == FREE]
        ticket = max((cell.ticket for cell in self.world.cells), default=0) + 1
        if not free:  # the dead have them: not for long
            return self.world
        after = self.store(free[0], Cell(WAITING, ticket, self.me))
        late = self.config.flaw is Flaw.CLAIM_AFTER_UNLOCK
        return after.then("waiting" if late else "unlock_wait", cell=free[0])

    def unlock_wait(self) -> World:
        return self.unlocked("waiting", cell=self.process.cell)

    def unlock_late(self) -> World:  # only in the flaw
        return self.unlocked("claim_cell")

    def waiting(self) -> World:
        """Sleeps until it is notified, or nobody can notify it any more."""
        if self.world.lock == POISONED and self.config.flaw is not Flaw.POISON_UNSEEN:
            return self.then("give_up", cell=self.process.cell)
        notified = self.world.cells[self.process.cell].state == NOTIFIED
        return self.then("lock_again", cell=self.process.cell) if notified else self.world

    def lock_again(self) -> World:
        return self.locked("see_cell", cell=self.process.cell, timed_out=self.process.timed_out)

    def see_cell(self) -> World:
        cell = self.process.cell
        return self.then("take_back", cell=cell, seen=self.world.cells[cell], timed_out=self.process.timed_out)

    def take_back(self) -> World:
        """CAS(cell, what was seen, FREE): who was notified was so, whatever the time is."""
        index, seen, flaw = self.process.cell, self.process.seen, self.config.flaw
        if self.world.cells[index] != seen and flaw is not Flaw.TAKE_BACK_BY_STORE:
            return self.then("see_cell", cell=index, timed_out=self.process.timed_out)
        swallows = self.process.timed_out and flaw is Flaw.TIMEOUT_SWALLOWS
        notified = seen.state == NOTIFIED and not swallows
        return self.store(index, Cell()).then("check" if notified else "unlock")

    def give_up(self) -> World:
        return self.store(self.process.cell, Cell()).then("done")

    def unlock(self) -> World:
        return self.unlocked("done")

    # a producer

    def lock_notify(self) -> World:
        return self.locked("change")

    def change(self) -> World:
        return self.on(items=self.world.items + 1).then("oldest")

    def oldest(self) -> World:
        target = self.world.oldest()
        return self.then("unlock") if target < 0 else self.then("mark", target=target, seen=self.world.cells[target])

    def mark(self) -> World:
        """CAS(cell, what was seen, NOTIFIED): recovery may have freed it."""
        target, seen = self.process.target, self.process.seen
        if self.world.cells[target] != seen and self.config.flaw is not Flaw.MARK_BY_STORE:
            return self.then("oldest")
        return self.store(target, seen._replace(state=NOTIFIED)).then("unlock")

    # the monitor

    def begin(self) -> World:
        return self.then("find_cell")

    def find_cell(self) -> World:
        dead = self.world.dead[0]
        its = [i for i, cell in enumerate(self.world.cells) if cell.owner == dead and cell.state != FREE]
        if not its:
            return self.then("find_lock")
        seen = self.world.cells[its[0]]
        passes_on = seen.state == NOTIFIED and self.config.flaw is not Flaw.NOT_PASSED_ON
        early = self.config.flaw is Flaw.FREE_BEFORE_PASS_ON
        return self.then("pass_on" if passes_on and not early else "free_cell", cell=its[0], seen=seen)

    def pass_on(self) -> World:
        """To the oldest that waits, dead or alive. If nobody does: whoever comes looks at the items first."""
        target = self.world.oldest(but=self.world.dead[0])
        if target < 0:
            return self.passed_on()
        return self.then("mark_other", cell=self.process.cell, target=target, seen=self.process.seen)

    def mark_other(self) -> World:
        """CAS(cell, WAITING, NOTIFIED)."""
        other = self.world.cells[self.process.target]
        if other.state != WAITING:
            return self.then("pass_on", cell=self.process.cell, seen=self.process.seen)
        return self.store(self.process.target, other._replace(state=NOTIFIED)).passed_on()

    def passed_on(self) -> World:
        if self.config.flaw is Flaw.FREE_BEFORE_PASS_ON:
            return self.then("find_cell")
        return self.then("free_cell", cell=self.process.cell, seen=self.process.seen)

    def free_cell(self) -> World:
        """CAS(cell, what was seen, FREE)."""
        index, seen, flaw = self.process.cell, self.process.seen, self.config.flaw
        if self.world.cells[index] != seen and flaw is not Flaw.RECOVER_BY_STORE:
            return self.then("find_cell")
        passes_on = seen.state == NOTIFIED and flaw is Flaw.FREE_BEFORE_PASS_ON
        return self.store(index, Cell()).then("pass_on" if passes_on else "find_cell", seen=seen)

    def find_lock(self) -> World:
        if self.world.lock != self.world.dead[0]:
            return self.then("release")
        if not self.config.release_mode:
            return self.on(lock=POISONED).then("release")
        return self.then("free_lock" if self.config.flaw is Flaw.FREES_ONLY else "notify_all")

    def notify_all(self) -> World:
        """The dead may have changed something, and told nobody: all look for themselves."""
        target = self.world.oldest()
        if target < 0:
            return self.then("free_lock")
        return self.store(target, self.world.cells[target]._replace(state=NOTIFIED)).then("notify_all")

    def free_lock(self) -> World:
        return self.on(lock=0).then("release")

    def release(self) -> World:
        """The slot may be used again."""
        return self.on(dead=self.world.dead[1:]).then("begin")


class ConditionModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        config = self.config
        processes = (Process("lock_first"),) * config.consumers + (Process("lock_notify"),) * config.producers
        return World((Cell(),) * config.consumers, processes, config.kills, config.breaks, config.monitor_kills)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step not in ("dead", "done"):
                yield f"{me}.{process.step}", getattr(Turn(self.config, world, me, process), process.step)()
        if world.dead:
            step = world.monitor.step
            yield f"monitor.{step}", getattr(Turn(self.config, world, 0, world.monitor), step)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        for index, process in enumerate(world.processes):
            if process.step == "waiting" and world.breaks:
                late = Process("lock_again", process.cell, timed_out=True)
                after = world._replace(processes=replaced(world.processes, index, late))
                yield f"timeout {index + 1}", after._replace(breaks=world.breaks - 1)
            mortal = not self.config.mortal or index + 1 in self.config.mortal
            if world.kills and mortal and process.step not in ("dead", "done"):
                after = world._replace(processes=replaced(world.processes, index, Process("dead")))
                yield f"kill {index + 1}", after._replace(kills=world.kills - 1, dead=(*world.dead, index + 1))
        if world.monitor_kills and world.monitor.step != "begin":
            yield "kill monitor", world._replace(monitor=Process("begin"), monitor_kills=world.monitor_kills - 1)

    def finished(self, world: World) -> bool:
        """Nobody waits beside an item, or a poisoned lock."""
        consumers, producers = world.processes[: self.config.consumers], world.processes[self.config.consumers :]
        if world.dead or any(p.step not in ("done", "dead") for p in producers):
            return False
        if all(p.step in ("done", "dead") for p in consumers):
            if left := [cell for cell in world.cells if cell.state != FREE and world.lock != POISONED]:
                raise Broken(f"nobody waits, and {left} are not free")
            return True
        idle = all(p.step in ("done", "dead", "waiting") for p in consumers)
        return idle and not world.items and world.lock == 0

    def hopeful(self, world: World) -> bool:
        """Nobody waits for ever."""
        return True
