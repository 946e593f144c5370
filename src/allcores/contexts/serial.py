"""The serial context: everything happens here and now, in the order of the program. The debugging twin of the others.

``start()`` runs the function before it returns, a pool runs a call when it is submitted. What only another process
could end raises ``WouldBlockForever`` instead of hanging.
"""

from __future__ import annotations

import itertools
import queue
from collections import deque
from typing import TYPE_CHECKING, Any

from allcores import seeds, several, sync
from allcores.base import current_process, here, running
from allcores.context import Context
from allcores.contexts import local, thread
from allcores.errors import NotSupported, WouldBlockForever
from allcores.localqueues import LocalJoinableQueue, LocalQueue, LocalSimpleQueue
from allcores.pool import state
from allcores.pool.crew import LocalCrew, Outcome, run_task
from allcores.pool.doing import Here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from allcores.pool.plan import Plan

__all__ = ("SerialContext",)


class Process(thread.Thread):
    """A ``Process`` whose function has run when ``start`` returns."""

    _count = itertools.count(1)

    def start(self) -> None:
        """Run the function, here and now."""
        self._check_open()
        if self._started():
            raise AssertionError("a process can be started once: make a new Process")
        self._begun = True
        self._lend()
        before = here()
        try:
            self._run()
        finally:
            running.thread = before

    def join(self, timeout: float | None = None) -> None:
        """Return at once: it has ended."""
        self._check_started()

    def terminate(self) -> None:
        """Nothing to end: it has ended."""
        if not self._ended.is_set():
            raise NotSupported("nothing runs beside the program in the serial context: there is nothing to terminate")

    kill = terminate


class Thread(Process):
    """A ``Thread`` whose function has run when ``start`` returns."""

    _count = itertools.count(1)


class _Alone(LocalQueue):
    """``put`` and ``get`` that raise ``WouldBlockForever`` where they would wait for somebody else."""

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        try:
            super().put(obj, block=False)
        except queue.Full:
            if block and timeout is None:
                raise WouldBlockForever("put() on a full queue") from None
            raise

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return super().get(block=False)
        except queue.Empty:
            if block and timeout is None:
                raise WouldBlockForever("get() on an empty queue") from None
            raise


class Queue(_Alone):
    """A queue."""


class SimpleQueue(_Alone, LocalSimpleQueue):
    """A queue without limits."""


class JoinableQueue(_Alone, LocalJoinableQueue):
    """A queue that knows which items are not done yet."""

    def _wait(self) -> None:
        raise WouldBlockForever(f"join() of a queue with {self.unfinished_tasks} unfinished items")


class _Impatient:
    """``acquire`` that does not wait for a holder who cannot come."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if super().acquire(False):  # type: ignore[misc]
            return True
        if block and timeout is None:
            raise WouldBlockForever(f"acquire() of a {type(self).__name__} that is not free")
        return False

    def __enter__(self) -> bool:
        return self.acquire()


class Lock(_Impatient, sync.Lock):
    """A lock."""


class RLock(_Impatient, sync.RLock):
    """A recursive lock."""


class Semaphore(_Impatient, sync.Semaphore):
    """A semaphore."""


class BoundedSemaphore(_Impatient, sync.BoundedSemaphore):
    """A bounded semaphore."""


class Condition(sync.Condition):
    """A condition variable; nobody else is there to notify."""

    def __init__(self, lock: sync.Lock | None = None) -> None:
        super().__init__(RLock() if lock is None else lock)

    def wait(self, timeout: float | None = None) -> bool:
        """False: nobody else could notify meanwhile."""
        self._check_mine("wait()")
        if timeout is None:
            raise WouldBlockForever("wait() for a condition")
        return False

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """The value of ``predicate()``: nobody else could change it meanwhile."""
        return super().wait_for(predicate) if timeout is None else predicate()


class Barrier(sync.Barrier):
    """A barrier; nobody else could come."""

    def wait(self, timeout: float | None = None) -> int:
        """Go on, if this is the only party."""
        if self.parties > 1 and not self.broken and timeout is None and self._timeout is None:
            raise WouldBlockForever(f"wait() at a barrier for {self.parties} parties")
        return super().wait(0 if self.parties > 1 else timeout)


class Event(sync.Event):
    """An event."""

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it is set; nobody else could set it meanwhile."""
        if not self.is_set() and timeout is None:
            raise WouldBlockForever("wait() for an event that is not set")
        return self.is_set()


class SerialContext(Context):
    """Work runs here and now."""

    name = "serial"
    Process = Process
    Thread = Thread
    _is_here = True

    def Queue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> Queue:  # noqa: N802
        return Queue(maxsize, max_bytes=max_bytes)

    def JoinableQueue(self, maxsize: int = 0, *, max_bytes: int | None = None) -> JoinableQueue:  # noqa: N802
        return JoinableQueue(maxsize, max_bytes=max_bytes)

    def SimpleQueue(self) -> SimpleQueue:  # noqa: N802
        return SimpleQueue()

    def _pipe_ends(self) -> Any:
        return local.make_pipe(patient=False)

    def wait(self, object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
        objects = list(object_list)
        if several.has_descriptors(objects):  # what is outside goes on
            return several.wait(objects, timeout)
        ready = several.wait(objects, 0)
        if objects and not ready and timeout is None:
            raise WouldBlockForever("wait() for things of which none is ready")
        return ready

    def Lock(self, *, on_owner_death: Any = "poison") -> Lock:  # noqa: N802
        return Lock(on_owner_death=on_owner_death)

    def RLock(self, *, on_owner_death: Any = "poison") -> RLock:  # noqa: N802
        return RLock(on_owner_death=on_owner_death)

    def Semaphore(self, value: int = 1) -> Semaphore:  # noqa: N802
        return Semaphore(value)

    def BoundedSemaphore(self, value: int = 1) -> BoundedSemaphore:  # noqa: N802
        return BoundedSemaphore(value)

    def Condition(self, lock: Any = None) -> Condition:  # noqa: N802
        return Condition(lock)

    def Barrier(  # noqa: N802
        self, parties: int, action: Callable[[], object] | None = None, timeout: float | None = None
    ) -> Barrier:
        return Barrier(parties, action, timeout)

    def Event(self) -> Event:  # noqa: N802
        return Event()

    def _crew(self, plan: Plan) -> _Crew:
        return _Crew(plan)

    def current_process(self) -> Any:
        return here() or current_process()

    def active_children(self) -> list[Any]:
        return []


class _Crew(LocalCrew):
    """Nobody but the caller: a task is run when it is submitted, its answer waits to be received."""

    immediate = True

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.size = plan.processes
        self._state = state.WorkerState(0)
        self._record = self.recorded("PoolWorker-1")
        self._answers: deque[tuple[int, int, Any]] = deque()
        if plan.initializer is not None:
            outer = state.here.state
            try:
                state.here.state = self._state
                plan.initializer(*plan.initargs)
            except BaseException as error:  # noqa: BLE001 - told to the pool, which cannot work
                self._answers.append((0, Outcome.BROKEN, error))
            finally:
                state.here.state = outer

    def send(self, task: int, call: int, payload: Any, /) -> None:
        if self._answers and self._answers[0][1] == Outcome.BROKEN:
            return  # as a worker that never comes to take it
        outer = state.here.state
        try:
            state.here.state = self._state
            with seeds.hidden():  # the caller may be an item of another pool, and have a seed
                self._record.begin(task)
                answer = run_task(self._functions[call >> 8], call & 0xFF, payload, Here())
                self._record.end(*answer)
                self._answers.append((task, *answer))
        finally:
            state.here.state = outer

    def receive_into(self, inbox: list[tuple[int, int, Any]], timeout: float | None = None, /) -> bool:
        if self._answers:
            inbox.append(self._answers.popleft())
            return True
        if timeout is None:
            raise WouldBlockForever("waiting for a result")
        return False

    def wake(self) -> None:
        self._answers.append((0, Outcome.WAKE, None))

    def finish(self) -> None:
        self._answers.clear()
        self._lift()

    abort = finish
