"""A queue that can be joined, as a model: what is not done is counted under a lock whose holder may die.

    enter: lock = me                        free, or its holder is dead.  dirty: mend first
    put:   begin dirty = sum    write  commit  publish    count unfinished + 1     clean  leave  notify
    take:  begin dirty = missing(me)    claim  free       book hands[me] + 1       clean  leave
    done:  begin dirty = sum                              drop hands[me] - 1  count  clean  leave  notify
    mend:  sum = items + all hands      dirty = sum: unfinished = sum      missing(k): hands[k] += unfinished - sum
    join:  look  announce  look_again  sleep    0, or left dirty, or items in hands of the dead: enter, decide, leave
    death: settle_ring  settle_lock  tell, if it has items in its hands  disturb

An item is in the ring from commit on, and until free: the death of who reads it puts it back. That is the truth, kept
beside what the ledger says, and whoever joins must go by it. Order and room are ring.py's, wake-ups parking.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from .explore import Broken
from .ring import replaced


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    NOT_MENDED = auto()  # what the dead left half changed is taken for right
    TAKE_IS_A_SUM = auto()  # what the dead took is forgotten
    DONE_IS_MISSING = auto()  # what the dead has done is in its hands again
    READING_NOT_COUNTED = auto()  # an item that is put back is in the hands of the dead as well
    COMMITTING_NOT_COUNTED = auto()  # an item that arrives is not waited for
    DIRT_NOT_LOOKED_AT = auto()  # who joins sleeps on a number that nobody will put right
    DEAD_NOT_LOOKED_AT = auto()  # who joins waits for the dead
    NOT_DISTURBED = auto()  # a wake-up dies with the one who had it
    MENDED_IN_SILENCE = auto()  # who joins looked while somebody was inside, and saw nothing of a death before
    NOT_TOLD = auto()  # likewise of a dead one that has let go of the queue
    SLEEP_WITHOUT_LOOK = auto()  # what became so before it was announced wakes nobody


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    items: int = 1  # in the queue at the beginning
    producers: int = 0  # each puts one more
    consumers: int = 1  # take, and mark as done, whatever there is
    kills: int = 0
    holds: bool = True  # whether the dead held the queue: else a death is told for its items alone
    flaw: Flaw | None = None


class Process(NamedTuple):
    """One process: the step it does next, and its registers."""

    kind: str
    step: str
    then: str = ""  # after enter
    cell: str = ""  # what it is doing to a cell of the ring
    taken: int = 0  # the truth: items that it has taken and not done
    hands: int = 0  # what the ledger says
    tells: bool = False  # when it has left: nothing is unfinished, or it has mended


class World(NamedTuple):
    """All shared memory, all processes; the last of them joins."""

    ready: int
    unfinished: int
    processes: tuple[Process, ...]
    kills: int
    lock: int = 0
    dirty: tuple[str, int] = ("", 0)
    announced: bool = False
    settling: str = "settle_ring"
    dead: tuple[int, ...] = ()  # to be settled

    def is_dead(self, who: int) -> bool:
        return who != 0 and self.processes[who - 1].step == "dead"

    def cells(self, *states: str) -> int:
        return sum(p.cell in states for p in self.processes)

    def real(self) -> int:
        """What is not done."""
        return self.ready + self.cells("committing", "reading") + sum(p.taken for p in self.processes)

    def woken(self) -> World:
        """The one that joins looks again."""
        joins = self.processes[-1]
        awake = joins._replace(step="look") if joins.step == "asleep" else joins
        return self._replace(announced=False, processes=(*self.processes[:-1], awake))


class Turn(NamedTuple):
    """One process about to do one step; every step by its name."""

    config: Config
    world: World
    me: int
    process: Process

    def then(self, step: str, **registers: object) -> World:
        process = self.process._replace(step=step, **registers)  # type: ignore[arg-type]
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def on(self, **changes: object) -> Turn:
        """After a change of the shared memory."""
        return self._replace(world=self.world._replace(**changes))  # type: ignore[arg-type]

    # everybody

    def enter(self) -> World | None:
        if self.world.lock and not self.world.is_dead(self.world.lock):
            return None
        mends = self.world.dirty[0] and self.config.flaw is not Flaw.NOT_MENDED
        return self.on(lock=self.me).then("mend" if mends else self.process.then)

    def mend(self) -> World:
        """Nobody living has a cell: the lock is here."""
        flaw, (kind, whose) = self.config.flaw, self.world.dirty
        states = ["committing"] * (flaw is not Flaw.COMMITTING_NOT_COUNTED)
        states += ["reading"] * (flaw is not Flaw.READING_NOT_COUNTED)
        total = self.world.ready + self.world.cells(*states) + sum(p.hands for p in self.world.processes)
        if kind == "sum":
            return self.on(unfinished=total).then("mended")
        other = self.world.processes[whose - 1]
        given = other._replace(hands=other.hands + self.world.unfinished - total)
        after = self.on(processes=replaced(self.world.processes, whose - 1, given))
        return after._replace(process=after.world.processes[self.me - 1]).then("mended")

    def mended(self) -> World:
        return self.on(dirty=("", 0)).then(self.process.then, tells=self.config.flaw is not Flaw.MENDED_IN_SILENCE)

    def clean(self) -> World:
        return self.on(dirty=("", 0)).then("leave")

    def leave(self) -> World:
        return self.on(lock=0).then("notify", tells=self.process.tells or self.world.unfinished == 0)

    def notify(self) -> World:
        after = self.then("idle", tells=False)
        return after.woken() if self.process.tells else after

    # producers and consumers

    def idle(self) -> World | None:
        if self.process.kind == "producer":
            return None
        if self.process.hands > 0:
            return self.then("enter", then="begin_done")
        return self.then("enter", then="begin_take") if self.world.ready else None

    def begin_put(self) -> World:
        return self.on(dirty=("sum", 0)).then("write")

    def write(self) -> World:
        return self.then("commit", cell="writing")

    def commit(self) -> World:
        return self.then("publish", cell="committing")

    def publish(self) -> World:
        return self.on(ready=self.world.ready + 1).then("count_put", cell="")

    def count_put(self) -> World:
        return self.on(unfinished=self.world.unfinished + 1).then("clean")

    def begin_take(self) -> World:
        dirty = ("sum", 0) if self.config.flaw is Flaw.TAKE_IS_A_SUM else ("missing", self.me)
        return self.on(dirty=dirty).then("claim")

    def claim(self) -> World:
        if self.world.ready == 0:
            return self.then("clean")
        return self.on(ready=self.world.ready - 1).then("free", cell="reading")

    def free(self) -> World:
        return self.then("book", cell="", taken=self.process.taken + 1)

    def book(self) -> World:
        return self.then("clean", hands=self.process.hands + 1)

    def begin_done(self) -> World:
        dirty = ("missing", self.me) if self.config.flaw is Flaw.DONE_IS_MISSING else ("sum", 0)
        return self.on(dirty=dirty).then("drop")

    def drop(self) -> World:
        return self.then("count_done", hands=self.process.hands - 1, taken=self.process.taken - 1)

    def count_done(self) -> World:
        return self.on(unfinished=self.world.unfinished - 1).then("clean")

    # the one that joins

    def _may_end(self) -> bool:
        flaw, world = self.config.flaw, self.world
        left = world.dirty[0] and (world.lock == 0 or world.is_dead(world.lock))
        lost = any(p.step == "dead" and p.hands for p in world.processes)
        return bool(
            world.unfinished == 0
            or (left and flaw is not Flaw.DIRT_NOT_LOOKED_AT)
            or (lost and flaw is not Flaw.DEAD_NOT_LOOKED_AT)
        )

    def look(self) -> World:
        return self.then("enter", then="decide") if self._may_end() else self.then("announce")

    def announce(self) -> World:
        blind = self.config.flaw is Flaw.SLEEP_WITHOUT_LOOK
        return self.on(announced=True).then("sleep" if blind else "look_again")

    def look_again(self) -> World:
        return self.then("enter", then="decide") if self._may_end() else self.then("sleep")

    def sleep(self) -> World:
        return self.then("asleep" if self.world.announced else "announce")

    def decide(self) -> World:
        lost = [p for p in self.world.processes if p.step == "dead" and p.hands]
        if self.world.unfinished == 0:
            if self.world.real():
                raise Broken(f"joined, and {self.world.real()} are not done")
            return self.on(lock=0).then("joined")
        if lost:
            if any(p.hands != p.taken for p in lost):
                raise Broken("what is said of the dead is not what it had")
            return self.on(lock=0).then("raised")
        return self.on(lock=0).then("announce")

    # the monitor

    def settle_ring(self) -> World:
        """What it read is put back, what it had committed arrives."""
        arrives = self.process.cell in ("committing", "reading")
        return self.on(ready=self.world.ready + arrives, settling="settle_lock").then("dead", cell="")

    def settle_lock(self) -> World:
        lock = 0 if self.world.lock == self.me else self.world.lock
        return self.world._replace(lock=lock, settling="tell")

    def tell(self) -> World:
        after = self.world._replace(settling="disturb")
        return after.woken() if self.process.hands and self.config.flaw is not Flaw.NOT_TOLD else after

    def disturb(self) -> World:
        after = self.world._replace(settling="settle_ring", dead=self.world.dead[1:])
        # Inside or on the way it holds the queue in any case.
        holds = self.config.holds or self.process.then == "told"
        return after.woken() if holds and self.config.flaw is not Flaw.NOT_DISTURBED else after


class LedgerModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        config = self.config
        processes = [Process("producer", "enter", "begin_put")] * config.producers
        processes += [Process("consumer", "idle")] * config.consumers
        return World(config.items, config.items, (*processes, Process("joiner", "look")), config.kills)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step not in ("dead", "asleep", "joined", "raised"):
                after = getattr(Turn(self.config, world, me, process), process.step)()
                if after is not None:
                    yield f"{me}.{process.step}", after
        if world.dead:
            me = world.dead[0]
            turn = Turn(self.config, world, me, world.processes[me - 1])
            yield f"monitor.{world.settling}", getattr(turn, world.settling)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes[:-1] if world.kills else (), 1):
            if process.step == "dead":
                continue
            outside = process.step == "idle"
            dead = process._replace(step="dead", then="" if outside else "told", tells=False)
            processes = replaced(world.processes, me - 1, dead)
            yield f"kill {me}", world._replace(processes=processes, kills=world.kills - 1, dead=(*world.dead, me))

    def finished(self, world: World) -> bool:
        return world.processes[-1].step in ("joined", "raised")

    def hopeful(self, world: World) -> bool:
        """Whoever joins must come to an end, unless there are items, or will be, and nobody living who takes them."""
        others = world.processes[:-1]
        alive = any(p.kind == "consumer" and p.step != "dead" for p in others)
        puts = any(p.kind == "producer" and p.step not in ("idle", "dead") for p in others)
        return alive or (world.real() == 0 and not puts) or any(p.step == "dead" and p.taken for p in others)
