"""The crew of a pool in the process context: worker processes, and who replaces them."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from typing import TYPE_CHECKING, Any

from allcores import _native, limits, preload, process, stacks, start
from allcores.contexts.stored import StoredFunctions
from allcores.deaths import Death
from allcores.pool import worker
from allcores.pool.chunking import PACE
from allcores.pool.crew import Outcome
from allcores.pool.expected import Expected
from allcores.pool.output import Output
from allcores.pool.places import places_of
from allcores.pool.repeated import repeats_in
from allcores.pool.statistics import Record, Traffic
from allcores.queues import Queue

if TYPE_CHECKING:
    from allcores.pool.engine import Engine
    from allcores.pool.plan import Plan

__all__ = ("ProcessCrew",)


class ProcessCrew:
    """Worker processes around two channels, of tasks and of answers, and a third of news: what becomes of the workers.

    A keeper thread sleeps on the news and replaces who has ended, also while nobody waits for a result.
    """

    local = False
    alone = True
    immediate = False
    repeats_in = staticmethod(repeats_in)
    pace = PACE
    sees_items = True

    def __init__(self, plan: Plan, kind: type[process.Process]) -> None:
        self._kind = kind
        self.size = n = plan.processes
        self._pid = os.getpid()
        # Without an initializer, workers that die when they start are killed from outside: that may happen often.
        self.patience = n if plan.initializer is not None else max(100, n)
        self.in_parts = plan.max_memory is not None
        self._tasks, self._answers, self._news = Queue(), Queue(), Queue()
        forks = kind._start_method == "fork"
        if forks:  # a worker of another pool has what the program had then
            plan = plan._replace(reuse=False)
        self._shape = plan.shape
        self._output = Output(plan.forward_output == "named") if plan.forward_output else None
        if self._output is not None:
            plan = plan._replace(forward_output=self._output.how)
        self._how = (self._tasks, self._answers, self._news, plan)
        self._places = places_of(plan)
        self._functions = StoredFunctions()
        self._workers: dict[int, process.Process] = {}
        self._lock = threading.RLock()  # of the workers
        self._missing = 0  # workers that have ended for want of work
        self._over = False
        self._keeper: threading.Thread | None = None
        self._expected = Expected(self._look)
        self._overdue: dict[int, tuple[int, float, float]] = {}  # by pid, who was ended for that: an Overdue
        # Bound once: a frame less for each task.
        self.learn = self._functions.learn
        self.forget = self._functions.forget
        self.send = self._tasks.send_task if plan.idle_timeout is None else self._send_and_see
        self.receive_into = self._answers.receive_into
        if forks:
            limits.learn()  # here, and not in each fork
        else:
            preload.prepare()
        try:
            for _ in range(n):
                self._start()
        except BaseException:
            self.abort()
            raise

    def begin(self, engine: weakref.ref[Engine]) -> None:
        _kept.add(self)
        self._keeper = threading.Thread(target=_keep, args=(self, engine), name="allcores-pool-keeper", daemon=True)
        self._keeper.start()

    def _start(self) -> None:
        taken = {each._place for each in self._workers.values()}
        place = next(place for place in self._places if place not in taken)
        made = self._kind(target=worker.serve, args=(*self._how, place), daemon=True)
        made._crew, made._place, made._shape = self._news.offset, place, place.shape(self._shape)
        made.name = f"PoolWorker-{made.name.rpartition('-')[2]}"
        made.start()
        assert made.pid is not None
        self._workers[made.pid] = made

    def replace(self, pid: int) -> Death | None:
        """Start a worker in the place of the one that ended. What is known here of its death."""
        if self._output is not None:
            self._output.ended(pid)
        with self._lock:
            gone = self._workers.pop(pid, None)
            if gone is None:
                return None
            gone.join()  # and not closed: who looks at the workers may just have it. Its descriptor goes with it
            if not self._over:
                self._start()
            return gone._death

    def _send_and_see(self, task: int, call: int, payload: Any, /) -> int | None:
        """Send, and have the keeper start workers again if some are missing.

        The keeper, after each piece of news, first says how many are missing, and then looks whether there are tasks:
        so one of the two sees what the other did. News that is still there will have it look after this task was sent.
        """
        nbytes: int | None = self._tasks.send_task(task, call, payload)
        if self._missing and self._news.empty():
            self._news.send(0, Outcome.WANTED, None)
        return nbytes

    def retire(self, pid: int) -> None:
        """A worker has ended for want of work: it is missing until there is some."""
        if self._output is not None:
            self._output.ended(pid)
        with self._lock:
            gone = self._workers.pop(pid, None)
            if gone is not None:
                gone.join()
                self._missing += 1

    def grow(self) -> None:
        """Start workers that are missing, as many as there are tasks that nobody has taken."""
        with self._lock:
            for _ in range(min(self._missing, self._tasks.qsize())):
                if not self._over:
                    self._start()
                    self._missing -= 1

    def drop(self, tasks: list[int], into: list[int], /) -> None:
        self._tasks.drop(tasks, into)

    def is_running(self, task: int) -> bool:
        return any(each[2] == task for each in _native.workers(self._news.offset))

    def fileno(self) -> int:
        return self._answers._fileno()

    def give_up(self, tasks: list[int], interrupt: bool, into: list[int], /) -> None:
        self._tasks.drop(tasks, into)
        for pid, each in list(self._workers.items()):
            if _native.give_up_task(pid, tasks) and interrupt:
                start.send_signal(pid, signal.SIGINT, each._life)

    def condemn(self, tasks: list[int], into: list[int], /) -> None:
        if not tasks:
            return
        with self._lock:  # one that is just being started may have a task before it is among them
            for pid, each in self._workers.items():
                task = _native.condemn(pid, tasks)
                if task:
                    into.append(task)
                    start.end_family(pid, each._life)

    def expect(self, task: int, timeout: float) -> None:
        self._expected.add(task, timeout)

    def _look(self) -> None:
        self._news.send(0, Outcome.LOOK, None)

    def end_overdue(self) -> float | None:
        """End each worker whose item takes too long; the seconds until the next one does."""
        workers = dict(self._workers)
        condemned, seconds = _native.condemn_overdue(list(workers), self._news.offset)
        for pid, _task, _item, limit, ran in condemned:
            self._overdue[pid] = (pid, limit / 1e9, ran / 1e9)
            start.end_family(pid, workers[pid]._life)
        return seconds

    def ended(self) -> list[int]:
        """Workers that have ended and have not been replaced."""
        return [pid for pid, each in list(self._workers.items()) if each._has_ended(0)]

    def wake(self) -> None:
        self._answers.send(0, Outcome.WAKE, None)

    def workers(self) -> list[Any]:
        return list(self._workers.values())

    def records(self) -> list[Record]:
        found = {each[0]: Record(each[1], each[0], *each[2:9]) for each in _native.workers(self._news.offset)}
        for pid, each in list(self._workers.items()):
            if pid not in found:  # it does not know yet whom it works for
                found[pid] = Record(each.name, pid, 0, 0, 0, 0, 0.0, 0.0, 0.0)
        return list(found.values())

    def traffic(self) -> Traffic:
        return Traffic(self._tasks.traffic()[0], *self._answers.traffic()[1:])

    def stacks(self, timeout: float | None, /) -> dict[str, str | None]:
        whom = _native.workers(self._news.offset)
        found = stacks.ask(whom, timeout)
        return {name: found[pid] for pid, name, *_ in whom}

    def has_output(self) -> bool:
        """Whether workers have said something that nobody is showing yet."""
        return self._output is not None and self._output.waits()

    def show(self) -> None:
        if self._output is not None:
            self._output.show()

    def show_all(self) -> None:
        if self._output is not None and self._pid == os.getpid():
            self._output.show_all()

    def finish(self) -> None:
        with self._lock:
            self._over = True
            for _ in self._workers:
                self._tasks.send(0, worker.STOP, None)
            for each in self._workers.values():
                each.join()
        self._end()

    def abort(self) -> None:
        if self._pid != os.getpid():  # in a fork: the workers are its parent's
            return
        with self._lock:
            self._over = True
            for each in self._workers.values():
                each.kill()
            for each in self._workers.values():
                each.join()
        self._end()

    def _end(self) -> None:
        with self._lock:
            for each in self._workers.values():
                each.close()
            self._workers.clear()
        self._tasks.close()
        self._news.send(0, Outcome.WAKE, None)  # the keeper ends last: who has waited for it finds all ended
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join()
        self._functions.clear()
        self._answers.close()  # event loops look no more


_kept: weakref.WeakSet[ProcessCrew] = weakref.WeakSet()


def _tell_of_loss() -> None:
    for crew in list(_kept):
        if crew._pid == os.getpid():
            crew._news.send(0, Outcome.LOST, None)


start.when_lost.append(_tell_of_loss)


def _keep(crew: ProcessCrew, engine_ref: weakref.ref[Engine]) -> None:
    """The keeper: tells the engine of each event in a worker's life, replaces who has ended, ends who is overdue."""
    seconds: float | None = None
    while True:
        message = crew._news.receive(seconds)
        number, info, body = message or (0, Outcome.LOOK, None)
        outcome = info & 0xFF
        engine = engine_ref()
        if outcome == Outcome.WAKE or engine is None:
            return
        if outcome == Outcome.LOST:
            for pid in crew.ended():  # what they were at, somebody does tell
                _replace(crew, engine, Outcome.RETIRED, pid)
            outcome = Outcome.LOOK
        if outcome != Outcome.LOOK:
            info, body = _replace(crew, engine, info, body)
        if outcome in (Outcome.DIED, Outcome.BROKEN) or (outcome != Outcome.OUTPUT and crew.has_output()):
            # What a worker said last appears before its error. And who printed while this message was on its way has
            # sent none of his own.
            engine.post_news((0, Outcome.OUTPUT, None))
        if outcome == Outcome.UNTAKEN:
            engine.look()
        elif outcome not in (Outcome.LOOK, Outcome.WANTED):
            engine.post_news((number, info, body))
        if seconds is not None or outcome == Outcome.LOOK:
            seconds = crew._expected.seconds(engine, crew.end_overdue())
        del engine


def _replace(crew: ProcessCrew, engine: Engine, info: int, body: Any) -> tuple[int, Any]:
    outcome = info & 0xFF
    try:
        if outcome == Outcome.RETIRED:
            crew.replace(body)
        elif outcome == Outcome.DIED:
            told = Death(*body)
            known = crew.replace(told.pid)  # of one that was forked here, more is known here
            body = tuple(told if known is None else known._replace(seconds=told.seconds))
            overdue = crew._overdue.pop(body[0], None)
            if overdue is not None:
                info, body = info & ~0xFF | Outcome.OVERDUE, overdue
        elif outcome == Outcome.IDLE:
            crew.retire(body)
        if crew._missing:
            crew.grow()
    except Exception as error:  # noqa: BLE001 - no process or descriptor to be had
        if not crew._workers:
            engine.break_("no worker is left, and none can be started", error)
    return info, body
