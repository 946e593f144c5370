"""How blocks travel, arena.hpp and ring.hpp of native/include/allcores as a model: each has one owner or is on its way.

    put:  reserve x2  fill  claim  commit  hand_over x2   publish      cell FREE -> WRITING -> COMMITTING -> READY
              block   OWNED(sender) ───▶ IN_FLIGHT
    get:  take  accept x2  free  use  give_back x2                     cell READY -> READING -> FREE
              block   IN_FLIGHT ───▶ OWNED(receiver) ───▶ FREE

    trim: claim  punch  release                                        (trim.hpp)
              block   FREE, warm ───▶ OWNED(trimmer), generation + 1 ───▶ FREE, cold

    recover(dead): each cell: WRITING    -> TOMB                   each block: OWNED(dead) -> FREE
                              COMMITTING -> hand_over x2 -> READY
                              READING    -> put_back x2  -> READY  then the slot may be used again

A message has two blocks: its root is in the cell, the other is named in the root, so it has to be read from there. The
ring is less than it is: cells without an order (ring.py has it in full). Setting a block's word is one step: only one
process at a time may do it, which is what is checked. An heir has the slot of one that has died. Everybody has mapped
the pages of every block's first generation, and asks for those of a later one before it fills the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import pairwise
from typing import NamedTuple

from .explore import Broken
from .ring import replaced

FREE, OWNED, IN_FLIGHT = "FREE", "OWNED", "IN_FLIGHT"
WRITING, COMMITTING, READY, READING, TOMB = "WRITING", "COMMITTING", "READY", "READING", "TOMB"
NONE = -1  # no block


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    HAND_OVER_BEFORE_COMMIT = auto()  # the dead sender's message is given up, and nobody owns its blocks
    HAND_OVER_AFTER_PUBLISH = auto()  # the receiver has them already
    ACCEPT_AFTER_FREE = auto()  # the receiver dies, and nobody owns the blocks
    ROOT_FIRST = auto()  # gives the root back, and then reads in it which the other block is
    ARENA_FIRST = auto()  # recovery frees what the rings say is on its way
    FINISH_BLOCKS_STAY = auto()  # recovery publishes, and then frees what it published
    PUT_BACK_BLOCKS_STAY = auto()  # likewise with what was being read
    PUT_BACK_LATE = auto()  # the next receiver has the blocks already
    SLOT_FIRST = auto()  # what an heir owns is freed for the dead
    ONLY_IF_HELD = auto()  # who reports a death puts into a ring that it does not hold: nobody settles its cell
    NOT_FREED = auto()  # recovery forgets what the dead owned
    TRIM_UNCLAIMED = auto()  # a block that was seen free is another's by the time that its memory goes
    TRIM_RENEWS_LATE = auto()  # the dead trimmer had not said that the pages may be gone, and they are counted on


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    senders: int = 1  # each sends one message
    receivers: int = 1
    trimmers: int = 0  # each gives the memory of one block back
    heirs: int = 0  # senders that start in the slot of the first that has died
    cells: int = 1
    blocks: int = 2
    kills: int = 0
    monitor_kills: int = 0
    flaw: Flaw | None = None

    @property
    def following(self) -> dict[str, str]:
        """The straight way through put and get: which step comes after which."""
        put = "reserve fill claim commit hand_over publish done"
        get = "take accept free use give_back take"
        match self.flaw:
            case Flaw.HAND_OVER_BEFORE_COMMIT:
                put = put.replace("commit hand_over", "hand_over commit")
            case Flaw.HAND_OVER_AFTER_PUBLISH:
                put = put.replace("hand_over publish", "publish hand_over")
            case Flaw.ACCEPT_AFTER_FREE:
                get = get.replace("accept free", "free accept")
        ways = (put, get, "trim punch release done")
        return {step: after for way in ways for step, after in pairwise(way.split())}


class Block(NamedTuple):
    """A block's word, and what is in the block."""

    state: str = FREE
    owner: int = 0
    message: int = 0  # which message's bytes these are
    other: int = NONE  # in a root: the other block
    generation: int = 0
    backed: bool = True  # there is memory


class Cell(NamedTuple):
    """A cell's word, and the message in it."""

    state: str = FREE
    owner: int = 0
    root: int = NONE
    message: int = 0


class Process(NamedTuple):
    """A process: the step it does next, and its registers."""

    step: str
    slot: int = 0
    cell: int = NONE
    root: int = NONE
    other: int = NONE
    message: int = 0  # the one that it got
    second: bool = False  # the root's turn in hand_over, accept and give_back


class Monitor(NamedTuple):
    """The monitor, likewise."""

    step: str = "begin"
    at: int = 0  # the cell, then the block
    second: bool = False


class World(NamedTuple):
    """All shared memory, all processes."""

    blocks: tuple[Block, ...]
    cells: tuple[Cell, ...]
    processes: tuple[Process, ...]
    kills: int
    monitor_kills: int
    monitor: Monitor = Monitor()
    dead: tuple[int, ...] = ()  # slots to be recovered
    free_slots: tuple[int, ...] = ()

    def set(self, block: int, state: str, owner: int = 0) -> World:
        """Another state of a block's word."""
        word = self.blocks[block]._replace(state=state, owner=owner)
        return self._replace(blocks=replaced(self.blocks, block, word))

    def renew(self, block: int) -> World:
        """Another generation of its pages."""
        word = self.blocks[block]
        return self._replace(blocks=replaced(self.blocks, block, word._replace(generation=word.generation + 1)))

    def put(self, index: int, cell: Cell) -> World:
        return self._replace(cells=replaced(self.cells, index, cell))


class Turn(NamedTuple):
    """One process about to do one step: the ways to go on, and every step by its name."""

    config: Config
    world: World
    me: int  # also the number of the message that it sends
    process: Process

    def become(self, process: Process) -> World:
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def on(self, world: World, **registers: object) -> World:
        """Goes on with the next step after `world`."""
        step = self.config.following[self.process.step]
        if step in ("done", "take"):
            process = Process(step, self.process.slot)
        else:
            process = self.process._replace(step=step, **{"second": False, **registers})  # type: ignore[arg-type]
        return self._replace(world=world).become(process)

    def each(self, state: str, owner: int = 0) -> World:
        """Sets one of the two blocks, the root last."""
        if self.process.second:
            return self.on(self.world.set(self.process.root, state, owner))
        other = self.world.blocks[self.process.root].other
        after = self.world.set(other, state, owner)
        return self._replace(world=after).become(self.process._replace(other=other, second=True))

    def owned(self, block: int) -> None:
        word = self.world.blocks[block]
        if (word.state, word.owner) != (OWNED, self.process.slot):
            raise Broken(f"process {self.me} uses block {block}, which is {word.state} of {word.owner}")

    # put

    def reserve(self) -> list[World]:
        """CAS(word, FREE, OWNED(me)), twice; with no block left it does without the message."""
        free = [i for i, block in enumerate(self.world.blocks) if block.state == FREE]
        ways = []
        for i in free:
            after = self.world.set(i, OWNED, self.process.slot)
            if self.process.root == NONE:
                ways.append(self._replace(world=after).become(self.process._replace(root=i)))
            else:
                ways.append(self.on(after, other=i))
        short = self.process._replace(step="give_up" if self.process.root != NONE else "done")
        return ways or [self.become(short)]

    def give_up(self) -> World:
        """No memory, or no room: what it has it gives back."""
        if self.process.other != NONE:
            after = self.process._replace(other=NONE)
            return self._replace(world=self.world.set(self.process.other, FREE)).become(after)
        after = Process("done", self.process.slot)
        return self._replace(world=self.world.set(self.process.root, FREE)).become(after)

    def fill(self) -> World:
        root, other = self.process.root, self.process.other
        self.owned(root)
        self.owned(other)
        blocks = replaced(self.world.blocks, root, self.populated(root)._replace(message=self.me, other=other))
        blocks = replaced(blocks, other, self.populated(other)._replace(message=self.me))
        return self.on(self.world._replace(blocks=blocks))

    def populated(self, block: int) -> Block:
        word = self.world.blocks[block]
        if word.generation == 0 and not word.backed:
            raise Broken(f"process {self.me} touches block {block}, whose memory is gone")
        return word._replace(backed=True)

    def claim(self) -> list[World]:
        """And write."""
        free = [i for i, cell in enumerate(self.world.cells) if cell.state == FREE]
        written = Cell(WRITING, self.process.slot, self.process.root, self.me)
        claimed = [self.on(self.world.put(i, written), cell=i) for i in free]
        return claimed or [self.become(self.process._replace(step="give_up"))]

    def commit(self) -> World:
        cell = self.world.cells[self.process.cell]
        return self.on(self.world.put(self.process.cell, cell._replace(state=COMMITTING)))

    def hand_over(self) -> World:
        return self.each(IN_FLIGHT)

    def publish(self) -> World:
        cell = self.world.cells[self.process.cell]
        return self.on(self.world.put(self.process.cell, cell._replace(state=READY, owner=0)))

    # get

    def take(self) -> list[World]:
        """Whoever steps over a tomb frees its cell."""
        ways = []
        for i, cell in enumerate(self.world.cells):
            if cell.state == READY:
                after = self.world.put(i, cell._replace(state=READING, owner=self.process.slot))
                ways.append(self.on(after, cell=i, root=cell.root, message=cell.message))
            if cell.state == TOMB:
                ways.append(self.world.put(i, Cell()))
        return ways

    def accept(self) -> World:
        return self.each(OWNED, self.process.slot)

    def free(self) -> World:
        return self.on(self.world.put(self.process.cell, Cell()))

    def use(self) -> World:
        root = self.process.root
        for block in (root, self.world.blocks[root].other):
            self.owned(block)
            if self.world.blocks[block].message != self.process.message:
                raise Broken(f"process {self.me} reads in block {block} what is not its message")
        return self.on(self.world)

    def give_back(self) -> World:
        if self.config.flaw is not Flaw.ROOT_FIRST:
            self.owned(self.process.root if self.process.second else self.world.blocks[self.process.root].other)
            return self.each(FREE)
        if not self.process.second:
            after = self.world.set(self.process.root, FREE)
            return self._replace(world=after).become(self.process._replace(second=True))
        other = self.world.blocks[self.process.root].other
        self.owned(other)
        return self.on(self.world.set(other, FREE))

    # trim

    def trim(self) -> list[World]:
        """CAS(word, FREE, OWNED(me)), in the same step a new generation."""
        ways = []
        for i, block in enumerate(self.world.blocks):
            if block.state != FREE or not block.backed:
                continue
            unclaimed = self.config.flaw is Flaw.TRIM_UNCLAIMED
            after = self.world if unclaimed else self.world.set(i, OWNED, self.process.slot)
            if self.config.flaw is not Flaw.TRIM_RENEWS_LATE:
                after = after.renew(i)
            ways.append(self.on(after, root=i))
        return ways

    def punch(self) -> World:
        root = self.process.root
        gone = self.world.blocks[root]._replace(backed=False, message=0, other=NONE)
        return self.on(self.world._replace(blocks=replaced(self.world.blocks, root, gone)))

    def release(self) -> World:
        if self.config.flaw is Flaw.TRIM_UNCLAIMED:
            return self.on(self.world)
        self.owned(self.process.root)
        after = self.world.set(self.process.root, FREE)
        return self.on(after.renew(self.process.root) if self.config.flaw is Flaw.TRIM_RENEWS_LATE else after)

    def inherit(self) -> World:
        """Joins in a slot that was freed, once there is one."""
        if not self.world.free_slots:
            return self.world
        after = self.world._replace(free_slots=self.world.free_slots[1:])
        return self._replace(world=after).become(Process("reserve", self.world.free_slots[0]))


class Rescue(NamedTuple):
    """The monitor about to do one step; every step by its name."""

    config: Config
    world: World

    @property
    def dead(self) -> int:
        return self.world.dead[0]

    def then(self, step: str, world: World | None = None, at: int = 0, second: bool = False) -> World:
        return (world or self.world)._replace(monitor=Monitor(step, at, second))

    def begin(self) -> World:
        if self.config.flaw is Flaw.SLOT_FIRST:
            return self.then("scan", self.freed())
        return self.then("arena" if self.config.flaw is Flaw.ARENA_FIRST else "scan")

    def freed(self) -> World:
        """The slot may be used again."""
        return self.world._replace(free_slots=(*self.world.free_slots, self.dead))

    def next_cell(self, world: World) -> World:
        at = self.world.monitor.at + 1
        if at < len(world.cells):
            return self.then("scan", world, at)
        return self.then("release" if self.config.flaw in (Flaw.ARENA_FIRST, Flaw.NOT_FREED) else "arena", world)

    def scan(self) -> World:
        """Looks at one cell; what has the dead as its owner changes by nobody else."""
        at = self.world.monitor.at
        cell, flaw = self.world.cells[at], self.config.flaw
        reporter = flaw is Flaw.ONLY_IF_HELD and self.dead <= self.config.senders
        if cell.owner != self.dead or reporter:
            return self.next_cell(self.world)
        if cell.state == WRITING:
            return self.next_cell(self.world.put(at, Cell(TOMB)))
        stays = {Flaw.FINISH_BLOCKS_STAY: COMMITTING, Flaw.PUT_BACK_BLOCKS_STAY: READING, Flaw.PUT_BACK_LATE: READING}
        ready = self.world.put(at, cell._replace(state=READY, owner=0))
        if flaw is not None and stays.get(flaw) == cell.state:
            return self.then("on_its_way", ready, at) if flaw is Flaw.PUT_BACK_LATE else self.next_cell(ready)
        return self.then("on_its_way", at=at)

    def on_its_way(self) -> World:
        """finish_commit or put_back: the blocks are IN_FLIGHT, the root last."""
        at, second = self.world.monitor.at, self.world.monitor.second
        cell = self.world.cells[at]
        root = cell.root
        if root == NONE:  # only in the flaw
            return self.next_cell(self.world)
        after = self.world.set(root if second else self.world.blocks[root].other, IN_FLIGHT)
        if not second:
            return self.then("on_its_way", after, at, second=True)
        return self.then("settle", after, at) if cell.owner == self.dead else self.next_cell(after)

    def settle(self) -> World:
        at = self.world.monitor.at
        return self.next_cell(self.world.put(at, self.world.cells[at]._replace(state=READY, owner=0)))

    def arena(self) -> World:
        """Looks at one block."""
        at = self.world.monitor.at
        owned = self.world.blocks[at][:2] == (OWNED, self.dead)
        after = self.world.set(at, FREE) if owned else self.world
        if at + 1 < len(self.world.blocks):
            return self.then("arena", after, at + 1)
        return self.then("scan" if self.config.flaw is Flaw.ARENA_FIRST else "release", after)

    def release(self) -> World:
        after = self.world if self.config.flaw is Flaw.SLOT_FIRST else self.freed()
        return self.then("begin", after._replace(dead=self.world.dead[1:]))


class BlockModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        config = self.config
        processes = [Process("reserve", slot) for slot in range(1, config.senders + 1)]
        processes += [Process("take", config.senders + slot) for slot in range(1, config.receivers + 1)]
        others = config.senders + config.receivers
        processes += [Process("trim", others + slot) for slot in range(1, config.trimmers + 1)]
        processes += [Process("inherit")] * config.heirs
        blocks, cells = (Block(),) * config.blocks, (Cell(),) * config.cells
        return World(blocks, cells, tuple(processes), config.kills, config.monitor_kills)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step in ("dead", "done"):
                continue
            after = getattr(Turn(self.config, world, me, process), process.step)()
            for world_after in after if isinstance(after, list) else [after]:
                yield f"{me}.{process.step}", world_after
        if world.dead:
            step = world.monitor.step
            yield f"monitor.{step}", getattr(Rescue(self.config, world), step)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        for index, process in enumerate(world.processes if world.kills else ()):
            if process.step in ("dead", "done", "inherit"):
                continue
            processes = replaced(world.processes, index, Process("dead"))
            after = world._replace(processes=processes, kills=world.kills - 1, dead=(*world.dead, process.slot))
            yield f"kill {index + 1}", after
        if world.monitor_kills and world.monitor.step != "begin":
            yield "kill monitor", world._replace(monitor=Monitor(), monitor_kills=world.monitor_kills - 1)

    def finished(self, world: World) -> bool:
        """Nobody has a block in hand, and none is on its way: then all are free."""
        idle = ("done", "dead", "take", "inherit", "trim")
        if world.dead or any(p.step not in idle for p in world.processes) or any(c.state != FREE for c in world.cells):
            return False
        if leaked := [i for i, block in enumerate(world.blocks) if block.state != FREE]:
            raise Broken(f"nobody has blocks {leaked}, and they are not free")
        return True

    def hopeful(self, world: World) -> bool:
        """Somebody is left who takes what is in the ring."""
        receivers = world.processes[self.config.senders : self.config.senders + self.config.receivers]
        return any(process.step != "dead" for process in receivers)
