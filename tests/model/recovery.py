"""Deaths, their recovery, and what has to hold: the steps of processes, monitor and kernel as one model.

    recover(dead), for each ring from queue.first on:
      for each cell:
        his WRITING                              -> TOMB
        his COMMITTING  [clear running[dead]]    -> READY    finished for him
        his READING     [clear running[dead]]    -> READY    put back where it was
        READY, whoever made it so: lowest = min(lowest, its position)
      any READY? CAS(head, (v, h), (v + 1, min(h, lowest))) until it succeeds
    [running[dead] still names a task: report it as died]

Consumers may be past what was put back, so head is lowered; or about to help head past it, having seen
READING, so the version changes even where head stays. Only after all this is the slot of the dead used again.
A monitor that dies leaves nothing to remember: the next one does it all again, and finds what was put back as
READY.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .explore import Broken
from .ring import (
    COMMITTING,
    FREE,
    GARBAGE,
    NOWHERE,
    READING,
    READY,
    SEALED,
    TOMB,
    WRITING,
    Config,
    Flaw,
    Monitor,
    Process,
    Ring,
    Turn,
    Word,
    World,
    getting,
    putting,
    replaced,
)


class Rescue(NamedTuple):
    """The monitor about to do one step; every step by its name."""

    config: Config
    world: World
    monitor: Monitor
    ring: Ring
    dead: int

    def then(self, monitor: Monitor, ring: Ring | None = None) -> World:
        """Goes on with other registers, the ring changed as given."""
        rings = self.world.rings if ring is None else replaced(self.world.rings, self.monitor.ring, ring)
        return self.world._replace(monitor=monitor, rings=rings)

    def next_cell(self, ring: Ring | None = None, back: bool = False) -> World:
        """Goes on with the next cell, or with head; `back`: consumers have to come back to this one."""
        cell, lowest = self.monitor.cell, self.monitor.lowest
        position = cell + len(self.ring.words) * self.ring.words[cell].turn
        if back and (lowest == NOWHERE or position < lowest):
            lowest = position
        if cell + 1 < len(self.ring.words):
            return self.then(Monitor("scan", self.monitor.ring, cell + 1, lowest), ring)
        step = "next_ring" if lowest == NOWHERE else "find_head"
        return self.then(Monitor(step, self.monitor.ring, 0, lowest), ring)

    def stored(self, state: str) -> Ring:
        """This cell in another state, nobody's."""
        cell = self.monitor.cell
        return self.ring.stored(cell, Word(self.ring.words[cell].turn + (state == FREE), state))

    def begin(self) -> World:
        return self.then(Monitor("scan", ring=self.world.first))

    def scan(self) -> World:
        """Looks at one cell; what has the dead as its owner changes by nobody else."""
        word, flaw = self.ring.words[self.monitor.cell], self.config.flaw
        if word.owner != self.dead:
            back = word.state == READY and flaw not in (Flaw.PUT_BACK_ONLY_OWN, Flaw.HEAD_STAYS)
            return self.next_cell(back=back)
        if word.state == WRITING:
            return self.next_cell(self.stored(TOMB))
        settles_first = (READING, Flaw.PUT_BACK_BEFORE_CLEAR), (COMMITTING, Flaw.COMMITTING_STAYS_NAMED)
        named = self.config.workers and (word.state, flaw) not in settles_first
        return self.then(self.monitor._replace(step="clear_name" if named else "settle"))

    def clear_name(self) -> World:
        """The task that he was reading he has not got yet; the task whose result is whole he has finished.

        Only if it is that task: the cell may be of a queue that another task is using.
        """
        cell, task = self.monitor.cell, self.world.running[self.dead - 1]
        other = self.ring.slots[cell][1] != task[1]
        running = replaced(self.world.running, self.dead - 1, task if other else GARBAGE)
        after = self._replace(world=self.world._replace(running=running))
        if self.config.flaw is Flaw.PUT_BACK_BEFORE_CLEAR and self.ring.words[cell].state != COMMITTING:
            return after.next_cell(back=True)
        return after.then(self.monitor._replace(step="settle"))

    def settle(self) -> World:
        flaw = self.config.flaw
        if self.ring.words[self.monitor.cell].state == COMMITTING:
            return self.next_cell(self.stored(TOMB if flaw is Flaw.TOMB_COMMITTING else READY))
        if flaw is Flaw.FREE_READING:
            return self.next_cell(self.stored(FREE))
        if flaw is Flaw.PUT_BACK_BEFORE_CLEAR:
            return self.then(self.monitor._replace(step="clear_name"), self.stored(READY))
        return self.next_cell(self.stored(READY), back=flaw is not Flaw.HEAD_STAYS)

    def find_head(self) -> World:
        if self.config.flaw is Flaw.VERSION_ONLY_IF_LOWERED and self.ring.head <= self.monitor.lowest:
            return self.then(Monitor("next_ring", self.monitor.ring))
        found = self.monitor._replace(step="lower_head", version=self.ring.version, head=self.ring.head)
        return self.then(found)

    def lower_head(self) -> World:
        if (self.ring.version, self.ring.head) != (self.monitor.version, self.monitor.head):
            return self.then(Monitor("find_head", self.monitor.ring, 0, self.monitor.lowest))
        version = self.ring.version + (self.config.flaw is not Flaw.NO_VERSION)
        ring = self.ring._replace(version=version, head=min(self.ring.head, self.monitor.lowest))
        return self.then(Monitor("next_ring", self.monitor.ring), ring)

    def next_ring(self) -> World:
        here = self.monitor.ring
        if self.ring.linked or (self.config.workers and here + 1 < len(self.world.rings)):
            return self.then(Monitor("scan", ring=here + 1))
        return self.then(Monitor("report" if self.config.workers else "release"))

    def report(self) -> World:
        task = self.world.running[self.dead - 1]
        died = self.world.died if task == GARBAGE else self.world.died | {task}
        return self._replace(world=self.world._replace(died=died)).then(Monitor("release"))

    def release(self) -> World:
        """The slot may be used again."""
        running = replaced(self.world.running, self.dead - 1, GARBAGE)
        return self.world._replace(running=running, dead=self.world.dead[1:], monitor=Monitor())


class RingModel:
    """A case, for the explorer."""

    def __init__(self, config: Config) -> None:
        self.config = config
        everybody = len(config.producers) + config.workers + config.consumers + config.heirs
        self.mortal = config.mortal or range(1, everybody + 1)  # a pool's collector has the number after that
        names = "abcdefgh"[: len(config.producers)]
        self.sent = [[(name, k + 1) for k in range(n)] for name, n in zip(names, config.producers, strict=True)]
        tasks = [("task", k + 1) for k in range(config.loaded)]
        self.loaded = tasks if config.workers else self.sent[0][: config.loaded] if config.loaded else []

    def initial(self) -> World:
        config = self.config
        processes = [putting(config, tuple(m for m in sent if m not in self.loaded)) for sent in self.sent]
        getters = config.workers + 1 if config.workers else config.consumers
        processes += [getting(config, len(processes) + me) for me in range(1, getters + 1)]
        processes += [Process("inherit")] * config.heirs
        rings = [Ring((Word(0, FREE),) * n, (GARBAGE,) * n) for n in config.capacities]
        for cell, message in enumerate(self.loaded):
            rings[0] = rings[0].stored(cell, Word(0, READY), message)._replace(tail=cell + 1)
        names = (GARBAGE,) * len(processes)
        return World(tuple(rings), tuple(processes), names, config.kills, config.monitor_kills)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for me, process in enumerate(world.processes, 1):
            if process.step in ("dead", "done"):
                continue
            ring = world.rings[process.ring]
            turn, cell = divmod(process.position, len(ring.words))
            at = Turn(self.config, world, me, process, ring, cell, turn, ring.words[cell])
            yield f"{me}.{process.step}", getattr(at, process.step)()
        if world.dead:
            monitor = world.monitor
            rescue = Rescue(self.config, world, monitor, world.rings[monitor.ring], world.dead[0])
            yield f"monitor.{monitor.step}", getattr(rescue, monitor.step)()

    def faults(self, world: World) -> Iterator[tuple[str, World]]:
        """What is counted as put by the dead is what had reached COMMITTING."""
        for index, process in enumerate(world.processes if world.kills else ()):
            if index + 1 not in self.mortal or process.step in ("dead", "done", "inherit"):
                continue
            dead = Process("dead", process.todo[1:] if process.step == "publish" else process.todo)
            processes = replaced(world.processes, index, dead)
            after = world._replace(processes=processes, kills=world.kills - 1, dead=(*world.dead, index + 1))
            yield f"kill {index + 1}", after
        if world.monitor_kills and world.monitor.step != "begin":
            yield "kill monitor", world._replace(monitor=Monitor(), monitor_kills=world.monitor_kills - 1)

    def finished(self, world: World) -> bool:
        """Everything put, everything recovered, every ring empty; then everything has to have arrived."""
        if world.dead or any(p.todo and p.step != "dead" for p in world.processes):
            return False
        if any(word.state not in (FREE, SEALED) for ring in world.rings for word in ring.words):
            return False
        if any(process.step == "copy_out" for process in world.processes):  # FREE before it, in a flaw
            return False
        self._judge(world)
        return True

    def _judge(self, world: World) -> None:
        producers = zip(self.sent, world.processes, strict=False)
        put = {message for sent, process in producers for message in sent if message not in process.todo}
        if lost := put - world.delivered:
            raise Broken(f"lost {sorted(lost)}")
        for kind, task in self.loaded if self.config.workers else ():
            result, died = ("result", task) in world.delivered, (kind, task) in world.died
            if result == died:
                raise Broken(f"task {task}: both result and death" if died else f"task {task}: no result, no death")

    def hopeful(self, world: World) -> bool:
        """Somebody is left who takes what is in the ring."""
        takers = world.processes[len(self.sent) : -1 if self.config.workers else None]
        return any(process.step != "dead" for process in takers)
