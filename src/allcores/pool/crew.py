"""What a pool asks of a context: a crew of workers. The one seam between the two.

    engine ── learn(func) -> known ──────────────▶ crew
           ── send(task, known.call | mode, payload) ▶   ──▶ some worker: run_task
           ◀── receive() -> (task, info, body) ──        ◀── its answer, or news of its death

``call`` names a function above its low byte, which is a Mode. ``info`` is an Outcome in the low byte and a number above
it: nanoseconds spent for CHUNK, and for ERROR where they are known, the item for DIED and OVERDUE. Plain ints, because
an Enum would cost a microsecond a task.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from allcores import _native, limits, seeds
from allcores.errors import NotSupported
from allcores.pool.chunking import PACE
from allcores.pool.statistics import LocalRecord, Record, Traffic

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable

    from allcores.pool.chunking import Pace
    from allcores.pool.doing import Here
    from allcores.pool.engine import Engine
    from allcores.pool.plan import Plan

__all__ = ("PATIENCE_NS", "Crew", "Known", "LocalCrew", "Mode", "Orders", "Outcome", "run_task")

# A chunk is to take a millisecond. Where its items turn out to be slower than those before, what is left after this
# time is worth another message. Less, and a worker that the system keeps from its core gives back what it need not.
PATIENCE_NS = 3_000_000


class Mode:
    """How a task's payload is to be called."""

    CALL = 0  # func(*payload)
    KEYWORDS = 1  # payload is (args, kwargs)
    CHUNK = 2  # [func(x) for x in payload]
    STAR = 4  # with CHUNK: func(*x)
    ORDERS = 8  # payload is (orders, payload): see Orders
    ONCE = 16  # the function will not be named again by another call of the pool: not to be remembered
    STOP = 32  # with CHUNK: the first error ends it; the answer then has no results beyond that item
    PART = 64  # with CHUNK: when it has taken PATIENCE_NS it ends after the item it is at, likewise
    EXACT = 128  # the caller has said how often it may be sent again after a death: a crew that would do so, does not


class Orders(NamedTuple):
    """What some tasks need besides function and items. On the way it is a plain tuple, which costs less."""

    start: int = 0  # index of the first item in the input
    timeout: float | None = None  # seconds that an item may run
    seed: int | None = None


class Outcome:
    """What a message from a crew says."""

    VALUE = 0  # body is what the call returned
    ERROR = 1  # body is what it raised, packed
    CHUNK = 2  # body is (results, [(index, error, ns, pid), ...]). Fewer results than items: it was stopped
    DIED = 3  # the worker died in this task (0: in none); body is its Death as a tuple
    STARTED = 4  # a worker is ready; body is its pid
    BROKEN = 5  # the initializer raised; body is the error, packed
    RETIRED = 6  # a worker has ended, since it has done its part: another is to be started; body is its pid
    WAKE = 7  # nothing: look whether what you wait for is there
    STOPPED = 8  # a worker has ended as it was told
    OUTPUT = 9  # a worker has printed or logged something: see output.py
    IDLE = 10  # a worker has ended, since there was no work for it; body is its pid
    WANTED = 11  # there may be work for those again
    OVERDUE = 12  # likewise as DIED, but it was ended for an item that took too long; body is an Overdue as a tuple
    LOOK = 13  # to a keeper: whether an item takes too long
    ENGINE = 14  # not from a crew: body is to be run under the seat
    UNTAKEN = 15  # to a keeper: there are answers that nobody waits for
    LOST = 16  # to a keeper: workers may have died that nobody tells of


class Known:
    """A function that the workers of a crew can be told to call."""

    __slots__ = ("call", "func", "uses")

    def __init__(self, func: Callable[..., Any], key: int) -> None:
        self.func = func
        self.call = key << 8
        self.uses = 0  # results that are still to come


class Crew(Protocol):
    """The workers of one pool, in one context."""

    size: int
    # Whether the crew calls functions in this very process: errors then need no packing.
    local: bool
    # So many workers in succession may die before one has begun; the next means that it is no accident.
    patience: int
    # Whether a worker may have to leave in the middle of a chunk, of any size: then it ends it early, and its rest is
    # cut anew.
    in_parts: bool
    # Whether a task has the generators of random numbers of its process for itself.
    alone: bool
    # Whether a task is done when it has been sent.
    immediate: bool
    # What chunks are to be like.
    pace: Pace
    # Whether it is known at which item of a chunk a worker has died.
    sees_items: bool

    def repeats_in(self, items: Any, /) -> Any:
        """What several items of one map have in common and is large, so that it travels once: an object as
        ``repeated.Repeats``. None where there is nothing."""
        ...

    def learn(self, func: Callable[..., Any]) -> Known:
        """Make the function known to the workers. Raises UnpicklableError where it cannot travel."""
        ...

    def forget(self, known: Known) -> None:
        """One result of the function has come: the counterpart of one ``learn``."""
        ...

    def send(self, task: int, call: int, payload: Any, /) -> int | None:
        """Hand a task to whichever worker is free first. Never blocks for a worker.

        Returns how many bytes it takes on its way; None if they are few.
        """
        ...

    def begin(self, engine: weakref.ref[Engine]) -> None:
        """The pool's engine is there; to be held weakly, since it holds the crew."""
        ...

    def receive_into(self, inbox: list[tuple[int, int, Any]], timeout: float | None = None, /) -> bool:
        """Append the next message of the crew, in any order of tasks. False if none came in time."""
        ...

    # What is taken back or ended is named in a list that the caller holds, in one step with its being so: Ctrl-C may
    # come at any moment, also before a function returns.

    def give_up(self, tasks: list[int], interrupt: bool, into: list[int], /) -> None:
        """Nobody waits for these any more: those that no worker has taken are dropped and named.

        Of the others, no worker begins another item; with ``interrupt`` the one that runs is broken off.
        """
        ...

    def condemn(self, tasks: list[int], into: list[int], /) -> None:
        """End the workers that run these, and no other: those for which that was done are named. Others come now.

        Can be repeated, with the same list.
        """
        ...

    def expect(self, task: int, timeout: float, /) -> None:
        """Called before such a task is sent: each of its items may run so long, and is then to be OVERDUE."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that is readable while a message is there; to be asked for again after each look.

        None where messages are there as soon as a task has been sent; -1 when the crew has ended.
        """
        ...

    def drop(self, tasks: list[int], into: list[int], /) -> None:
        """Take back those of the tasks that no worker has taken, and name them: they will not run."""
        ...

    def is_running(self, task: int, /) -> bool:
        """Whether a worker is at the task."""
        ...

    def wake(self) -> None:
        """Make a blocked ``receive`` return, with WAKE."""
        ...

    def workers(self) -> list[Any]:
        """The workers there are: processes or threads."""
        ...

    def records(self) -> list[Record]:
        """What each worker has done, and is at."""
        ...

    def traffic(self) -> Traffic:
        """What went between the pool and its workers."""
        ...

    def stacks(self, timeout: float | None, /) -> dict[str, str | None]:
        """The Python stacks of the workers, by name; None for one that has not answered in so many seconds."""
        ...

    def show(self) -> None:
        """Show what workers have printed and logged so far, where that does not go its own way."""
        ...

    def show_all(self) -> None:
        """Likewise the rest, after the workers have ended."""
        ...

    def finish(self) -> None:
        """Let the workers end after the tasks they have, and wait for them."""
        ...

    def abort(self) -> None:
        """End the workers now; tasks are lost. Can be called twice."""
        ...


class LocalCrew:
    """The part of a crew that is the same wherever functions need not travel."""

    local = True
    patience = 0
    in_parts = False
    alone = True
    immediate = False
    pace = PACE
    sees_items = True

    def __init__(self, plan: Plan) -> None:
        if plan.devices is not None:
            raise NotSupported(
                "devices needs workers that are processes, each with an environment of its own: use the process "
                "context, or have the task choose its device"
            )
        # Held for as long as the pool lives: the libraries are the whole program's.
        self._lid = None if plan.threads_per_worker is None else limits.Lid(plan.threads_per_worker)
        self._functions: dict[int, Callable[..., Any]] = {}
        self._keys = itertools.count(1)
        self._records: list[LocalRecord] = []
        self._waited = 0.0  # seconds for answers

    def repeats_in(self, _items: Any, /) -> None:
        """Nothing: items need not travel."""

    def learn(self, func: Callable[..., Any]) -> Known:
        """Remember the function."""
        key = next(self._keys)
        self._functions[key] = func
        return Known(func, key)

    def forget(self, known: Known) -> None:
        """Forget the function."""
        self._functions.pop(known.call >> 8, None)

    def _lift(self) -> None:
        if self._lid is not None:
            self._lid.lift()

    def give_up(self, _tasks: list[int], _interrupt: bool, _into: list[int], /) -> None:
        """Nothing to do where nothing runs beside the caller."""

    def drop(self, _tasks: list[int], _into: list[int], /) -> None:
        """None: each has run."""

    def is_running(self, _task: int, /) -> bool:
        """No: each has run."""
        return False

    def condemn(self, _tasks: list[int], _into: list[int], /) -> None:
        """Nothing to do: a thread cannot be ended."""

    def expect(self, _task: int, _timeout: float, /) -> None:
        """Nothing to do where an item's time is looked at when it has ended."""

    def fileno(self) -> int | None:
        """None: each has run."""
        return None

    def begin(self, engine: weakref.ref[Engine]) -> None:
        """Nothing to do: nobody dies here without the program."""

    def recorded(self, name: str) -> LocalRecord:
        """A record for the worker that is this thread."""
        record = LocalRecord(name)
        self._records.append(record)
        return record

    def replaced(self, task: int) -> None:
        """The worker that is at this task is none any more."""
        for record in self._records:
            record.gone = record.gone or record.task == task

    def workers(self) -> list[Any]:
        """None but the caller."""
        return []

    def records(self) -> list[Record]:
        return [record.now() for record in self._records if not record.gone]

    def traffic(self) -> Traffic:
        return Traffic(0, 0, self._waited, sum(record.tasks for record in self._records))

    def stacks(self, _timeout: float | None, /) -> dict[str, str | None]:
        """At once."""
        from allcores.pool.dump import stacks_of_threads

        return stacks_of_threads((record.name, record.runs_in) for record in self._records)

    def show(self) -> None:
        """Nothing to do: the streams and handlers are the program's own."""

    show_all = show


def run_task(func: Callable[..., Any], mode: int, payload: Any, here: Here | None = None) -> tuple[int, Any]:
    """Run one task: ``(info, body)`` of its answer. Errors come back, they are not raised.

    Args:
        func: the function that the task names.
        mode: how to call it; see Mode.
        payload: its arguments, or a chunk of items.
        here: who watches over it in this very process. None in a worker process, whose record says what it is at.
    """
    try:
        if mode & Mode.ORDERS:
            orders, payload = Orders(*payload[0]), payload[1]
            if orders.seed is None:
                return _run_ordered(func, mode, orders, payload, here)
            # Each item with random numbers of its own. Outside of a worker the generators are the caller's.
            with seeds.Seeded(func, orders.seed, orders.start, keep=here is not None) as seeded:
                return _run_ordered(seeded, mode, orders, payload, here)
        if mode & Mode.CHUNK:
            return _run_chunk(func, mode, payload, here)
        if mode & Mode.KEYWORDS:
            return Outcome.VALUE, func(*payload[0], **payload[1])
        return Outcome.VALUE, func(*payload)
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it fails the item, not the worker
        return Outcome.ERROR, error


def _run_chunk(
    func: Callable[..., Any], mode: int, items: Any, here: Here | None, limit: int = 0
) -> tuple[int, tuple[Any, ...]]:
    told = None if here is None else here.told
    star, stop = bool(mode & Mode.STAR), bool(mode & Mode.STOP)
    patience = 0 if not mode & Mode.PART else PATIENCE_NS if here is None else here.patience or PATIENCE_NS
    results, errors, spent = _native.run_chunk(func, items, star, told is None, stop, patience, limit, told)
    return Outcome.CHUNK | spent << 8, (results, errors)


def _run_ordered(
    func: Callable[..., Any], mode: int, orders: Orders, payload: Any, here: Here | None
) -> tuple[int, Any]:
    """Likewise, doing for each item what the orders say."""
    limit = 0 if orders.timeout is None else max(int(orders.timeout * 1e9), 1)
    if limit and here is not None:
        func = here.watched(func, limit)
        limit = 0
    if mode & Mode.CHUNK:
        return _run_chunk(func, mode, payload, here, limit)
    args, kwds = payload if mode & Mode.KEYWORDS else (payload, {})
    began = time.monotonic_ns()
    try:
        return Outcome.VALUE, _native.call_timed(func, args, kwds, limit) if limit else func(*args, **kwds)
    except BaseException as error:  # noqa: BLE001 - as above
        return Outcome.ERROR | time.monotonic_ns() - began << 8, error
