"""The ring of native/include/allcores/ring.hpp as a model: one ring, a chain of them, or a pool on two.

    put: load_tail  see_free  CLAIM   help_tail  write     COMMIT  [clear]  PUBLISH
              cell  FREE ───▶ WRITING ─────────────────▶ COMMITTING ─────▶ READY
    get: load_head  see_ready TAKE    help_head  copy_out  [name]  FREE
              cell  READY ──▶ READING ───────────────────────────▶ FREE of the next turn

    chain: a producer that finds its ring full CLOSEs its tail, LINKs a bigger ring and moves on; a consumer
    SEALs the one cell that can still be claimed, sees that every other is given back, and moves on too.
    pool: workers get from ring 0 and put into ring 1; `running` has the task that a worker has taken, from
    [name] to [clear].

Every step is one atomic access, in a sequentially consistent order, except that loads of what nobody else
can change (the cells of the dead) are one step with what follows. Any process may be killed between two
steps; the monitor (recovery.py) recovers the dead, cell by cell, while all others go on, and may itself die
and start again. Not in here: weaker memory orders, and when the memory of a drained ring may be used again;
sleepers and wake-ups are in parking.py, the blocks of messages in blocks.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar

from .explore import Broken

FREE, WRITING, COMMITTING, READY = "FREE", "WRITING", "COMMITTING", "READY"
READING, TOMB, SEALED = "READING", "TOMB", "SEALED"

Message = tuple[str, int]
GARBAGE: Message = ("garbage", 0)  # in a slot from its claim to its write; in a register that is not in use
NOWHERE = -1  # no position
Item = TypeVar("Item")


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    CLAIM_BY_TAIL = auto()  # Vyukov's way: advance tail, then mark the cell
    TOMB_COMMITTING = auto()  # recovery gives up what was whole
    FREE_READING = auto()  # recovery gives up what was being read
    HEAD_STAYS = auto()  # put back, but consumers have gone past it
    NO_VERSION = auto()  # a stale help_head skips what was put back
    VERSION_ONLY_IF_LOWERED = auto()  # the same, where head is exactly at the cell
    PUT_BACK_ONLY_OWN = auto()  # a second monitor does not see what the first had put back
    FREE_BEFORE_COPY = auto()  # the next producer overwrites what is not copied out yet
    NO_SEAL = auto()  # a late producer puts into a ring that nobody reads any more
    RETIRE_WITH_READERS = auto()  # a reader dies in a ring that nobody reads any more
    PUT_BACK_BEFORE_CLEAR = auto()  # a task is in the ring, and named as running too
    COMMITTING_STAYS_NAMED = auto()  # a result is there, and its task named as running
    CLEAR_BEFORE_COMMIT = auto()  # neither a result nor a name
    CLEAR_AFTER_PUBLISH = auto()  # both a result and a name


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    capacities: tuple[int, ...]  # of the ring; of the rings of the chain; of the pool's task and result ring
    producers: tuple[int, ...] = ()  # how many messages each of them puts
    consumers: int = 0
    heirs: int = 0  # consumers that start when another has died and been recovered
    workers: int = 0  # makes it a pool, with one collector of results that never dies
    loaded: int = 0  # what the first ring starts with: a pool's tasks, or messages of the first producer
    kills: int = 0  # processes that die, at any step
    mortal: tuple[int, ...] = ()  # the processes that can, if not all
    monitor_kills: int = 0  # times that the monitor does
    in_order: bool = False  # whether each producer's messages have to arrive in order
    flaw: Flaw | None = None

    @cached_property
    def chained(self) -> bool:
        """Whether the rings are a chain."""
        return not self.workers and len(self.capacities) > 1

    @cached_property
    def following(self) -> dict[str, str]:
        """The straight way through put and get: which step comes after which; the last ones lead to `end`."""
        put, get = "see_free claim help_tail write commit publish", "see_ready take help_head copy_out free"
        if self.workers:
            put, get = put.replace("publish", "clear publish"), get.replace("free", "name free")
        match self.flaw:
            case Flaw.CLAIM_BY_TAIL:
                put = "see_free grab_tail claim write commit publish"
            case Flaw.FREE_BEFORE_COPY:
                get = "see_ready take help_head free copy_out"
            case Flaw.CLEAR_BEFORE_COMMIT:
                put = put.replace("commit clear", "clear commit")
            case Flaw.CLEAR_AFTER_PUBLISH:
                put = put.replace("clear publish", "publish clear")
        ways = (f"{put} end_put".split(), f"{get} end_get".split())
        return {step: after for way in ways for step, after in pairwise(way)}


class Word(NamedTuple):
    """A cell's word."""

    turn: int
    state: str
    owner: int = 0  # nobody


class Ring(NamedTuple):
    """A ring: its cells, and the two hints where to look."""

    words: tuple[Word, ...]
    slots: tuple[Message, ...]
    version: int = 0  # in one word with head
    head: int = 0
    tail: int = 0
    closed: bool = False  # in one word with tail
    linked: bool = False  # ring.next is the next one of World.rings, else none

    def stored(self, cell: int, word: Word, slot: Message | None = None) -> Ring:
        """The ring with one cell changed."""
        slots = self.slots if slot is None else replaced(self.slots, cell, slot)
        return self._replace(words=replaced(self.words, cell, word), slots=slots)


class Process(NamedTuple):
    """A process: the step it does next, and its registers."""

    step: str
    todo: tuple[Message, ...] = ()  # what it has yet to put
    ring: int = 0
    position: int = 0
    version: int = 0
    walk: int = 0  # the cell that `drained` looks at
    item: Message = GARBAGE  # copied out


class Monitor(NamedTuple):
    """The monitor, likewise."""

    step: str = "begin"
    ring: int = 0
    cell: int = 0
    lowest: int = NOWHERE  # the position that head has to go back to
    version: int = 0
    head: int = 0


class World(NamedTuple):
    """All shared memory, all processes, and what the outside has seen."""

    rings: tuple[Ring, ...]
    processes: tuple[Process, ...]
    running: tuple[Message, ...]  # of each process
    kills: int = 0  # that may still happen
    monitor_kills: int = 0
    monitor: Monitor = Monitor()
    first: int = 0  # queue.first and queue.last, as numbers of rings
    last: int = 0
    dead: tuple[int, ...] = ()  # to be recovered, in this order
    delivered: frozenset[Message] = frozenset()
    died: frozenset[Message] = frozenset()  # tasks reported as died with their worker


def replaced(items: tuple[Item, ...], index: int, item: Item) -> tuple[Item, ...]:
    """The tuple with one item replaced."""
    return (*items[:index], item, *items[index + 1 :])


def putting(config: Config, todo: tuple[Message, ...]) -> Process:
    """A process at the start of a put; a producer that has put everything is done."""
    step = "done" if not todo else "load_last" if config.chained else "load_tail"
    return Process(step, todo, ring=int(config.workers > 0))


def getting(config: Config, me: int) -> Process:
    """A process at the start of a get; all of a pool but the workers get from the result ring."""
    step = "load_first" if config.chained else "load_head"
    return Process(step, ring=int(0 < config.workers < me))


class Turn(NamedTuple):
    """One process about to do one step: all it may look at, the ways to go on, and every step by its name."""

    config: Config
    world: World
    me: int  # processes and owners count from 1
    process: Process
    ring: Ring
    cell: int  # of process.position
    turn: int
    word: Word

    def become(self, process: Process, ring: Ring | None = None) -> World:
        """Goes on with other registers, the ring changed as given."""
        processes = replaced(self.world.processes, self.me - 1, process)
        if ring is None:
            return self.world._replace(processes=processes)
        rings = replaced(self.world.rings, self.process.ring, ring)
        return self.world._replace(processes=processes, rings=rings)

    def then(self, step: str, ring: Ring | None = None) -> World:
        """Goes on with `step`, the ring changed as given."""
        return self.become(self.process._replace(step=step), ring)

    def on(self, ring: Ring | None = None) -> World:
        """Goes straight on with this put or get, the ring changed as given."""
        step = self.config.following[self.process.step]
        if step == "end_get":
            return self.deliver(ring)
        if step == "end_put":
            return self.get(ring) if self.config.workers else self.put(self.process.todo[1:], ring)
        return self.then(step, ring)

    def put(self, todo: tuple[Message, ...], ring: Ring | None = None) -> World:
        """Goes on with a put, for the first time or again."""
        return self.become(putting(self.config, todo), ring)

    def get(self, ring: Ring | None = None) -> World:
        """Goes on with a get, for the first time or again."""
        return self.become(getting(self.config, self.me), ring)

    def deliver(self, ring: Ring | None = None) -> World:
        """Goes on with the item in user code."""
        kind, number = item = self.process.item
        if item == GARBAGE or item in self.world.delivered:
            raise Broken(f"process {self.me} got {item}, which is garbage or delivered before")
        if self.config.in_order and any(kind == k and number < n for k, n in self.world.delivered):
            raise Broken(f"process {self.me} got {item} out of order")
        after = self._replace(world=self.world._replace(delivered=self.world.delivered | {item}))
        return after.put((("result", number),), ring) if kind == "task" else after.get(ring)

    def stored(self, state: str, slot: Message | None = None) -> Ring:
        """The ring with this cell in another state: FREE is the next turn's; what is in my hands names me."""
        owner = self.me if state in (WRITING, COMMITTING, READING) else 0
        return self.ring.stored(self.cell, Word(self.turn + (state == FREE), state, owner), slot)

    def tail_on(self) -> Ring:
        """CAS(tail, p, p + 1): fails if it is further on, or CLOSED."""
        stale = self.ring.closed or self.ring.tail != self.process.position
        return self.ring if stale else self.ring._replace(tail=self.ring.tail + 1)

    def head_on(self) -> Ring:
        """CAS(head, (v, h), (v, h + 1))."""
        stale = (self.ring.version, self.ring.head) != (self.process.version, self.process.position)
        return self.ring if stale else self.ring._replace(head=self.ring.head + 1)

    # put

    def load_last(self) -> World:
        return self.become(self.process._replace(step="load_tail", ring=self.world.last))

    def load_tail(self) -> World:
        if self.ring.closed:
            return self.then("see_next")
        return self.become(self.process._replace(step="see_free", position=self.ring.tail))

    def see_free(self) -> World:
        if self.word == (self.turn, FREE, 0):
            return self.on()
        if self.word.turn >= self.turn:
            return self.then("pass_tail")
        grows = self.config.chained and self.process.ring + 1 < len(self.world.rings)
        return self.then("close") if grows else self.put(self.process.todo)

    def grab_tail(self) -> World:  # only in the flaw
        ring = self.tail_on()
        return self.put(self.process.todo) if ring is self.ring else self.on(ring)

    def claim(self) -> World:
        if self.word != (self.turn, FREE, 0):
            return self.put(self.process.todo)
        return self.on(self.stored(WRITING, GARBAGE))

    def help_tail(self) -> World:
        return self.on(self.tail_on())

    def pass_tail(self) -> World:
        return self.put(self.process.todo, self.tail_on())

    def write(self) -> World:
        return self.on(self.ring.stored(self.cell, self.word, self.process.todo[0]))

    def commit(self) -> World:
        return self.on(self.stored(COMMITTING))

    def clear(self) -> World:
        running = replaced(self.world.running, self.me - 1, GARBAGE)
        return self._replace(world=self.world._replace(running=running)).on()

    def publish(self) -> World:
        return self.on(self.stored(READY))

    # put, on to the next ring

    def close(self) -> World:
        if self.ring.closed or self.ring.tail != self.process.position:
            return self.put(self.process.todo)
        return self.then("see_next", self.ring._replace(closed=True))

    def see_next(self) -> World:
        return self.then("move_last" if self.ring.linked else "link")

    def link(self) -> World:  # CAS(ring.next, none, new): who comes second gives its new ring back
        return self.then("move_last", self.ring._replace(linked=True))

    def move_last(self) -> World:
        here = self.process.ring
        last = here + 1 if self.world.last == here else self.world.last
        after = self._replace(world=self.world._replace(last=last))
        return after.become(Process("load_tail", self.process.todo, ring=here + 1))

    # get

    def load_first(self) -> World:
        return self.become(self.process._replace(step="load_head", ring=self.world.first))

    def load_head(self) -> World:
        at = self.process._replace(step="see_ready", position=self.ring.head, version=self.ring.version)
        return self.become(at)

    def see_ready(self) -> World:
        if self.word == (self.turn, READY, 0):
            return self.on()
        if self.word == (self.turn, TOMB, 0):
            return self.then("sweep")
        if self.word.turn > self.turn or self.word[:2] == (self.turn, READING):
            return self.then("pass_head")
        return self.then("see_closed") if self.config.chained else self.get()

    def take(self) -> World:
        if self.word != (self.turn, READY, 0):
            return self.get()
        return self.on(self.stored(READING))

    def help_head(self) -> World:
        after = self._replace(process=self.process._replace(version=0))
        return after.on(self.head_on())

    def pass_head(self) -> World:
        return self.get(self.head_on())

    def sweep(self) -> World:
        return self.then("pass_head", self.stored(FREE) if self.word == (self.turn, TOMB, 0) else None)

    def copy_out(self) -> World:
        after = self._replace(process=self.process._replace(item=self.ring.slots[self.cell]))
        return after.on()

    def name(self) -> World:
        if self.process.item[0] != "task":
            return self.on()
        running = replaced(self.world.running, self.me - 1, self.process.item)
        return self._replace(world=self.world._replace(running=running)).on()

    def free(self) -> World:
        return self.on(self.stored(FREE))

    # get, on to the next ring

    def see_closed(self) -> World:
        if not self.ring.closed or self.process.position < self.ring.tail:
            return self.get()
        step = "drained" if self.config.flaw is Flaw.NO_SEAL else "seal"
        return self.become(self.process._replace(step=step, position=self.ring.tail, version=0))

    def seal(self) -> World:
        free = self.word == (self.turn, FREE, 0)
        return self.then("drained", self.ring.stored(self.cell, Word(self.turn, SEALED)) if free else None)

    def drained(self) -> World:
        """Looks at one cell: is it given back for ever? Only the position of the close can be claimed yet."""
        walk, words, flaw = self.process.walk, self.ring.words, self.config.flaw
        claimable = walk + len(words) * words[walk].turn < self.process.position + (flaw is not Flaw.NO_SEAL)
        given_back = words[walk].state == SEALED or (words[walk].state == FREE and not claimable)
        if not given_back and not (flaw is Flaw.RETIRE_WITH_READERS and walk != self.cell):
            return self.get()
        step = "drained" if walk + 1 < len(words) else "follow"
        return self.become(self.process._replace(step=step, walk=walk + 1))

    def follow(self) -> World:
        return self.then("move_first") if self.ring.linked else self.get()

    def move_first(self) -> World:
        here = self.process.ring
        first = here + 1 if self.world.first == here else self.world.first
        return self._replace(world=self.world._replace(first=first)).get()

    def inherit(self) -> World:
        """An heir starts when a consumer has died and nobody is left to be recovered."""
        consumers = self.world.processes[len(self.config.producers) :]
        died = any(consumer.step == "dead" for consumer in consumers)
        return self.get() if died and not self.world.dead else self.world
