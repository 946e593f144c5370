"""The workers of one pool on Ray: actors, each with one task at a time; the others wait here.

send ──▶ waiting ── a worker is free ──▶ Resident.work ── done ──▶ Reports.answered, and the next one
                                                      ── its actor died ──▶ another; Reports.died

One at a time, since what waits in an actor cannot be taken back, and would wait for what is before it while others
are idle. Callbacks come from Ray's own thread, which must not wait: whatever may is done by a thread of the team.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ray
from ray.exceptions import RayTaskError

from allcores.cluster.remote import Answer
from allcores.contexts.raybox import Box, Question
from allcores.contexts.rayfleet import Blob
from allcores.contexts.raywatch import first_line, when_done
from allcores.errors import ClusterDied
from allcores.family import end_started

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from allcores.cluster.seams import Job, Large, Reports, Setup
    from allcores.contexts.rayfleet import RayFleet

__all__ = ("RayTeam",)

# Seconds for a worker to say that it has ended what it started.
_PATIENCE = 1.0


class _Item(NamedTuple):
    """A task, ready to be sent."""

    task: int
    job: Job
    keys: list[str | None]
    refs: list[Any]  # where its large buffers are
    exact: bool


class _Worker:
    """An actor that works for the pool."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.work = actor.work  # made anew each time it is asked for
        self.node, self.pid = "", 0
        self.box: Box | None = None
        self.item: _Item | None = None
        self.never: Any = None
        self.ready = False
        self.ended = False  # by us, or seen to have died


class RayTeam:
    """See ``seams.Team``."""

    alone = True

    def __init__(self, fleet: RayFleet, size: int, setup: Setup, reports: Reports) -> None:
        self.size, self._fleet, self._setup, self._reports = size, fleet, tuple(setup), reports
        self._team = setup.team
        self._lock = threading.RLock()
        self._workers: set[_Worker] = set()
        self._free: list[_Worker] = []
        self._waiting: deque[_Item] = deque()
        self._out: dict[int, _Worker] = {}
        self._stored: dict[str, Any] = {}  # by key: where a buffer is
        self._questions: weakref.WeakSet[Question] = weakref.WeakSet()
        self._quiet = threading.Event()
        self._quiet.set()
        self._ended = False
        self._chores: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        threading.Thread(target=self._do_chores, name="allcores-team", daemon=True).start()
        for _ in range(size):
            self._start()

    def _do_chores(self) -> None:
        while (chore := self._chores.get()) is not None:
            try:
                chore()
            except Exception as error:  # noqa: BLE001 - told to whoever waits
                self.lose(ClusterDied(f"the Ray cluster does not work any more: {first_line(error)}"))

    # Workers.

    def _start(self) -> None:
        worker = _Worker(self._fleet.resident())
        with self._lock:
            if self._ended:
                self._fleet.give_back([worker.actor], self._team)
                return
            self._workers.add(worker)
        when_done(worker.actor.who.remote(), partial(self._met, worker))
        when_done(worker.actor.prepare.remote(self._setup), partial(self._prepared, worker))

    def _met(self, worker: _Worker, value: Any) -> None:
        if not isinstance(value, BaseException):
            worker.node, worker.pid, worker.box, (worker.never,) = value
            when_done(worker.never, partial(self._seen_dead, worker))

    def _seen_dead(self, worker: _Worker, _error: Any) -> None:
        """Ray says that the worker's process has ended; perhaps a call has said so before."""
        worker.box = None
        for question in list(self._questions):
            question.tell(worker.node, None)
        if worker.item is None:
            self._died(worker, None)

    def _prepared(self, worker: _Worker, value: Any) -> None:
        if isinstance(value, BaseException):
            self._died(worker, value)
            return
        worker.ready = True
        self._reports.answered(0, Answer(*value))
        self._set_free(worker)

    def _set_free(self, worker: _Worker, done: _Item | None = None) -> None:
        if done is not None:
            worker.item = None
            self._leave(done)
        with self._lock:
            if worker.ended or self._ended:
                return
            self._free.append(worker)
        self._go_on()

    def _go_on(self) -> None:
        """Send what can be sent."""
        while True:
            with self._lock:
                if not self._waiting or not self._free:
                    return
                worker, item = self._free.pop(), self._waiting.popleft()
                worker.item = item
                self._out[item.task] = worker
                oldest = min(self._out) << 4 if item.exact else 0
            try:
                ref = worker.work.remote(pickle.dumps((tuple(item.job), item.keys, oldest), 5), *item.refs)
            except Exception as error:  # noqa: BLE001 - this process has left the cluster, if it is no death
                self._done(worker, item, error)
            else:
                when_done(ref, partial(self._done, worker, item))

    def _done(self, worker: _Worker, item: _Item, value: Any) -> None:
        """What came of a task."""
        if isinstance(value, BaseException) and not isinstance(value, RayTaskError):
            self._died(worker, value)
            return
        if isinstance(value, RayTaskError):
            self._set_free(worker, item)
            self._reports.failed(item.task, value.as_instanceof_cause())
            return
        answer = Answer(*(pickle.loads(value) if type(value) is bytes else value))
        if answer.goes_on:
            self._leave(item)
            self._end_worker(worker)
        else:
            self._set_free(worker, item)
        # Copies: they are the program's to write into, and the store is not for keeping them.
        buffers = [bytearray(blob.data) for blob in answer.buffers]
        self._reports.answered(item.task, answer._replace(buffers=buffers))

    def _leave(self, item: _Item) -> None:
        with self._lock:
            self._out.pop(item.task, None)
            if not self._out and not self._waiting:
                self._quiet.set()

    def _died(self, worker: _Worker, error: Any) -> None:
        with self._lock:
            if worker.ended or self._ended or self._fleet.lost is not None:
                return
            worker.ended = True
            self._workers.discard(worker)
            if worker in self._free:
                self._free.remove(worker)
        self._chores.put(partial(self._replace, worker, error))

    def _replace(self, worker: _Worker, error: Any) -> None:
        item, worker.item = worker.item, None
        began = True
        if item is not None and item.exact:  # before its end is told, and what is known of it forgotten
            began = self._fleet.link.call(0, "begun", (self._team, item.job.run))
        with contextlib.suppress(ValueError):
            ray.kill(worker.actor)  # if it only cannot be reached
        self._say_gone(worker, f"worker {worker.pid}")
        self._start()
        if item is None:
            self._reports.died(0, worker.pid, None, worker.ready)
        else:
            self._leave(item)
            self._reports.died(item.task, worker.pid, None, began)

    def _say_gone(self, worker: _Worker, why: str) -> None:
        if worker.node:
            self._fleet.link.post(0, "gone", (worker.node, why))

    def lose(self, error: ClusterDied) -> None:
        """The cluster is gone."""
        with self._lock:
            self._waiting.clear()
            self._out.clear()
            self._quiet.set()
        self._reports.lost(error)

    # Asked by the crew.

    def send(self, job: Job, buffers: list[Large], exact: bool) -> None:
        item = _Item(job.task, job, [each.key for each in buffers], [self._store(each) for each in buffers], exact)
        with self._lock:
            self._waiting.append(item)
            self._quiet.clear()
        self._go_on()

    def _store(self, buffer: Large) -> Any:
        ref = self._stored.get(buffer.key) if buffer.key else None
        if ref is None:
            ref = ray.put(Blob(buffer.view))
            if buffer.key:
                self._stored[buffer.key] = ref
        return ref

    def let_go(self, key: str) -> None:
        self._stored.pop(key, None)

    def take_back(self, tasks: list[int]) -> list[int]:
        wanted = set(tasks)
        with self._lock:
            found = [item for item in self._waiting if item.task in wanted]
            self._waiting = deque(item for item in self._waiting if item.task not in wanted)
            if not self._out and not self._waiting:
                self._quiet.set()
        return [item.task for item in found]

    def is_running(self, task: int) -> bool:
        return task in self._out

    def ask_all(self, what: Callable[..., Any], *args: Any, timeout: float | None = None) -> list[Any]:
        try:
            question = Question(self._fleet.origin, what, args)
            with self._lock:
                self._questions.add(question)
                for worker in self._workers:
                    if worker.box is not None:
                        question.ask(worker.node, worker.box)
            found = question.answers(timeout)
        except ClusterDied:
            return []
        self._questions.discard(question)
        return found

    def end_workers_of(self, tasks: list[int]) -> list[int]:
        ended = self.take_back(tasks)
        for task in tasks:
            with self._lock:
                worker = self._out.get(task)
                if worker is None or not self._end_worker(worker):
                    continue
                item, worker.item = worker.item, None
            assert item is not None
            self._leave(item)
            ended.append(task)
        return ended

    def _end_worker(self, worker: _Worker) -> bool:
        with self._lock:
            if worker.ended:
                return False
            worker.ended = True
            self._workers.discard(worker)
        self._chores.put(partial(self._kill, worker))
        return True

    def _end_started(self, workers: Iterable[_Worker]) -> None:
        """What runs there has perhaps started others; who holds its GIL is not waited for."""
        question = Question(self._fleet.origin, end_started, ())
        for worker in workers:
            if worker.box is not None:
                question.ask(worker.node, worker.box)
        question.answers(_PATIENCE)

    def _kill(self, worker: _Worker) -> None:
        self._end_started([worker])
        ray.kill(worker.actor)
        self._say_gone(worker, f"worker {worker.pid}")
        self._start()

    def end(self, wait: bool) -> None:
        if wait:
            self._quiet.wait()
        with self._lock:
            self._ended = True
            workers, self._workers = self._workers, set()
            free, self._free = self._free, []
            self._waiting.clear()
            self._out.clear()
            self._stored.clear()
        self._chores.put(None)
        if self._fleet.lost is not None:
            return
        busy = workers - set(free)
        if busy:
            self._end_started(busy)
        for worker in busy:
            worker.ended = True
            ray.kill(worker.actor)
            self._say_gone(worker, "")
        self._fleet.give_back([worker.actor for worker in free], self._team)
