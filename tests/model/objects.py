"""Shared objects, object.hpp and recover.hpp of native/include/allcores as a model: one ends with its last holder.

    let_go:    look  clear_hold  is_held  claim  end          claim = CAS(block's word, what was seen, CLAIMED(me))
    is_held:   see_pins  see_holders x2  see_pins_again       the holders' bits are in two words here, odd and even
    send:      pin  send  let_go                  receive:  receive  hold  unpin  let_go
    recover:   for each object: look  claim  f  is_held  [give_claim_back  is_held  claim]  end
               twice: f is its own recovery, then clear_hold of the dead; between them the blocks of the dead are freed

There is one block. Once it is free, others may make another object of it, in the same place: a word names one use of
the block. A handle in a message is a pin, and so it stays when its sender or receiver dies: that is no fault here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from .explore import Broken
from .ring import replaced

FREE, OWNED, OBJECT, CLAIMED = "FREE", "OWNED", "OBJECT", "CLAIMED"
MONITOR = 100  # the slot of the first monitor; its successor has the next


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    NO_CLAIM = auto()  # two who let go both find that nobody holds it
    LOOK_AFTER_CLEAR = auto()  # what it sees may be the next object in this place
    NO_USES = auto()  # the next object in this place looks like the last
    HELD_BEFORE_CLEAR = auto()  # two who let go see each other, and nobody ends it
    PINS_SEEN_ONCE = auto()  # a handle moves from the message to a holder between the two looks
    PINS_NOT_COUNTED = auto()  # one was sent and received between the two looks
    UNPIN_BEFORE_HOLD = auto()  # for a moment nobody has it
    PIN_AFTER_SEND = auto()  # it is received, and let go, before
    CLAIM_AS_SEEN = auto()  # recovery had it when it looked, and has given it back since
    CLAIM_STAYS = auto()  # who was ending it has died
    NO_LOOK_AFTER_CLAIM = auto()  # who let go while recovery had the claim did not end it
    UNCLAIMED_RECOVERY = auto()  # recovery writes into the next object in this place
    HOLD_STAYS = auto()  # the dead hold it for ever


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    holders: int = 0  # hold the object, and let go
    senders: int = 0  # hold it, send a handle, and let go
    receivers: int = 0  # receive one, hold the object, and let go
    makers: int = 0  # make an object of the block when it is free, and let go
    kills: int = 0
    monitor_kills: int = 0
    flaw: Flaw | None = None


class Word(NamedTuple):
    """The block's word."""

    state: str
    owner: int = 0
    use: int = 0  # how often it was given back


class Pins(NamedTuple):
    """An object's pins."""

    left: int = 0
    raised: int = 0


class Process(NamedTuple):
    """A process, or the monitor: the step it does next, and its registers."""

    step: str
    kind: str = "holder"
    has: bool = False  # it relies on the object: until it lets go
    pins: int = 0  # in its hands
    seen: Word = Word(FREE)
    use: int = 0  # of the object that it means
    odd: bool = False  # which word is_held looks at
    before: Pins = Pins()
    back: str = ""  # the steps after is_held: held, and not held
    second: bool = False  # the monitor's second round


class World(NamedTuple):
    """All shared memory, all processes."""

    word: Word
    holds: tuple[bool, ...]  # of each process
    processes: tuple[Process, ...]
    kills: int
    monitor_kills: int
    pins: Pins = Pins()
    messages: int = 0  # with a handle
    monitor: Process = Process("begin", "monitor")
    monitors: int = 0  # that have died
    dead: tuple[int, ...] = ()
    lost: int = 0  # pins of the dead


def first_step(config: Config) -> str:
    """Of let_go."""
    return "clear_hold" if config.flaw is Flaw.LOOK_AFTER_CLEAR else "look"


class Turn(NamedTuple):
    """One process, or the monitor (0), about to do one step; every step by its name."""

    config: Config
    world: World
    me: int
    process: Process

    @property
    def let_go(self) -> str:
        """Its first step."""
        return first_step(self.config)

    @property
    def slot(self) -> int:
        return self.me or MONITOR + self.world.monitors

    def then(self, step: str, **registers: object) -> World:
        """Goes on with `step`."""
        process = self.process._replace(step=step, **registers)  # type: ignore[arg-type]
        if not self.me:
            return self.world._replace(monitor=process)
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def on(self, **changes: object) -> Turn:
        """After a change of the shared memory."""
        return self._replace(world=self.world._replace(**changes))  # type: ignore[arg-type]

    def done(self) -> World:
        if not self.me:
            return self.next_round()
        empty = {"seen": Word(FREE), "use": 0, "odd": False, "before": Pins(), "back": ""}
        return self.then("done", has=False, **empty)

    # let_go

    def look(self) -> World:
        """The word as it was before this process lets go: it names this use of the block."""
        if not self.me:
            return self.look_for_recovery()
        word = self.world.word
        seen = word if self.config.flaw is Flaw.CLAIM_AS_SEEN else Word(OBJECT, 0, word.use)
        at_once = self.config.flaw in (Flaw.HELD_BEFORE_CLEAR, Flaw.LOOK_AFTER_CLEAR)
        return self.then("see_pins" if at_once else "clear_hold", seen=seen, back="claim done")

    def clear_hold(self) -> World:
        """From here on another may end it."""
        after = self.on(holds=replaced(self.world.holds, self.me - 1, False))
        step = "look" if self.config.flaw is Flaw.LOOK_AFTER_CLEAR else "see_pins"
        if self.config.flaw is Flaw.HELD_BEFORE_CLEAR:
            step = "claim" if self.process.back == "claim" else "end_without"
        return after.then(step, has=False)

    def end_without(self) -> World:  # only in the flaw
        return self.done()

    def see_pins(self) -> World:
        if self.world.pins.left:
            return self.held()
        return self.then("see_holders", before=self.world.pins)

    def see_holders(self) -> World:
        """One word of bits; a flaw leaves out its own."""
        odd = self.process.odd
        own = self.me if self.config.flaw is Flaw.HELD_BEFORE_CLEAR else 0
        if any(held for slot, held in enumerate(self.world.holds, 1) if slot % 2 == odd and slot != own):
            return self.held()
        if not odd:
            return self.then("see_holders", odd=True)
        after = self._replace(process=self.process._replace(odd=False))
        return after.not_held() if self.config.flaw is Flaw.PINS_SEEN_ONCE else after.then("see_pins_again")

    def see_pins_again(self) -> World:
        before, pins = self.process.before, self.world.pins
        same = pins.left == before.left if self.config.flaw is Flaw.PINS_NOT_COUNTED else pins == before
        return self.not_held() if same else self.then("see_pins")

    def held(self) -> World:
        after = self._replace(process=self.process._replace(odd=False, before=Pins()))
        step = self.process.back.split()[1]
        if self.config.flaw is Flaw.HELD_BEFORE_CLEAR and self.me:
            return after.then("clear_hold", back="done")
        return after.done() if step == "done" else after.then(step)

    def not_held(self) -> World:
        if self.config.flaw is Flaw.HELD_BEFORE_CLEAR and self.me:
            return self.then("clear_hold", before=Pins(), back="claim")
        return self.then(self.process.back.split()[0], before=Pins(), back="")

    def claim(self) -> World:
        """CAS(word, what was seen, CLAIMED(me)): exactly one has it, and only in the use that was seen."""
        word, seen = self.world.word, self.process.seen
        if self.config.flaw is Flaw.NO_CLAIM and self.me:
            return self.then("end")
        expected = Word(OBJECT, 0, seen.use)
        if seen.state == CLAIMED and self.is_dead(seen.owner) and self.config.flaw is not Flaw.CLAIM_STAYS:
            expected = seen
        if word != expected:
            return self.done()
        return self.on(word=Word(CLAIMED, self.slot, seen.use)).then("end")

    def is_dead(self, slot: int) -> bool:
        if slot >= MONITOR:
            return slot != MONITOR + self.world.monitors
        return self.world.processes[slot - 1].step == "dead"

    def end(self) -> World:
        """end_object: gives the block back."""
        if self.process.seen.use != self.world.word.use and self.config.flaw is not Flaw.NO_USES:
            raise Broken(f"process {self.me} ends the object a second time")
        if users := [i for i, p in enumerate(self.world.processes, 1) if p.has]:
            raise Broken(f"process {self.me} ends the object that {users} have")
        if self.world.messages:
            raise Broken(f"process {self.me} ends the object that is in a message")
        use = self.world.word.use + (self.config.flaw is not Flaw.NO_USES)
        return self.on(word=Word(FREE, 0, use), lost=0).done()

    # a handle in a message

    def pin(self) -> World:
        pins = Pins(self.world.pins.left + 1, self.world.pins.raised + 1)
        early = self.config.flaw is Flaw.PIN_AFTER_SEND
        return self.on(pins=pins).then(self.let_go if early else "send", pins=0 if early else 1)

    def send(self) -> World:
        early = self.config.flaw is Flaw.PIN_AFTER_SEND
        return self.on(messages=self.world.messages + 1).then("pin" if early else self.let_go, pins=0)

    def receive(self) -> World:
        if not self.world.messages:
            return self.world
        early = self.config.flaw is Flaw.UNPIN_BEFORE_HOLD
        return self.on(messages=self.world.messages - 1).then("unpin" if early else "hold", pins=1, has=True)

    def hold(self) -> World:
        early = self.config.flaw is Flaw.UNPIN_BEFORE_HOLD
        return self.on(holds=replaced(self.world.holds, self.me - 1, True)).then(self.let_go if early else "unpin")

    def unpin(self) -> World:
        early = self.config.flaw is Flaw.UNPIN_BEFORE_HOLD
        pins = self.world.pins._replace(left=self.world.pins.left - 1)
        return self.on(pins=pins).then("hold" if early else self.let_go, pins=0)

    # another object in the same place

    def make(self) -> World:
        """reserve: CAS(word, FREE, OWNED(me))."""
        word = self.world.word
        if word.state != FREE:
            return self.world
        return self.on(word=Word(OWNED, self.me, word.use)).then("wipe")

    def wipe(self) -> World:
        """What was in the block before is nobody's."""
        return self.on(pins=Pins(), holds=(False,) * len(self.world.holds)).then("hold_new", has=True)

    def hold_new(self) -> World:
        return self.on(holds=replaced(self.world.holds, self.me - 1, True)).then("become_object")

    def become_object(self) -> World:
        return self.on(word=self.world.word._replace(state=OBJECT, owner=0)).then(self.let_go)

    # the monitor

    def begin(self) -> World:
        return self.then("look", second=False)

    def look_for_recovery(self) -> World:
        word = self.world.word
        if word.state not in (OBJECT, CLAIMED):
            return self.next_round()
        unclaimed = self.config.flaw is Flaw.UNCLAIMED_RECOVERY
        return self.then("f" if unclaimed else "claim_first", seen=word, back="end give_claim_back")

    def claim_first(self) -> World:
        after = self._replace(process=self.process._replace(step="claim")).claim()
        claimed = after.word.owner == self.slot and after.word.state == CLAIMED
        step = "see_pins" if self.config.flaw is Flaw.UNCLAIMED_RECOVERY else "f"
        return after._replace(monitor=after.monitor._replace(step=step)) if claimed else after

    def f(self) -> World:
        """What recovery does with each object: in the second round it clears the hold of the dead."""
        dead, holds = self.world.dead[0], self.world.holds
        if self.world.word.use != self.process.seen.use:
            raise Broken("recovery writes into another object than it means")
        clears = self.process.second and self.config.flaw is not Flaw.HOLD_STAYS
        after = self.on(holds=replaced(holds, dead - 1, False)) if clears else self
        return after.then("claim_first" if self.config.flaw is Flaw.UNCLAIMED_RECOVERY else "see_pins")

    def give_claim_back(self) -> World:
        after = self.on(word=self.world.word._replace(state=OBJECT, owner=0))
        if self.config.flaw is Flaw.NO_LOOK_AFTER_CLAIM:
            return after.done()
        seen = Word(OBJECT, 0, self.process.seen.use)
        return after.then("see_pins", seen=seen, back="claim done")

    def next_round(self) -> World:
        """The blocks of the dead; then once more, to clear the hold."""
        return self.then(
            "release" if self.process.second else "arena", seen=Word(FREE), odd=False, before=Pins(), back=""
        )

    def arena(self) -> World:
        owned = self.world.word[:2] == (OWNED, self.world.dead[0])
        word = Word(FREE, 0, self.world.word.use + 1) if owned else self.world.word
        return self.on(word=word).then("look", second=True)

    def release(self) -> World:
        return self.world._replace(dead=self.world.dead[1:], monitor=Process("begin", "monitor"))


class ObjectModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        config = self.config
        send = "send" if config.flaw is Flaw.PIN_AFTER_SEND else "pin"
        processes = [Process(first_step(config), has=True)] * config.holders + [
            Process(send, has=True)
        ] * config.senders
        holds = (True,) * len(processes) + (False,) * (config.receivers + config.makers)
        processes += [Process("receive")] * config.receivers + [Process("make", "maker")] * config.makers
        return World(Word(OBJECT), holds, tuple(processes), config.kills, config.monitor_kills)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step not in ("dead", "done"):
                yield f"{me}.{process.step}", getattr(Turn(self.config, world, me, process), process.step)()
        if world.dead:
            step = world.monitor.step
            yield f"monitor.{step}", getattr(Turn(self.config, world, 0, world.monitor), step)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        for index, process in enumerate(world.processes if world.kills else ()):
            if process.step in ("dead", "done", "make", "receive"):
                continue
            after = world._replace(
                processes=replaced(world.processes, index, Process("dead")),
                kills=world.kills - 1,
                dead=(*world.dead, index + 1),
                lost=world.lost + process.pins,
            )
            yield f"kill {index + 1}", after
        if world.monitor_kills and world.monitor.step != "begin":
            monitor = Process("begin", "monitor")
            after = world._replace(monitor=monitor, monitors=world.monitors + 1)
            yield "kill monitor", after._replace(monitor_kills=world.monitor_kills - 1)

    def finished(self, world: World) -> bool:
        """All have let go: then the object has ended, unless a pin is left."""
        if world.dead or any(p.step not in ("dead", "done", "make", "receive") for p in world.processes):
            return False
        if world.messages and any(p.step == "receive" for p in world.processes):
            return False
        if world.word.state != FREE and not world.messages and not world.lost:
            raise Broken("nobody has the object, and it has not ended")
        return world.word.state != FREE or all(p.step != "make" for p in world.processes)

    def hopeful(self, world: World) -> bool:
        """Everybody comes to an end."""
        return True
