"""The crew of a pool in the thread context: worker threads, and who gives up on those that are stuck."""

from __future__ import annotations

import itertools
import operator
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

from allcores import cores
from allcores.pool import state
from allcores.pool.crew import LocalCrew, Outcome, run_task
from allcores.pool.doing import Doing
from allcores.pool.expected import Expected
from allcores.pool.places import places_of
from allcores.pool.shown import Answers

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from allcores.pool.engine import Engine
    from allcores.pool.places import Place
    from allcores.pool.plan import Plan

__all__ = ("ThreadCrew",)


_Task = tuple[int, "Callable[..., Any]", int, Any]  # its number, the function, how to call it, and the payload
_number_of = operator.itemgetter(0)


class _Doing(Doing):
    """A task that a thread is at."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.place = place


class ThreadCrew(LocalCrew):
    """Worker threads around two queues."""

    alone = False

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.size = plan.processes
        self._plan = plan
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._waiting: dict[int, _Task] = {}  # whoever takes one out has it
        self._doing: dict[int, _Doing] = {}
        self._answers = Answers()
        self._ended = False
        self._aborted = False
        self._engine: weakref.ref[Engine] | None = None
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._expected = Expected(self._look)
        self._watcher: threading.Thread | None = None
        self._threads: dict[int, threading.Thread] = {}
        try:
            for place in places_of(plan):
                self._start(place)
        except BaseException:
            self.abort()
            raise

    def _start(self, place: Place) -> None:
        thread = threading.Thread(target=self._serve, args=(place,), name=f"PoolWorker-{place.number + 1}", daemon=True)
        self._threads[place.number] = thread
        thread.start()

    def workers(self) -> list[Any]:
        return list(self._threads.values())

    def begin(self, engine: weakref.ref[Engine]) -> None:
        self._engine = engine

    def _serve(self, place: Place) -> None:
        plan = self._plan
        cores.adopt_in_thread(place.cores)
        state.here.state = state.WorkerState(place.number)
        if place.cpus is not None:
            os.sched_setaffinity(0, place.cpus)  # of this thread
        if self._lid is not None:
            self._lid.hold_thread()
        if plan.initializer is not None:
            try:
                plan.initializer(*plan.initargs)
            except BaseException as error:  # noqa: BLE001 - told to the pool, which cannot work
                self._answers.put((0, Outcome.BROKEN, error))
                return
        record = self.recorded(threading.current_thread().name)
        while (number := self._queue.get()) is not None and not self._aborted:
            doing = self._doing[number] = _Doing(place)
            task = self._waiting.pop(number, None)
            if task is not None:  # else it was given up
                record.begin(number)
                answer = run_task(task[1], task[2], task[3], doing)
                if doing.condemned:
                    return  # another has this one's place, and nobody waits for the answer
                record.end(*answer)
                self._answers.put((number, *answer))
                del answer
            self._doing.pop(number, None)
            del task

    def send(self, task: int, call: int, payload: Any, /) -> None:
        self._waiting[task] = task, self._functions[call >> 8], call & 0xFF, payload
        self._queue.put(task)

    def fileno(self) -> int:
        return -1 if self._ended else self._answers.fileno()

    def receive_into(self, inbox: list[tuple[int, int, Any]], timeout: float | None = None, /) -> bool:
        began = time.monotonic()
        try:
            inbox.extend(map(self._answers.get, (timeout != 0,), (timeout,)))  # one call, that Ctrl-C cannot split
        except queue.Empty:
            return False
        finally:
            self._waited += time.monotonic() - began
        return True

    def give_up(self, tasks: list[int], _interrupt: bool, into: list[int], /) -> None:
        """Threads cannot be interrupted: each leaves its task after the item it is at."""
        self.drop(tasks, into)
        for doing in [self._doing.get(task) for task in tasks]:
            if doing is not None:
                doing.told.append(True)

    def drop(self, tasks: list[int], into: list[int], /) -> None:
        # No line of Python between taking one out and its being in the list: Ctrl-C would come there.
        into.extend(map(_number_of, filter(None, map(self._waiting.pop, tasks, itertools.repeat(None)))))

    def is_running(self, task: int, /) -> bool:
        return task not in self._waiting

    def expect(self, task: int, timeout: float, /) -> None:
        self._expected.add(task, timeout)

    def wake(self) -> None:
        self._answers.put((0, Outcome.WAKE, None))

    def finish(self) -> None:
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads.values():
            thread.join()
        self._wakes.put(False)
        self._end()

    def abort(self) -> None:
        """Threads cannot be killed: each ends after the task it is in."""
        self._aborted = True
        self._wakes.put(False)
        for _ in self._threads:
            self._queue.put(None)
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._answers.end()
        self._lift()

    # Items that take too long.

    def _look(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="allcores-pool-watcher", daemon=True)
            self._watcher.start()
        self._wakes.put(True)

    def _watch(self) -> None:
        seconds: float | None = None
        while True:
            try:
                if not self._wakes.get(timeout=seconds):
                    return
            except queue.Empty:
                pass
            running = self._look_at_all()
            engine = None if self._engine is None else self._engine()
            if engine is None:
                return
            seconds = self._expected.seconds(engine, running)
            del engine

    def _look_at_all(self) -> float | None:
        """Replace each thread whose item takes too long; the seconds until the next one does."""
        now, running = time.monotonic_ns(), None
        for task, doing in list(self._doing.items()):
            found = doing.condemn_if_overdue(now)
            if isinstance(found, tuple):
                item, overdue = found
                self._doing.pop(task, None)
                self.replaced(task)
                self._start(doing.place)
                self._answers.put((task, Outcome.OVERDUE | item << 8, tuple(overdue)))
            elif found is not None:
                running = found if running is None else min(found, running)
        return running
