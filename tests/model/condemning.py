"""Ending a worker for an item that takes too long (native/include/allcores/condemn.hpp), as a model.

    worker:  write_times  say_running ─▶ run ─▶ look  END ─▶ write_times ...
                                                 └── condemned: waits for death
    keeper:  see_word  read_times  CONDEMN  kill

The record has the *word*, an item's number and whether it runs, and the *times*: when it began, how long it may run.
The worker's END and the keeper's CONDEMN are CASes of the same word from "this item runs": whoever comes first has the
item. An item is slow or quick; only a slow one can be over its time, and only while it runs. The worker may be killed
by others at any step; so may the keeper's program, but then nobody is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from .explore import Broken

IDLE, RUNNING, CONDEMNED = "IDLE", "RUNNING", "CONDEMNED"


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    NO_CLAIM = auto()  # what was over its time when it was looked at is killed: perhaps the next item
    WORD_FIRST = auto()  # the item before's times are taken for this one's
    ENDS_FROM_ANYTHING = auto()  # a condemned item ends all the same: its CAS is from what it finds there
    ENDS_WITH_A_STORE = auto()  # likewise
    NO_NUMBER = auto()  # the word of one item that runs looks like that of the next
    GOES_ON = auto()  # a worker that finds itself condemned takes the next item


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    slow: tuple[bool, ...] = (True, False)  # the items, and which of them are slow
    kills: int = 0  # of the worker by others
    flaw: Flaw | None = None


Word = tuple[int, str]


class World(NamedTuple):
    """The worker's record, the worker and the keeper: the step each does next, and its registers."""

    word: Word = (0, IDLE)
    times: int = 0  # whose they are
    worker: str = "first"
    item: int = 0
    found: Word = (0, IDLE)  # by the worker
    keeper: str = "see_word"
    seen: Word = (0, IDLE)  # by the keeper
    over: bool = False  # whether those times were over
    condemned: int = 0  # the item that it has claimed
    ended: int = 0  # items that have ended
    kills: int = 0


class CondemningModel:
    """For explore()."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def initial(self) -> World:
        return self.next_item(World(kills=self.config.kills))

    def next_item(self, world: World) -> World:
        if world.item == len(self.config.slow):
            return world._replace(worker="done")
        first = "say_running" if self.config.flaw is Flaw.WORD_FIRST else "write_times"
        return world._replace(item=world.item + 1, worker=first)

    def running(self, item: int) -> Word:
        return (0 if self.config.flaw is Flaw.NO_NUMBER else item), RUNNING

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        if world.worker not in ("done", "dead", "waits"):
            yield f"worker: {world.worker} {world.item}", getattr(self, world.worker)(world)
        if world.worker != "dead":
            yield f"keeper: {world.keeper}", getattr(self, world.keeper)(world)

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        if world.kills and world.worker not in ("done", "dead"):
            yield "the worker is killed", world._replace(worker="dead", kills=world.kills - 1)

    # The worker.

    def write_times(self, world: World) -> World:
        after = "run" if self.config.flaw is Flaw.WORD_FIRST else "say_running"
        return world._replace(times=world.item, worker=after)

    def say_running(self, world: World) -> World:
        after = "write_times" if self.config.flaw is Flaw.WORD_FIRST else "run"
        return world._replace(word=self.running(world.item), worker=after)

    def run(self, world: World) -> World:
        return world._replace(worker="look")

    def look(self, world: World) -> World:
        if self.config.flaw is Flaw.ENDS_FROM_ANYTHING or world.word[1] == RUNNING:
            return world._replace(found=world.word, worker="end")
        return self.is_condemned(world)

    def end(self, world: World) -> World:
        if world.word != world.found and self.config.flaw is not Flaw.ENDS_WITH_A_STORE:
            return self.is_condemned(world)
        if world.condemned == world.item:
            raise Broken(f"item {world.item} has ended, and is condemned")
        return self.next_item(world._replace(word=(world.item, IDLE), ended=world.ended + 1))

    def is_condemned(self, world: World) -> World:
        return self.next_item(world) if self.config.flaw is Flaw.GOES_ON else world._replace(worker="waits")

    # The keeper.

    def see_word(self, world: World) -> World:
        return world._replace(seen=world.word, keeper="read_times") if world.word[1] == RUNNING else world

    def read_times(self, world: World) -> World:
        over = world.times > 0 and self.config.slow[world.times - 1]
        return world._replace(over=over, keeper="condemn" if over else "see_word")

    def condemn(self, world: World) -> World:
        if self.config.flaw is Flaw.NO_CLAIM:
            return world._replace(keeper="kill", condemned=world.item)
        if world.word != world.seen:
            return world._replace(keeper="see_word")
        return world._replace(word=(world.word[0], CONDEMNED), keeper="kill", condemned=world.item)

    def kill(self, world: World) -> World:
        if world.item != world.condemned:
            raise Broken(f"item {world.item} is hit in the place of {world.condemned}")
        if not self.config.slow[world.item - 1] or world.ended >= world.item:
            raise Broken(f"item {world.item} is hit, which was not over its time")
        return world._replace(worker="dead")

    def finished(self, world: World) -> bool:
        return world.worker in ("done", "dead")

    def hopeful(self, world: World) -> bool:
        return True
