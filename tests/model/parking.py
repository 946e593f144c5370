"""Sleepers and wake-ups of native/include/allcores/park.hpp as a model: one Parking, and what is waited for there.

    waiter:  attempt  spin  spin_attempt  looked  announce  look_again  sleep  woken  look_again ...  more  notify_one
    changer: change  notify_one = see_spinner  see_sleepers  [tell]  see_waking  set_waking  count_up  wake_one
    several: read_several  announce_several  look_several  sleep_several
    tell:    take_several_down  count_several_up  wake_several
    monitor: settle  disturb    = clear_spinner  clear_waking  count_up  wake_all      then tell, always

What is waited for is a number of items (a change adds one, an attempt takes one), or an event (one change, seen by
all). Every step is one atomic access or one futex call. The count in the Parking's word has no end, so a process
only knows whether the word it has read is `fresh`: not changed since; that the count wraps round is left out.

Who waits for several things sleeps on one word for all of them, in the header of the segment, and takes nothing: it
only looks. Its announcement is a bit of its own in each Parking.

Time is left out: a timeout, a signal or the net of 5 s may end any sleep, but as a fault, never as a way out; and where
the code looks how long ago somebody was woken, both answers are tried. So whatever is stuck here waits for ever, or
for the net. Stopped is not dead: a process that is stopped while others count on its look is not in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from .ring import replaced


class Flaw(Enum):
    """One deliberate mistake; the check must find each of them."""

    LOOK_BEFORE_ANNOUNCE = auto()  # a change between the two wakes nobody
    NOTIFY_BEFORE_CHANGE = auto()  # the same from the other side
    NO_COUNT = auto()  # who is just falling asleep does not notice
    SLEEP_WITHOUT_LOOK = auto()  # woken too early: it sleeps on, and keeps what it was woken for from the others
    NO_MORE = auto()  # one wake-up may stand for several changes
    MORE_BEFORE_LOOKED = auto()  # looks for more while changers still count on it as the spinner
    FORGET_AFTER_LOOK = auto()  # changers count on one who was woken and has looked already
    WAKING_NOBODY = auto()  # nobody was there to be woken, but changers count on him
    PROMISE_BROKEN = auto()  # look_soon, and then it ends without a look
    PROMISE_NO_MORE = auto()  # look_soon, and then it takes one of two items
    NOT_DISTURBED = auto()  # a wake-up dies with the one who had it
    SPINNER_STAYS = auto()  # changers count on a dead spinner
    WAKING_STAYS = auto()  # and on a dead one who was woken
    SPINNER_LAST = auto()  # disturbs first: changes before the spinner is cleared wake nobody
    SETTLE_LAST = auto()  # disturbs first: what is put back afterwards wakes nobody
    SEVERAL_AFTER_WAKING = auto()  # tells those who wait for several only where somebody is to be woken here as well
    SEVERAL_READ_LATE = auto()  # reads the header's word when it has looked: a change between the two wakes nobody
    SEVERAL_ANNOUNCED_LATE = auto()  # announces itself when it has looked
    SEVERAL_TOLD_FIRST = auto()  # and then takes the announcement down, which may be a new one by then
    SEVERAL_NOT_TOLD = auto()  # who died between the two has told nobody, and nobody does it for him


@dataclass(frozen=True)
class Config:
    """The case that is explored."""

    waiters: int
    changes: tuple[int, ...]  # of each changer
    asleep: int = 0  # waiters that sleep already
    event: bool = False  # one change is for all, by notify_all
    spins: bool = True  # whether waiters may
    promises: bool = False  # waiters that are awake at first are pool workers, that call look_soon
    one_process: bool = False  # waiters are threads of one process, with one slot
    breaks: int = 0  # timeouts and signals in a sleep
    keeps: bool = False  # who is woken by those tells nobody
    kills: int = 0
    mortal: tuple[int, ...] = ()  # the slots that can die, if not all
    several: int = 0  # those who wait for this among several things
    monitor_kills: int = 0
    flaw: Flaw | None = None


class Process(NamedTuple):
    """A waiter or changer: the step it does next, and its registers."""

    step: str
    todo: int = 0  # changes it has yet to make
    back: str = ""  # the step after notify_one or notify_all
    fresh: bool = False  # the Parking's word is as it was read; for who waits for several, the header's
    done: bool = False  # the spinner has got it
    after: str = ""  # the step after telling those who wait for several
    broken: str = ""  # "timeout" or "signal" ended its sleep
    taking: bool = False  # the item it took is still in a READING cell


class Dead(NamedTuple):
    """A slot to be recovered, and how many items it was just taking."""

    slot: int
    taking: int


class World(NamedTuple):
    """All shared memory, all processes."""

    processes: tuple[Process, ...]
    kills: int
    breaks: int
    monitor_kills: int
    items: int = 0
    sleepers: bool = False  # bit 0 of the word
    several: bool = False  # bit 1
    spinner: int = 0
    waking: bool = False
    monitor: str = "begin"
    dead: tuple[Dead, ...] = ()

    def counted(self, several: bool = False) -> World:
        """The word changes, the Parking's or the header's: nobody's copy of it is fresh any more."""
        return self._replace(
            processes=tuple(
                p._replace(fresh=False) if p.fresh and ("several" in p.step) == several else p for p in self.processes
            )
        )

    def told(self) -> World:
        """futex_wake of all who wait for several."""
        return self._replace(
            processes=tuple(p._replace(step="read_several") if p.step == "several" else p for p in self.processes)
        )

    def woken(self) -> World:
        """futex_wake of all."""
        return self._replace(
            processes=tuple(p._replace(step="woken") if p.step == "asleep" else p for p in self.processes)
        )


class Turn(NamedTuple):
    """One process about to do one step: all it may look at, the ways to go on, and every step by its name."""

    config: Config
    world: World
    me: int
    slot: int
    process: Process

    def then(self, step: str, **registers: object) -> World:
        """Goes on with `step`; what was being taken is taken."""
        process = self.process._replace(step=step, **{"taking": False, **registers})  # type: ignore[arg-type]
        return self.world._replace(processes=replaced(self.world.processes, self.me - 1, process))

    def with_world(self, world: World) -> Turn:
        """After a change of the shared memory."""
        return self._replace(world=world, process=world.processes[self.me - 1])

    def got(self, step: str, **registers: object) -> World | None:
        """attempt(): goes on with `step` if it gets what it waits for."""
        if not self.world.items:
            return None
        if self.config.event:
            return self.then(step, **registers)
        return self.then(step, taking=True, **registers)._replace(items=self.world.items - 1)

    def notify(self, back: str, **registers: object) -> World:
        """Goes on with notify_one, and then `back`."""
        return self.then("see_spinner", back=back, **registers)

    def end_notify(self) -> World:
        """Goes on after notify_one or notify_all; registers that are not in use make no new states."""
        return self.then(self.process.back, back="", after="", fresh=False)

    def clear_promise(self) -> tuple[bool, Turn]:
        """looked(): CAS(spinner, me, 0)."""
        mine = self.world.spinner == self.slot
        return mine, self._replace(world=self.world._replace(spinner=0)) if mine else self

    # wait_for

    def attempt(self) -> World:
        promises = self.config.promises or self.config.one_process
        return self.got("keep_promise" if promises else "user") or self.then("spin")

    def keep_promise(self) -> World:
        """Before the first attempt fails, a promise is the only thing that others may count on."""
        mine, after = self.clear_promise()
        return after.then("more" if mine and self.config.flaw is not Flaw.PROMISE_NO_MORE else "user")

    def spin(self) -> list[World]:
        """On a full machine, or where another spins, it does not."""
        ways = [self.clear_promise()[1].asleep_soon()]
        if self.config.spins and self.world.spinner in (0, self.slot):
            ways.append(self._replace(world=self.world._replace(spinner=self.slot)).then("spin_attempt"))
        return ways

    def spin_attempt(self) -> World:
        """The last look of a spinner; the ones before are no different."""
        step = "see_more" if self.config.flaw is Flaw.MORE_BEFORE_LOOKED else "looked"
        return self.got(step, done=True) or self.then("looked")

    def see_more(self) -> World:  # only in the flaw
        return self.notify("looked") if self.world.items else self.then("looked")

    def looked(self) -> World:
        _, after = self.clear_promise()
        if not self.process.done:
            return after.asleep_soon()
        return after.then("user" if self.config.flaw is Flaw.MORE_BEFORE_LOOKED else "more", done=False)

    def asleep_soon(self) -> World:
        """Goes on into the loop of announcing, looking and sleeping."""
        return self.then("look_again" if self.config.flaw is Flaw.LOOK_BEFORE_ANNOUNCE else "announce")

    def announce(self) -> World:
        step = "sleep" if self.config.flaw is Flaw.LOOK_BEFORE_ANNOUNCE else "look_again"
        if self.process.broken == "again":  # only in the flaw
            step = "sleep"
        turn = self if self.world.sleepers else self.with_world(self.world.counted())
        return turn.then(step, fresh=True, broken=self.process.broken.replace("again", ""))._replace(sleepers=True)

    def look_again(self) -> World:
        flaw = self.config.flaw
        if flaw is Flaw.FORGET_AFTER_LOOK and self.world.waking:
            return self.got("forget_late", done=True) or self.then("forget_late")
        after = self.got("more", fresh=False, broken="")
        if after:
            return after
        if self.process.broken == "timeout":
            return self.leave()
        return self.then("announce_late" if flaw is Flaw.LOOK_BEFORE_ANNOUNCE else "sleep")

    def announce_late(self) -> World:  # only in the flaw
        turn = self if self.world.sleepers else self.with_world(self.world.counted())
        return turn.then("sleep", fresh=True)._replace(sleepers=True)

    def forget_late(self) -> World:  # only in the flaw
        after = self._replace(world=self.world._replace(waking=False))
        return after.then("more" if self.process.done else "sleep", done=False)

    def sleep(self) -> World:
        """futex_wait: asleep, if the word is still the same."""
        return self.then("asleep" if self.process.fresh else "woken", fresh=False)

    def woken(self) -> World:
        forgets = self.world.waking and self.config.flaw is not Flaw.FORGET_AFTER_LOOK
        return self.then("forget_waking") if forgets else self.up()

    def forget_waking(self) -> World:
        return self._replace(world=self.world._replace(waking=False)).up()

    def up(self) -> World:
        """Goes on after a sleep."""
        if self.process.broken == "signal":
            return self.leave()
        if self.config.flaw is Flaw.SLEEP_WITHOUT_LOOK:
            return self.then("announce", broken="again")
        return self.asleep_soon()

    def leave(self) -> World:
        """Goes on without the thing, and passes on a wake-up that may have come with the reason."""
        if self.config.keeps:
            return self.then("user", fresh=False, broken="")
        return self.notify("user", fresh=False, broken="")

    def more(self) -> World:
        passes_on = self.world.items and not self.config.event and self.config.flaw is not Flaw.NO_MORE
        return self.notify("user") if passes_on else self.then("user")

    # between two waits

    def user(self) -> list[World]:
        """Comes back, or never again: what it does with an item may take for ever."""
        if self.config.event and self.world.items:
            return [self.then("done")]
        promises = self.config.promises and self.me > self.config.asleep
        return [self.then("look_soon" if promises else "attempt"), self.then("done")]

    def look_soon(self) -> World:
        return self.then("promise" if self.world.sleepers else "promised")

    def promise(self) -> World:
        return self.then("promised")._replace(spinner=self.world.spinner or self.slot)

    def promised(self) -> list[World]:
        return [self.then("attempt"), self.then("break_promise")]

    def break_promise(self) -> World:
        if self.config.flaw is Flaw.PROMISE_BROKEN:
            return self.then("done")
        mine, after = self.clear_promise()
        return after.notify("done") if mine else after.then("done")

    # a changer

    def change(self) -> World:
        left = self.process.todo - 1
        after = self._replace(world=self.world._replace(items=self.world.items + 1))
        if self.config.flaw is Flaw.NOTIFY_BEFORE_CHANGE:
            return after.notify("change", todo=left) if left else after.then("done", todo=0)
        if self.config.event:
            return after.then("see_all", todo=0, back="done")
        return after.notify("change" if left else "done", todo=left)

    # notify_one

    def see_spinner(self) -> World:
        return self.end_notify() if self.world.spinner else self.then("see_sleepers")

    def see_sleepers(self) -> World:
        """One load for both bits: whoever waits for several is told in any case."""
        after = "see_waking" if self.world.sleepers else "end_notify"
        if self.world.several and self.config.flaw is not Flaw.SEVERAL_AFTER_WAKING:
            return self.tell(after)
        return self.then(after) if self.world.sleepers else self.end_notify()

    def see_waking(self) -> list[World]:
        """Who was woken and has not looked is counted on, for a while."""
        goes_on = self.then("set_waking")
        if self.config.flaw is Flaw.SEVERAL_AFTER_WAKING and self.world.several:
            goes_on = self.tell("set_waking")
        return [self.end_notify(), goes_on] if self.world.waking else [goes_on]

    def set_waking(self) -> World:
        step = "wake_one" if self.config.flaw is Flaw.NO_COUNT else "count_up"
        return self.then(step)._replace(waking=True)

    def count_up(self) -> World:
        return self.then("wake_one").counted()

    def wake_one(self) -> list[World]:
        asleep = [i for i, p in enumerate(self.world.processes) if p.step == "asleep"]
        if not asleep:
            return [self.then("see_all" if self.config.flaw is Flaw.WAKING_NOBODY else "unset_waking")]
        after = self.end_notify()
        woken = ((i, after.processes[i]._replace(step="woken")) for i in asleep)
        return [after._replace(processes=replaced(after.processes, i, p)) for i, p in woken]

    def unset_waking(self) -> World:
        after = self._replace(world=self.world._replace(waking=False))
        return after.end_notify() if self.config.flaw is Flaw.NO_COUNT else after.then("see_all")

    # notify_all

    def see_all(self) -> World:
        announced = self.world.sleepers or self.world.several
        return self.then("take_down", fresh=True) if announced else self.end_notify()

    def take_down(self) -> World:
        """CAS from the word as it was read: both bits at once."""
        if not self.process.fresh:
            return self.then("see_all")
        after = "count_several_up" if self.world.several else ""
        return self.then("wake_all", fresh=False, after=after).counted()._replace(sleepers=False, several=False)

    def wake_all(self) -> World:
        after = self.then("count_several_up", after="end_notify") if self.process.after else self.end_notify()
        return after.woken()

    # tell, of which both make use

    def tell(self, after: str) -> World:
        """Goes on with telling whoever waits for several, and then `after`."""
        first = "count_several_up" if self.config.flaw is Flaw.SEVERAL_TOLD_FIRST else "take_several_down"
        return self.then(first, after=after)

    def take_several_down(self) -> World:
        told_first = self.config.flaw is Flaw.SEVERAL_TOLD_FIRST
        after = self.told_on() if told_first else self.then("count_several_up")
        return after.counted()._replace(several=False)

    def count_several_up(self) -> World:
        return self.then("wake_several").counted(several=True)

    def wake_several(self) -> World:
        if self.config.flaw is Flaw.SEVERAL_TOLD_FIRST:
            return self.then("take_several_down").told()
        return self.told_on().told()

    def told_on(self) -> World:
        """Goes on after telling."""
        after = self.process.after
        return self.end_notify() if after == "end_notify" else self.then(after, after="")

    # one who waits for this among several things

    def read_several(self) -> World:
        flaw = self.config.flaw
        step = "look_several" if flaw is Flaw.SEVERAL_ANNOUNCED_LATE else "announce_several"
        return self.then(step, fresh=flaw is not Flaw.SEVERAL_READ_LATE)

    def announce_several(self) -> World:
        step = "sleep_several" if self.config.flaw is Flaw.SEVERAL_ANNOUNCED_LATE else "look_several"
        turn = self if self.world.several else self.with_world(self.world.counted())
        return turn.then(step)._replace(several=True)

    def look_several(self) -> World:
        if self.world.items:
            return self.then("done", fresh=False)
        if self.config.flaw is Flaw.SEVERAL_READ_LATE:
            return self.then("sleep_several", fresh=True)
        return self.then("announce_several" if self.config.flaw is Flaw.SEVERAL_ANNOUNCED_LATE else "sleep_several")

    def sleep_several(self) -> World:
        """futex_wait on the header's word."""
        return self.then("several" if self.process.fresh else "read_several", fresh=False)
