"""The workers of one pool on dask: its tasks, each a task of the scheduler, and what becomes of them."""

from __future__ import annotations

import itertools
from collections import deque
from typing import TYPE_CHECKING, Any

from distributed.scheduler import KilledWorker

from allcores.cluster import link as links
from allcores.cluster import remote
from allcores.cluster.seams import Job, Setup
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from allcores.cluster.seams import Reports
    from allcores.contexts.dask import DaskFleet

__all__ = ("DaskTeam",)


class DaskTeam:
    """See ``seams.Team``. The workers are the cluster's; ``narrow``: fewer tasks than it has room for go out."""

    def __init__(self, fleet: DaskFleet, size: int, narrow: bool, setup: Setup, reports: Reports) -> None:
        self.size, self._fleet, self._setup, self._reports = size, fleet, setup, reports
        self._client = fleet.client
        self._limit = size if narrow else None
        self._numbers = itertools.count(1)
        self._futures: dict[int, Any] = {}  # by task
        self._waiting: deque[tuple[Job, list[Any], bool]] = deque()
        self._finished: list[tuple[int, Any]] = []
        self._gathering = False
        self._ended = False
        for address in list(self._client.nthreads())[:size]:
            future = self._submit(_prepare, tuple(setup), workers=[address], allow_other_workers=True)
            self._watch(0, future, False)

    def _submit(self, function: Any, *args: Any, **how: Any) -> Any:
        key = f"allcores-{self._setup.team}-{next(self._numbers)}"
        return self._client.submit(function, *args, key=key, pure=False, **how)

    def send(self, job: Job, buffers: list[Any], exact: bool) -> None:
        if self._limit is not None and len(self._futures) >= self._limit:
            self._waiting.append((job, buffers, exact))
            return
        self._send(job, buffers, exact)

    def _send(self, job: Job, buffers: list[Any], exact: bool) -> None:
        future = self._submit(_work, tuple(self._setup), tuple(job), [bytes(each) for each in buffers], exact)
        self._futures[job.task] = future
        self._watch(job.task, future, exact)

    def _watch(self, task: int, future: Any, exact: bool) -> None:
        self._client.loop.add_callback(self._follow, task, future, exact)

    # In the event loop.

    async def _follow(self, task: int, future: Any, exact: bool) -> None:
        await future._state.wait()
        if task and self._futures.get(task) is not future:
            return
        if future.status == "finished":
            self._finished.append((task, future))
            if not self._gathering:
                self._gathering = True
                try:
                    while self._finished:
                        await self._gather()
                finally:
                    self._gathering = False
            return
        self._leave(task)
        error = future._state.exception
        if isinstance(error, KilledWorker):
            await self._died(task, future.key, error.last_worker, exact)
        elif future.status == "cancelled":
            if not self._ended:
                self._reports.lost(ClusterDied(f"the connection to the dask cluster was lost: {error}"))
        else:
            self._reports.failed(task, error or RuntimeError(f"dask says that the task is {future.status}"))

    async def _gather(self) -> None:
        finished, self._finished = self._finished, []
        try:
            answers = await self._client._gather([future for _, future in finished], errors="skip")
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            for task, _ in finished:
                self._leave(task)
                self._reports.failed(task, error)
            return
        for (task, _), answer in zip(finished, answers, strict=True):
            self._leave(task)
            self._reports.answered(task, remote.Answer(*answer))

    async def _died(self, task: int, key: str, worker: Any, exact: bool) -> None:
        if task == 0:
            return
        began = True
        self._reports.died(task, getattr(worker, "pid", 0), None, began)

    def _leave(self, task: int) -> None:
        self._futures.pop(task, None)
        while self._waiting and (self._limit is None or len(self._futures) < self._limit):
            self._client.loop.run_in_executor(None, self._send, *self._waiting.popleft())

    # Asked by the crew.

    def take_back(self, tasks: list[int]) -> list[int]:
        wanted = set(tasks)
        found = [each for each in list(self._waiting) if each[0].task in wanted]
        for each in found:
            self._waiting.remove(each)
        return [each[0].task for each in found]

    def is_running(self, task: int) -> bool:
        return task in self._futures

    def end_worker_of(self, task: int) -> bool:
        return False

    def end(self, wait: bool) -> None:
        self._ended = True
        futures = list(self._futures.values())
        self._futures.clear()
        self._waiting.clear()
        if futures:
            self._client.cancel(futures, force=True)
        self._client.loop.add_callback(self._client._run, remote.forget, self._setup.team, on_error="ignore")


def _prepare(setup: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(remote.prepare(Setup(*setup)))


def _work(setup: tuple[Any, ...], job: tuple[Any, ...], buffers: list[Any], exact: bool) -> tuple[Any, ...]:
    if exact:
        links.find((setup[0], "", {})).call(0, "begin", (f"{setup[1]}-{job[0]}",))
    return tuple(remote.work(Setup(*setup), Job(*job), buffers))
