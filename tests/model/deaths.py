"""Who recovers the dead, as a model: one process at a time, and another when that one dies in the middle.

    watch  see_word  claim  find_dead ─▶ see_cell  put_back  settle  free_slot ─▶ find_dead ... release  look_again
                              │                                                     ▲
                              └── nobody ───────────────────────────────────────────┘

The *recovery word* names the process that recovers: its slot, and a version that rises with each claim. It is claimed
by CAS from 0, or from a word whose process is dead: so what was begun is done again, from the beginning. A process that
finds it claimed by a living one leaves, because that one looks again after it has released the word.

What there is to recover is a message that one process was taking when it died: it is put back, block first (recovery.py
and blocks.py have all of it). A slot that was freed may be used again, by one that watches as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from .explore import Broken
from .ring import replaced

FREE, OWNED, IN_FLIGHT, READY, READING = "FREE", "OWNED", "IN_FLIGHT", "READY", "READING"


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    NO_WORD = auto()  # two at once: the slower one repairs what is sound again
    TAKES_OVER_THE_LIVING = auto()  # likewise
    NO_VERSION = auto()  # the word looks the same when the dead one's slot is used again, by one that recovers
    NEVER_TAKES_OVER = auto()  # nobody recovers any more
    NO_LOOK_AFTER_RELEASE = auto()  # a death between its last look and the release is nobody's
    SLOT_FIRST = auto()  # a successor does not see any more who died
    NOT_FROM_THE_BEGINNING = auto()  # a successor believes that what was claimed was done


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    watchers: int = 2
    heirs: int = 0  # watchers that start in a slot that was freed
    kills: int = 0
    begun: bool = False  # the first watcher died while it recovered the first taker
    flaw: Flaw | None = None


class Word(NamedTuple):
    """The recovery word."""

    slot: int = 0
    version: int = 0


class Process(NamedTuple):
    """A process: the step it does next, and its registers."""

    step: str
    slot: int
    pending: bool = False  # the kernel has told it of a death
    seen: Word = Word()
    dead: int = 0  # the slot that it recovers


class World(NamedTuple):
    """All shared memory, all processes."""

    processes: tuple[Process, ...]
    pids: tuple[int, ...]  # of each slot; 0: free
    kills: int
    word: Word = Word()
    cell: tuple[str, int] = (READY, 0)  # its state and owner
    block: tuple[str, int] = (IN_FLIGHT, 0)

    def is_dead(self, slot: int) -> bool:
        return self.pids[slot - 1] > 0 and self.processes[self.pids[slot - 1] - 1].step == "dead"

    def first_dead(self) -> int:
        return next((slot for slot in range(1, len(self.pids) + 1) if self.is_dead(slot)), 0)


class Turn(NamedTuple):
    """One process about to do one step; every step by its name."""

    config: Config
    world: World
    me: int
    process: Process

    def then(self, step: str, **registers: object) -> World:
        """Goes on with `step`; what is not named keeps its value."""
        process = self.process._replace(step=step, **registers)  # type: ignore[arg-type]
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def on(self, **changes: object) -> Turn:
        """After a change of the shared memory."""
        return self._replace(world=self.world._replace(**changes))  # type: ignore[arg-type]

    # one that watches

    def watch(self) -> World:
        return self.then("see_word", pending=False) if self.process.pending else self.world

    def see_word(self) -> World:
        word, flaw = self.world.word, self.config.flaw
        if flaw is Flaw.NO_WORD:
            return self.then("find_dead")
        takes_over = word.slot and self.world.is_dead(word.slot) and flaw is not Flaw.NEVER_TAKES_OVER
        if not word.slot or takes_over or flaw is Flaw.TAKES_OVER_THE_LIVING:
            return self.then("claim", seen=word)
        return self.then("watch")

    def claim(self) -> World:
        """CAS(word, what was seen, me)."""
        seen = self.process.seen
        if self.world.word != seen:
            return self.then("see_word", seen=Word())
        recovering = ("find_dead", "see_cell", "put_back", "settle", "free_slot", "release")
        if others := [i for i, p in enumerate(self.world.processes, 1) if p.step in recovering]:
            raise Broken(f"process {self.me} recovers, and {others} too")
        word = Word(self.process.slot, seen.version + (self.config.flaw is not Flaw.NO_VERSION))
        return self.on(word=word).then("find_dead", seen=Word())

    def find_dead(self) -> World:
        dead, flaw = self.world.first_dead(), self.config.flaw
        if not dead:
            return self.then("watch" if flaw is Flaw.NO_WORD else "release", dead=0)
        return self.then("free_slot" if flaw is Flaw.SLOT_FIRST else "see_cell", dead=dead)

    def see_cell(self) -> World:
        """What has the dead as its owner changes by nobody else."""
        settled = "release" if self.config.flaw is Flaw.SLOT_FIRST else "free_slot"
        if self.world.cell != (READING, self.process.dead):
            return self.then(settled)
        if self.config.flaw is Flaw.NOT_FROM_THE_BEGINNING:
            return self.on(cell=(READY, 0)).then("put_back")
        return self.then("put_back")

    def put_back(self) -> World:
        """The message's block is on its way again."""
        late = self.config.flaw is Flaw.NOT_FROM_THE_BEGINNING
        return self.on(block=(IN_FLIGHT, 0)).then("free_slot" if late else "settle")

    def settle(self) -> World:
        return self.on(cell=(READY, 0)).then("release" if self.config.flaw is Flaw.SLOT_FIRST else "free_slot")

    def free_slot(self) -> World:
        """The slot may be used again. What the dead owned is freed with it."""
        dead, block = self.process.dead, self.world.block
        pids = replaced(self.world.pids, dead - 1, 0)
        first = self.config.flaw is Flaw.SLOT_FIRST
        after = self.on(pids=pids, block=(FREE, 0) if block == (OWNED, dead) and not first else block)
        return after.then("see_cell") if first else after.then("find_dead", dead=0)

    def release(self) -> World:
        """The word is mine, and I am alive: nobody else changes it."""
        flaw = self.config.flaw
        word = self.world.word
        mine = word.slot == self.process.slot
        after = self.on(word=Word(0, word.version)) if mine else self
        return after.then("watch" if flaw is Flaw.NO_LOOK_AFTER_RELEASE else "look_again", dead=0)

    def look_again(self) -> World:
        """A death that others left to this process, because they found the word claimed."""
        return self.then("see_word" if self.world.first_dead() else "watch")

    def inherit(self) -> World:
        """Joins in a slot that was freed, once there is one, and looks what there is to recover."""
        if 0 not in self.world.pids:
            return self.world
        slot = self.world.pids.index(0) + 1
        return self.on(pids=replaced(self.world.pids, slot - 1, self.me)).then("see_word", slot=slot)

    # one that takes the message

    def take(self) -> World:
        if self.world.cell[0] != READY:
            return self.world
        return self.on(cell=(READING, self.process.slot)).then("accept")

    def accept(self) -> World:
        return self.on(block=(OWNED, self.process.slot)).then("free")

    def free(self) -> World:
        return self.on(cell=(FREE, 0)).then("use")

    def use(self) -> World:
        if self.world.block != (OWNED, self.process.slot):
            raise Broken(f"process {self.me} uses a block that is {self.world.block}")
        return self.on(block=(FREE, 0)).then("done")


class DeathModel:
    """A case, for the explorer: watchers, heirs, and two that take the message."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        config = self.config
        takers = [Process("take", config.watchers + 1), Process("take", config.watchers + 2)]
        processes = [Process("watch", slot) for slot in range(1, config.watchers + 1)] + takers
        pids = tuple(range(1, len(processes) + 1))
        world = World((*processes, *[Process("inherit", 0)] * config.heirs), pids, config.kills)
        if not config.begun:
            return world
        taker = config.watchers + 1
        told = tuple(p._replace(pending=p.step == "watch") for p in world.processes)
        begun = replaced(replaced(told, 0, Process("dead", 1)), taker - 1, Process("dead", taker))
        return world._replace(processes=begun, word=Word(1, 1), cell=(READING, taker), block=(OWNED, taker))

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step not in ("dead", "done"):
                yield f"{me}.{process.step}", getattr(Turn(self.config, world, me, process), process.step)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        """One of those who watch hears of each death, whichever it is."""
        for index, process in enumerate(world.processes if world.kills else ()):
            if process.step in ("dead", "done", "inherit", "take"):
                continue
            processes = replaced(world.processes, index, Process("dead", process.slot))
            after = world._replace(processes=processes, kills=world.kills - 1)
            watchers = [i for i, p in enumerate(processes) if self._watches(i) and p.step not in ("dead", "inherit")]
            for told in watchers:
                knows = processes[told]._replace(pending=True)
                yield f"kill {index + 1}, {told + 1} hears", after._replace(processes=replaced(processes, told, knows))
            if not watchers:
                yield f"kill {index + 1}", after

    def _watches(self, index: int) -> bool:
        return not self.config.watchers <= index < self.config.watchers + 2

    def finished(self, world: World) -> bool:
        """All deaths recovered; then the message has arrived, died with the one who had it, or is there for others."""
        takers = world.processes[self.config.watchers : self.config.watchers + 2]
        taken = world.cell == (FREE, 0) and all(p.step not in ("free", "use") for p in takers)
        there = world.cell == (READY, 0) and all(p.step == "dead" for p in takers)
        if world.first_dead() or not (taken or there):
            return False
        if world.block[0] != (FREE if taken else IN_FLIGHT):
            raise Broken(f"nobody has the block, and it is {world.block}")
        return True

    def hopeful(self, world: World) -> bool:
        """Somebody is left who recovers."""
        return any(self._watches(i) and p.step not in ("dead", "inherit") for i, p in enumerate(world.processes))
