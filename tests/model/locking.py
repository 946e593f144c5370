"""The lock of native/include/allcores/lock.hpp as a model: it names its owner, and the death of that poisons it.

    acquire: take  see_dead  [settle]  busy ...   take = CAS(word, 0, me)
    release: see_word  [whose  see_same]  give_up  notify_one        give_up = CAS(word, what was seen, 0)
    settle:  see_pid  poison  notify_all          poison = CAS(word, what was seen, POISONED | pid, or 0)
    recover: find_mine  [settle]  disturb  free_slot      mend: see_poison  mend_word  notify_all

A waiter settles the death that it sees, and the monitor settles all; both may be at it at once. Waiting is one step
here, `busy`, that looks again and falls asleep (parking.py has it in full). A slot that has been recovered is used
again by an heir. Who gets OwnerDied calls lock.recover() and goes on, or gives up.

A signal is a lock that one process acquires and another releases: it guards nothing, and whoever gave it has dropped
its handle. A release that only begins when recover() has ended the signal is a mistake of the program, not in here.
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

    POISON_STAYS = auto()  # of a signal that was released while it was being poisoned
    RELEASE_BY_STORE = auto()  # a late release ends what another has acquired since
    SETTLE_BY_STORE = auto()  # likewise a late settle
    NO_THREAD = auto()  # the word names a slot only: a late settle takes the heir for the dead
    PID_BESIDE = auto()  # the pid is stored beside the word, so a late settle overwrites it with another's
    PID_AFTER_POISON = auto()  # or it is not there yet
    FREES_ALWAYS = auto()  # what the lock guards is half changed
    POISONS_ALWAYS = auto()  # an atomic update leaves nothing half changed
    SLOT_FIRST = auto()  # an heir has the slot, and the lock is never settled
    ONLY_WITH_HANDLE = auto()  # the dead had dropped its handle, so its lock is never settled
    SETTLE_WAKES_NOBODY = auto()  # and so nobody is disturbed, either
    NOT_DISTURBED = auto()  # a wake-up dies with the one who had it


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    lockers: int = 0  # acquire, release, end
    updaters: int = 0  # likewise, but it is one atomic update
    signaller: bool = False  # there are two more: one acquires the lock as a signal, the other releases it
    heirs: int = 0  # lockers that start in the slot of the first that has died
    release_mode: bool = False  # on_owner_death="release"
    kills: int = 0
    mortal: tuple[int, ...] = ()  # the processes that can, if not all
    monitor_kills: int = 0
    flaw: Flaw | None = None


class Word(NamedTuple):
    """The lock's word."""

    slot: int = 0
    thread: int = 0  # its kernel's number: the number of the process here; in a poisoned word, the pid that died
    flag: str = ""  # "atomic" or "poisoned"


FREE = Word()
INSIDE = ("inside", "see_word", "give_up")


class Process(NamedTuple):
    """A process: the step it does next, and its registers."""

    step: str
    kind: str = "locker"
    slot: int = 0
    seen: Word = FREE  # the word it has read
    pid: int = 0  # of the owner that it settles
    back: str = ""  # the step after settling or waking


class World(NamedTuple):
    """All shared memory, all processes, and what the outside has seen."""

    processes: tuple[Process, ...]
    pids: tuple[int, ...]  # of each slot; 0: free
    kills: int
    monitor_kills: int
    word: Word = FREE
    died_pid: int = 0  # only in a flaw
    monitor: Process = Process("begin", "monitor")
    dead: tuple[int, ...] = ()  # processes to be recovered
    half: int = 0  # who died inside, and nobody has called recover() since
    given: bool = False  # the signal
    has_released: bool = False  # the signal, the one who waited for it

    def released(self, process: Process) -> World:
        return self._replace(has_released=True) if process.kind == "signalled" else self


class Turn(NamedTuple):
    """One process, or the monitor (0), about to do one step; every step by its name."""

    config: Config
    world: World
    me: int
    process: Process

    def put(self, process: Process) -> World:
        if not self.me:
            return self.world._replace(monitor=process)
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def then(self, step: str, **registers: object) -> World:
        """Goes on with `step`; registers that are not named are not in use any more."""
        kept = {"back": self.process.back} if step in ("see_pid", "store_pid", "poison") else {}
        empty = Process(step, self.process.kind, self.process.slot)
        return self.put(empty._replace(**{**kept, **registers}))  # type: ignore[arg-type]

    def with_word(self, word: Word) -> Turn:
        return self._replace(world=self.world._replace(word=word))

    def is_dead(self, slot: int) -> bool:
        pid = self.world.pids[slot - 1]
        return pid > 0 and self.world.processes[pid - 1].step == "dead"

    # acquire

    def take(self) -> World:
        """CAS(word, 0, me)."""
        word = self.world.word
        if (
            word.flag == "poisoned"
            and self.world.has_released
            and self.world.processes[word.thread - 1].kind == "signaller"
        ):
            raise Broken(f"process {self.me} is told of the death of process {word.thread}, whose signal was released")
        if word != FREE:
            return self.then("see_owner", seen=word)
        flag = "atomic" if self.process.kind == "updater" else ""
        thread = 0 if self.config.flaw is Flaw.NO_THREAD else self.me
        return self.with_word(Word(self.process.slot, thread, flag)).enter()

    def enter(self) -> World:
        """Has the lock: nobody else may have it, and it may not be half changed what it guards."""
        if any(p.kind != "signalled" and p.step in INSIDE for p in self.world.processes):
            raise Broken(f"process {self.me} has the lock, and another has it too")
        if self.world.half:
            raise Broken(f"process {self.me} has the lock; process {self.world.half} left half changed what it guards")
        if self.process.kind == "signaller":
            return self.then("done")._replace(given=True)
        return self.then("inside")

    def see_owner(self) -> World:
        """Looks at the owner in the word that it saw."""
        seen = self.process.seen
        if seen.flag == "poisoned":
            return self.owner_died()
        if self.is_dead(seen.slot):
            return self.then("see_pid", seen=seen, back="take")
        return self.then("busy")

    def busy(self) -> World:
        """Announces itself, looks again, sleeps."""
        word = self.world.word
        waits = word != FREE and word.flag != "poisoned" and not self.is_dead(word.slot)
        return self.then("asleep" if waits else "take")

    def owner_died(self) -> World:
        """Goes on with OwnerDied, and has to know who that was."""
        told = self.process.seen.thread
        if self.config.flaw in (Flaw.PID_BESIDE, Flaw.PID_AFTER_POISON):
            told = self.world.died_pid
        if not told or self.world.processes[told - 1].step != "dead":
            raise Broken(f"process {self.me} is told that the wrong owner died: {told}")
        if self.world.processes[told - 1].kind == "updater" or self.config.release_mode:
            raise Broken(f"process {self.me} is told of a death that leaves nothing half changed")
        return self.then("told")

    def told(self) -> list[World]:
        return [self.then("see_poison"), self.then("done")]

    def see_poison(self) -> World:
        word = self.world.word
        return self.then("mend_word", seen=word) if word.flag == "poisoned" else self.then("take")

    def mend_word(self) -> World:
        """CAS(word, POISONED, 0)."""
        if self.world.word != self.process.seen:
            return self.then("take")
        after = self._replace(world=self.world._replace(word=FREE, half=0))
        return after.then("wake_all", back="take")

    # release

    def inside(self) -> World:
        """The critical section; whose death leaves it half changed is known by then."""
        return self.then("see_word")

    def see_signal(self) -> World:
        """Somebody tells it that the signal was given, or never will be."""
        if self.world.given:
            return self.then("see_word")
        return self.then("done") if self.world.processes[self.me - 2].step in ("dead", "done") else self.world

    def see_word(self) -> World:
        word = self.world.word
        if self.process.kind == "signalled":
            return self.then("done" if word.thread != self.me - 1 else "whose", seen=word)
        return self.then("give_up", seen=word)

    def whose(self) -> World:
        """The owner's pid; of a poisoned lock it is in the word."""
        seen = self.process.seen
        if seen.flag == "poisoned":
            return self.then("give_up", seen=seen, pid=seen.thread)
        return self.then("see_same", seen=seen, pid=self.world.pids[seen.slot - 1])

    def see_same(self) -> World:
        """As long as the word names a slot, that slot is not used again."""
        same = self.world.word == self.process.seen
        return self.then("give_up", seen=self.process.seen, pid=self.process.pid) if same else self.then("see_word")

    def give_up(self) -> World:
        """CAS(word, what was seen, 0); if the owner has died meanwhile, from its poison."""
        word, pid, flaw = self.world.word, self.process.pid, self.config.flaw
        if word != self.process.seen and flaw is not Flaw.RELEASE_BY_STORE:
            poisoned = word == Word(0, pid, "poisoned") and flaw is not Flaw.POISON_STAYS
            return self.then("give_up", seen=word, pid=pid) if poisoned else self.then("done").released(self.process)
        return self.with_word(FREE).then("wake_one", back="done").released(self.process)

    def wake_one(self) -> list[World]:
        """notify_one."""
        after = self.then(self.process.back)
        asleep = [i for i, p in enumerate(after.processes) if p.step == "asleep"]
        woken = [replaced(after.processes, i, after.processes[i]._replace(step="take")) for i in asleep]
        return [after._replace(processes=processes) for processes in woken] or [after]

    def wake_all(self) -> World:
        """notify_all, or disturb."""
        after = self.then(self.process.back)
        awake = (p._replace(step="take") if p.step == "asleep" else p for p in after.processes)
        return after._replace(processes=tuple(awake))

    # settle

    def see_pid(self) -> World:
        pid, flaw = self.world.pids[self.process.seen.slot - 1], self.config.flaw
        step = "store_pid" if flaw is Flaw.PID_BESIDE else "poison"
        return self.then(step, seen=self.process.seen, pid=pid)

    def store_pid(self) -> World:  # only in the flaws
        after = self._replace(world=self.world._replace(died_pid=self.process.pid))
        if self.config.flaw is Flaw.PID_AFTER_POISON:
            return after.then("wake_all", back=self.process.back)
        return after.then("poison", seen=self.process.seen, pid=self.process.pid)

    def poison(self) -> World:
        """CAS(word, what was seen, POISONED | pid, or 0)."""
        flaw, seen = self.config.flaw, self.process.seen
        if self.world.word != seen and flaw is not Flaw.SETTLE_BY_STORE:
            return self.then(self.process.back)
        frees = self.config.release_mode or (seen.flag == "atomic" and flaw is not Flaw.POISONS_ALWAYS)
        if frees or flaw is Flaw.FREES_ALWAYS:
            half = self.world.half if flaw is Flaw.FREES_ALWAYS else 0
            after = self._replace(world=self.world._replace(word=FREE, half=half))
        else:
            after = self.with_word(Word(0, self.process.pid, "poisoned"))
        if flaw is Flaw.PID_AFTER_POISON:
            return after.then("store_pid", pid=self.process.pid, back=self.process.back)
        if flaw is Flaw.SETTLE_WAKES_NOBODY:
            return after.then(self.process.back)
        return after.then("wake_all", back=self.process.back)

    # the monitor

    def begin(self) -> World:
        return self.then("free_slot_early" if self.config.flaw is Flaw.SLOT_FIRST else "find_mine")

    def free_slot_early(self) -> World:  # only in the flaw
        return self.then("find_mine")._replace(pids=self._pids_after())

    def find_mine(self) -> World:
        """A lock of the dead, whether it has a handle of it or not."""
        dead = self.world.processes[self.world.dead[0] - 1]
        has_handle = not (dead.kind == "signaller" and self.world.given)
        disturbs = has_handle and self.config.flaw is not Flaw.NOT_DISTURBED
        back = "disturb" if disturbs else "free_slot"
        word = self.world.word
        if word.slot != dead.slot or not (has_handle or self.config.flaw is not Flaw.ONLY_WITH_HANDLE):
            return self.then(back)
        return self.then("see_pid", seen=word, back=back)

    def disturb(self) -> World:
        return self._replace(process=self.process._replace(back="free_slot")).wake_all()

    def free_slot(self) -> World:
        pids = self.world.pids if self.config.flaw is Flaw.SLOT_FIRST else self._pids_after()
        return self.then("begin")._replace(pids=pids, dead=self.world.dead[1:])

    def _pids_after(self) -> tuple[int, ...]:
        """Of each slot, if that of the dead is free."""
        slot = self.world.processes[self.world.dead[0] - 1].slot
        return replaced(self.world.pids, slot - 1, 0)

    # an heir

    def inherit(self) -> World:
        """Joins in a slot that was freed, once there is one."""
        if 0 not in self.world.pids:
            return self.world
        index = self.world.pids.index(0)
        world = self.world._replace(pids=replaced(self.world.pids, index, self.me))
        return self._replace(world=world, process=self.process._replace(slot=index + 1)).then("take")


class LockModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.kinds = ["locker"] * config.lockers + ["updater"] * config.updaters
        self.kinds += ["signaller", "signalled"] * config.signaller

    def initial(self) -> World:
        first = {"signalled": "see_signal"}
        processes = [Process(first.get(kind, "take"), kind, slot) for slot, kind in enumerate(self.kinds, 1)]
        processes += [Process("inherit")] * self.config.heirs
        pids = tuple(range(1, len(self.kinds) + 1))
        return World(tuple(processes), pids, self.config.kills, self.config.monitor_kills)

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
            signals = process.kind == "signaller" and process.step == "done"
            mortal = not self.config.mortal or index + 1 in self.config.mortal
            if not mortal or process.step in ("dead", "inherit") or (process.step == "done" and not signals):
                continue
            dead = Process("dead", process.kind, process.slot)
            inside = process.kind == "locker" and process.step in INSIDE
            after = world._replace(
                processes=replaced(world.processes, index, dead),
                kills=world.kills - 1,
                dead=(*world.dead, index + 1),
                half=index + 1 if inside and not self.config.release_mode else world.half,
            )
            yield f"kill {index + 1}", after
        if world.monitor_kills and world.monitor.step != "begin":
            monitor = Process("begin", "monitor")
            yield "kill monitor", world._replace(monitor=monitor, monitor_kills=world.monitor_kills - 1)

    def finished(self, world: World) -> bool:
        """All ended, and all deaths recovered; an heir that has no slot is nobody."""
        return not world.dead and all(p.step in ("done", "dead", "inherit") for p in world.processes)

    def hopeful(self, world: World) -> bool:
        """Nobody waits for ever."""
        return True
