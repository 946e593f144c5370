"""The workers of one pool on dask: its tasks, each a task of the scheduler, and what becomes of them.

send ── submit ──▶ scheduler ──▶ worker: _work ── small answer ──▶ scheduler ──▶ arrived    (no round trip to ask)
                                               └─ large: the task's result ◀── gather, when it is finished
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import get_worker, secede
from distributed.scheduler import KilledWorker

from allcores.cluster import link as links
from allcores.cluster import remote
from allcores.cluster.seams import Job, Large, Setup
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.cluster.seams import Reports
    from allcores.contexts.dask import DaskFleet

__all__ = ("DaskTeam",)


# Workers that may die in succession with an array that is being sent to them.
_ATTEMPTS = 20
# Bytes of an answer that goes by way of the scheduler.
_SMALL = 256 << 10


class DaskTeam:
    """See ``seams.Team``. The workers are the cluster's: all, or some where the pool is to have fewer."""

    def __init__(
        self, fleet: DaskFleet, size: int, slots: int, threads: dict[str, int], setup: Setup, reports: Reports
    ) -> None:
        self.size, self.alone = min(size, slots), max(threads.values(), default=1) == 1
        self._fleet, self._setup, self._reports = fleet, setup, reports
        self._client = fleet.client
        self._to = (fleet.client.id, setup.team)
        self._limit = size if size < slots else None
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._futures: dict[int, Any] = {}  # by task
        self._stored: dict[str, Any] = {}  # by key
        self._waiting: deque[tuple[Job, list[Large], bool]] = deque()
        self._ending: set[int] = set()  # the scheduler is asked to forget these
        self._late: dict[int, Any] = {}  # those of them that something else has become of meanwhile
        self._ended = False
        self._never_ready: set[tuple[str, int]] = set()  # workers that died so, and were told of
        fleet.teams[setup.team] = self
        workers = list(threads)
        if self._limit is not None:
            recruit = self._client.scheduler.allcores_recruit
            workers = self._client.sync(recruit, team=setup.team, size=size, client=self._client.id)
        for address in workers:
            future = self._submit(_prepare, self._to, tuple(setup), workers=[address], allow_other_workers=True)
            self._watch(Job(0, 0, None, b""), future, [], False)

    def _submit(self, function: Any, *args: Any, **how: Any) -> Any:
        key = f"allcores-{self._setup.team}-{next(self._numbers)}"
        return self._client.submit(function, *args, key=key, pure=False, **how)

    def send(self, job: Job, buffers: list[Large], exact: bool) -> None:
        with self._lock:
            if self._limit is not None and len(self._futures) >= self._limit:
                self._waiting.append((job, buffers, exact))
                return
            self._futures[job.task] = None  # it counts from now on
        try:
            self._send(job, buffers, exact)
        except BaseException:
            self._leave(job.task)
            raise

    def _send(self, job: Job, buffers: list[Large], exact: bool) -> None:
        keys = [each.key for each in buffers]
        there = [self._store(each) for each in buffers]
        # 0: it may run again. Else what is below will not, since its answer is there.
        oldest = min(self._futures) << 4 if exact else 0
        future = self._submit(_work, self._to, tuple(self._setup), tuple(job), keys, there, oldest)
        with self._lock:
            if job.task not in self._futures:
                return  # its answer was faster
            self._futures[job.task] = future
        self._watch(job, future, buffers, exact)

    def _store(self, buffer: Large) -> Any:
        """A future that has the buffer: from here straight to a worker, and from there to others."""
        found = self._stored.get(buffer.key) if buffer.key else None
        if found is None or found.status != "finished":
            found = self._scatter(
                np.frombuffer(buffer.view, np.uint8)
            )  # as an array, which dask carries without a copy
            if buffer.key:
                self._stored[buffer.key] = found
        return found

    def _scatter(self, array: Any) -> Any:
        for _ in range(_ATTEMPTS):
            try:
                return self._client.scatter(array, hash=False)
            except OSError as error:  # the worker that was to have it has died
                last = error
        raise ClusterDied(f"no worker of the dask cluster takes an array: {last}") from last

    def let_go(self, key: str) -> None:
        self._stored.pop(key, None)

    def _watch(self, job: Job, future: Any, buffers: list[Large], exact: bool) -> None:
        self._client.loop.add_callback(self._follow, job, future, buffers, exact)

    # In the event loop.

    async def _follow(self, job: Job, future: Any, buffers: list[Large], exact: bool) -> None:
        await future._state.wait()
        with self._lock:
            if job.task and self._futures.get(job.task) is not future:
                return
            if job.task in self._ending:
                self._late[job.task] = job, future, buffers, exact
                return
        if future.status == "finished":
            if job.task:  # else it has arrived
                await self._gather(job, future, buffers, exact)
            return
        error = future._state.exception
        lost = getattr(error, "reason", None) == "scheduler-connection-lost"
        if lost and not self._ended:
            self._leave(job.task)
            self._reports.lost(ClusterDied(f"the connection to the dask cluster was lost: {error}"))
        elif isinstance(error, _RanBeforeError):
            self._report_death(job.task, 0, None, True)
        elif isinstance(error, KilledWorker):
            await self._died(job, future.key, error.last_worker, exact)
        elif future.status in ("cancelled", "lost"):  # the only worker that had one of its buffers has died
            self._report_death(job.task, 0, None, False)
        else:
            self._leave(job.task)
            self._reports.failed(job.task, error or RuntimeError(f"dask says that the task is {future.status}"))

    def arrived(self, task: int, answer: Any) -> None:
        """A small answer. It comes before its future is told to be finished, and may come twice."""
        if task == 0 or task in self._futures:
            self._leave(task)
            info, data, pid = answer
            self._reports.answered(task, remote.Answer(info, data, [], pid))

    async def _gather(self, job: Job, future: Any, buffers: list[Large], exact: bool) -> None:
        """A large answer."""
        try:
            answers = await self._client._gather([future], errors="skip")
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self._leave(job.task)
            self._reports.failed(job.task, error)
            return
        if self._futures.get(job.task) is not future:
            return
        if answers and answers[0] is not None:
            self._leave(job.task)
            self._reports.answered(job.task, remote.Answer(*answers[0]))
        else:  # its worker has died with the answer
            self._watch(job, future, buffers, exact)

    async def _died(self, job: Job, key: str, worker: Any, exact: bool) -> None:
        began, pid, code = True, getattr(worker, "pid", 0), None
        link, team = self._fleet.link, self._setup.team
        with contextlib.suppress(OSError):  # the cluster is gone
            place = getattr(worker, "address", ""), pid
            began, code = await self._client.scheduler.allcores_death(key=key, address=place[0], pid=pid)
            if await link.ask_later(0, "was_entering", (team, *place)):
                began = False
                if place not in self._never_ready:  # by another of its tasks
                    self._never_ready.add(place)
                    self._report_death(0, pid, code, began)
            elif exact:
                began = await link.ask_later(0, "begun", (team, job.run))
        if job.task or began:
            self._report_death(job.task, pid, code, began)

    def _report_death(self, task: int, pid: int, code: int | None, began: bool) -> None:
        self._leave(task)
        self._beside(self._reports.died, task, pid, code, began)

    def _beside(self, what: Any, *args: Any) -> None:
        """Call something that may block: not in the event loop."""
        try:
            self._client.loop.run_in_executor(None, what, *args)
        except RuntimeError:  # the program ends, and waits for what was submitted
            threading.Thread(target=what, args=args, daemon=True).start()

    def _leave(self, task: int) -> None:
        """The task is out no more: another may be."""
        with self._lock:
            self._futures.pop(task, None)
            if not self._waiting or self._limit is None or len(self._futures) >= self._limit or self._ended:
                return
            job, buffers, exact = self._waiting.popleft()
            self._futures[job.task] = None
        self._beside(self._send_waiting, job, buffers, exact)

    def _send_waiting(self, job: Job, buffers: list[Large], exact: bool) -> None:
        try:
            self._send(job, buffers, exact)
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            self._leave(job.task)
            self._reports.failed(job.task, error)

    # Asked by the crew.

    def take_back(self, tasks: list[int]) -> list[int]:
        return self._take_waiting(tasks) + self._end(tasks, self._client.scheduler.allcores_take_back)

    def _take_waiting(self, tasks: list[int]) -> list[int]:
        wanted = set(tasks)
        with self._lock:
            found = [each for each in self._waiting if each[0].task in wanted]
            for each in found:
                self._waiting.remove(each)
        return [each[0].task for each in found]

    def _end(self, tasks: list[int], how: Any) -> list[int]:
        """Have the scheduler forget tasks; those that it has."""
        out = {future.key: task for task in tasks if (future := self._futures.get(task)) is not None}
        if not out:
            return []
        with self._lock:
            self._ending.update(out.values())
        try:
            to = {"keys": list(out), "team": self._setup.team, "client": self._client.id}
            forgotten = [out[key] for key in self._client.sync(how, **to)]
        finally:
            with self._lock:
                self._ending.difference_update(out.values())
                late = [self._late.pop(task) for task in out.values() if task in self._late]
        for task in forgotten:
            future = self._futures.get(task)
            self._leave(task)
            if future is not None:
                self._client.loop.add_callback(future._state.cancel)  # who follows it has come to the end
        for each in late:
            if each[0].task not in forgotten:
                self._watch(*each)
        return forgotten

    def is_running(self, task: int) -> bool:
        return self._futures.get(task) is not None

    def ask_all(self, what: Callable[..., Any], *args: Any, timeout: float | None = None) -> list[Any]:
        async def ask(worker: str) -> Any:
            asked = self._client._run(what, *args, workers=[worker], on_error="ignore")
            return (await asyncio.wait_for(asked, timeout)).get(worker)

        async def ask_each() -> list[Any]:
            workers = await self._client.scheduler.allcores_workers(team=self._setup.team)
            return await asyncio.gather(*map(ask, workers), return_exceptions=True)

        try:
            found = self._client.sync(ask_each) if self._client.status == "running" else []
        except (OSError, RuntimeError):
            found = []
        return [each for each in found if each is not None and not isinstance(each, BaseException)]

    def end_workers_of(self, tasks: list[int]) -> list[int]:
        return self._take_waiting(tasks) + self._end(tasks, self._client.scheduler.allcores_end_tasks)

    def end(self, wait: bool) -> None:
        self._ended = True
        self._fleet.teams.pop(self._setup.team, None)
        futures = [future for future in self._futures.values() if future is not None]
        self._futures.clear()
        self._waiting.clear()
        self._stored.clear()
        if self._client.status != "running":
            return
        if futures:
            self._later(self._end_all, futures)
        if self._limit is not None:
            self._later(self._client.scheduler.allcores_dismiss, team=self._setup.team)
        self._later(self._client._run, remote.forget, self._setup.team, on_error="ignore")

    async def _end_all(self, futures: list[Any]) -> None:
        """What runs ends as far as that can be; of the rest nobody hears any more."""
        keys = [future.key for future in futures]
        await self._client.scheduler.allcores_end_tasks(keys=keys, team=self._setup.team, client=self._client.id)
        await self._client._cancel(futures, force=True)

    def _later(self, what: Any, *args: Any, **how: Any) -> None:
        """Have dask do something that nobody waits for."""

        async def do() -> None:
            with contextlib.suppress(OSError):  # the cluster is gone, and all that with it
                await what(*args, **how)

        self._client.loop.add_callback(do)


class _RanBeforeError(Exception):
    """The task must not run twice, and its answer was lost with the worker that had it."""


def _prepare(to: tuple[str, str], setup: tuple[Any, ...]) -> None:
    _tell(to, 0, remote.prepare(Setup(*setup), secede), False)


def _work(
    to: tuple[str, str], setup: tuple[Any, ...], job: tuple[Any, ...], keys: list[Any], there: list[Any], oldest: int
) -> Any:
    if oldest:
        link = links.find((setup[0], "", {}))
        if not link.call(0, "begin", (setup[1], Job(*job).run, oldest)):
            raise _RanBeforeError
    answer = remote.work(Setup(*setup), Job(*job), list(zip(keys, there, strict=True)), secede)
    if answer.goes_on:
        _tell(to, job[0], answer, True)
        _be_ended()
    if answer.buffers or len(answer.data) > _SMALL:
        return tuple(answer)
    return _tell(to, job[0], answer, bool(oldest))


def _be_ended() -> None:
    """This worker has an item that goes on: it ends, and this does not return, if another takes its place."""
    worker = get_worker()
    asked = worker.scheduler.allcores_end(worker=worker.address, key=worker.get_current_task())
    asyncio.run_coroutine_threadsafe(asked, worker.loop.asyncio_loop).result()


def _tell(to: tuple[str, str], task: int, answer: remote.Answer, surely: bool) -> None:
    """Send an answer straight to the program: by the worker's stream to the scheduler, before the task is finished.

    With ``surely`` the scheduler has it when this returns: no death of this worker, in its next task, can lose it.
    """
    worker = get_worker()
    told = [answer.info, answer.data, answer.pid]
    message = {"client": to[0], "key": worker.get_current_task(), "team": to[1], "task": task, "answer": told}
    if surely:
        sent = worker.scheduler.allcores_answer(worker=worker.address, **message)
        asyncio.run_coroutine_threadsafe(sent, worker.loop.asyncio_loop).result()
    else:
        worker.loop.add_callback(worker.batched_stream.send, {"op": "allcores-answer", **message})
