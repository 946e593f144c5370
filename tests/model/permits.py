"""A bounded semaphore whose permits survive their holders, as a model: one word for each permit, 0 or its owner's slot.

    acquire: look of each word  take = CAS(word, 0, me)         none: announce  look again of each word  sleep
    release: find_own, find_any of each word  give = CAS(word, what was seen, 0)  notify_one
    recover: find_dead of each word  free_word = CAS(word, dead, 0)  notify_one ... disturb  free_slot

Whoever releases gives a permit of its own process, or if it has none, anybody's: what one acquires, another may
release. Deaths and releases for others together are not in here, since they cannot be right: nobody can tell whose word
was given for whom, so the death of one of the two frees a permit too many, or none.
An heir has the slot of one that has died. Wake-ups are single steps here (parking.py has them in full).
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

    RELEASE_BY_STORE = auto()  # two that release give the same permit
    ANY_FIRST = auto()  # another's permit is given, and when that one dies, its own is lost
    SLOT_FIRST = auto()  # the heir's permit is taken for the dead one's
    NOT_FREED = auto()  # a permit dies with its holder
    SLEEP_WITHOUT_LOOK = auto()  # a permit that came back before it was announced wakes nobody
    SLEEP_ANYWAY = auto()  # likewise between the look at the word and the sleep
    NOT_DISTURBED = auto()  # a wake-up dies with the one who had it


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    permits: int = 1
    users: int = 0  # acquire, and release
    givers: int = 0  # acquire; as many others release for them
    heirs: int = 0  # users that start in a slot that was freed
    kills: int = 0  # of users
    mortal: tuple[int, ...] = ()  # the processes that can die, if not all users
    monitor_kills: int = 0
    flaw: Flaw | None = None


class Process(NamedTuple):
    """A process, or the monitor: the step it does next, and its registers."""

    step: str
    kind: str = "user"
    slot: int = 0
    at: int = 0  # the word it looks at
    seen: int = 0
    fresh: bool = False  # nobody was notified since it announced itself
    back: str = ""  # the step after notify_one


class World(NamedTuple):
    """All shared memory, all processes, and what the outside has seen."""

    words: tuple[int, ...]
    processes: tuple[Process, ...]
    kills: int
    monitor_kills: int
    given: int = 0  # permits that others are to release
    begun: int = 0  # of those, releases that have begun
    monitor: Process = Process("begin", "monitor")
    dead: tuple[int, ...] = ()  # slots to be recovered
    free_slots: tuple[int, ...] = ()


class Turn(NamedTuple):
    """One process, or the monitor (0), about to do one step; every step by its name."""

    config: Config
    world: World
    me: int
    process: Process

    @property
    def word(self) -> int:
        return self.world.words[self.process.at]

    def then(self, step: str, **registers: object) -> World:
        """Goes on with `step`; registers that are not named are not in use any more."""
        empty = Process(step, self.process.kind, self.process.slot)
        process = empty._replace(**registers)  # type: ignore[arg-type]
        if not self.me:
            return self.world._replace(monitor=process)
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def on(self, **changes: object) -> Turn:
        """After a change of the shared memory."""
        return self._replace(world=self.world._replace(**changes))  # type: ignore[arg-type]

    def store(self, owner: int) -> Turn:
        return self.on(words=replaced(self.world.words, self.process.at, owner))

    def next_word(self, step: str, end: str) -> World:
        """Goes on with the next word, or after the last with `end`."""
        at = self.process.at + 1
        return self.then(step, at=at, fresh=self.process.fresh) if at < self.config.permits else self.finish(end)

    def finish(self, end: str) -> World:
        if end == "over" and self.world.words != (0,) * self.config.permits:
            raise Broken(f"process {self.me} may not release what was acquired")
        return self.then(end, fresh=self.process.fresh and end == "sleep")

    # acquire

    def look(self) -> World:
        return self.next_word("look", "announce") if self.word else self.then("take", at=self.process.at)

    def take(self) -> World:
        """CAS(word, 0, me)."""
        if self.word:
            return self.then("look")
        used = sum(p.kind == "user" and p.step in INSIDE for p in self.world.processes) + self.world.given
        if used >= self.config.permits:
            raise Broken(f"process {self.me} has a permit, and all {used} are in use")
        if self.process.kind == "giver":
            return self.store(self.process.slot).on(given=self.world.given + 1).then("done")
        return self.store(self.process.slot).then("find_any" if self.config.flaw is Flaw.ANY_FIRST else "find_own")

    def announce(self) -> World:
        return self.then("sleep" if self.config.flaw is Flaw.SLEEP_WITHOUT_LOOK else "look_again", fresh=True)

    def look_again(self) -> World:
        return self.next_word("look_again", "sleep") if self.word else self.then("take", at=self.process.at)

    def sleep(self) -> World:
        """futex_wait."""
        asleep = self.process.fresh or self.config.flaw is Flaw.SLEEP_ANYWAY
        return self.then("asleep" if asleep else "announce")

    # release

    def wait_for_giver(self) -> World:
        return (
            self.on(begun=self.world.begun + 1).then("find_own") if self.world.given > self.world.begun else self.world
        )

    def find_own(self) -> World:
        if self.word != self.process.slot:
            return self.next_word("find_own", "find_any")
        return self.then("give", at=self.process.at, seen=self.word)

    def find_any(self) -> World:
        if not self.word:
            return self.next_word("find_any", "over")
        return self.then("give", at=self.process.at, seen=self.word)

    def give(self) -> World:
        """CAS(word, what was seen, 0)."""
        if self.word != self.process.seen and self.config.flaw is not Flaw.RELEASE_BY_STORE:
            return self.then("find_own")
        for_other = self.process.kind == "releaser"
        after = self.store(0).on(given=self.world.given - for_other, begun=self.world.begun - for_other)
        return after.then("notify_one", back="done")

    def notify_one(self) -> list[World]:
        after = self.then(self.process.back, at=self.process.at)
        if self.process.back == "done":
            after = self.then("done")
        processes = tuple(p._replace(fresh=False) if p.fresh else p for p in after.processes)
        asleep = [i for i, p in enumerate(processes) if p.step == "asleep"]
        woken = [replaced(processes, i, processes[i]._replace(step="announce")) for i in asleep]
        return [after._replace(processes=awake) for awake in woken or [processes]]

    def over(self) -> World:
        """All permits are there: nothing to release."""
        raise Broken(f"process {self.me} releases more than was acquired")

    # the monitor

    def begin(self) -> World:
        first = self.config.flaw is Flaw.SLOT_FIRST
        return self.on(free_slots=self._free_slots()).then("find_dead") if first else self.then("find_dead")

    def find_dead(self) -> World:
        if self.config.flaw is Flaw.NOT_FREED:
            return self.then("disturb")
        if self.word == self.world.dead[0]:
            return self.then("free_word", at=self.process.at)
        return self.next_word("find_dead", "free_slot" if self.config.flaw is Flaw.NOT_DISTURBED else "disturb")

    def free_word(self) -> World:
        """CAS(word, dead, 0)."""
        if self.word != self.world.dead[0]:
            return self.then("find_dead", at=self.process.at)
        return self.store(0).then("notify_one", at=self.process.at, back="find_dead")

    def disturb(self) -> World:
        """Everybody who sleeps looks again."""
        after = self.then("free_slot")
        awake = (p._replace(step="announce") if p.step == "asleep" else p for p in after.processes)
        return after._replace(processes=tuple(p._replace(fresh=False) if p.fresh else p for p in awake))

    def free_slot(self) -> World:
        slots = self.world.free_slots if self.config.flaw is Flaw.SLOT_FIRST else self._free_slots()
        return self.on(free_slots=slots, dead=self.world.dead[1:]).then("begin")

    def _free_slots(self) -> tuple[int, ...]:
        return (*self.world.free_slots, self.world.dead[0])

    def inherit(self) -> World:
        """Joins in a slot that was freed, once there is one."""
        if not self.world.free_slots:
            return self.world
        slot, *rest = self.world.free_slots
        after = self.on(free_slots=tuple(rest))
        return after._replace(process=self.process._replace(slot=slot)).then("look")


INSIDE = ("find_own", "find_any", "give", "over")


class PermitModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        config = self.config
        kinds = ["user"] * config.users + ["giver"] * config.givers + ["releaser"] * config.givers
        first = {"releaser": "wait_for_giver"}
        processes = [Process(first.get(kind, "look"), kind, slot) for slot, kind in enumerate(kinds, 1)]
        processes += [Process("inherit")] * config.heirs
        return World((0,) * config.permits, tuple(processes), config.kills, config.monitor_kills)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step not in ("dead", "done", "asleep"):
                yield from self._step(Turn(self.config, world, me, process), str(me))
        if world.dead:
            yield from self._step(Turn(self.config, world, 0, world.monitor), "monitor")

    @staticmethod
    def _step(turn: Turn, who: str) -> Iterator[tuple[str, World]]:
        after = getattr(turn, turn.process.step)()
        for world in after if isinstance(after, list) else [after]:
            yield f"{who}.{turn.process.step}", world

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        for index, process in enumerate(world.processes if world.kills else ()):
            mortal = not self.config.mortal or index + 1 in self.config.mortal
            if not mortal or process.kind != "user" or process.step in ("dead", "done", "inherit"):
                continue
            processes = replaced(world.processes, index, Process("dead", slot=process.slot))
            after = world._replace(processes=processes, kills=world.kills - 1, dead=(*world.dead, process.slot))
            yield f"kill {index + 1}", after
        if world.monitor_kills and world.monitor.step != "begin":
            monitor = Process("begin", "monitor")
            yield "kill monitor", world._replace(monitor=monitor, monitor_kills=world.monitor_kills - 1)

    def finished(self, world: World) -> bool:
        """All have released what they had: then all permits are there."""
        if world.dead or any(p.step not in ("done", "dead", "inherit") for p in world.processes):
            return False
        if any(world.words):
            raise Broken(f"a permit is lost: {world.words}")
        return True

    def hopeful(self, world: World) -> bool:
        """Nobody waits for ever."""
        return True
