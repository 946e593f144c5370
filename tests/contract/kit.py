"""What the contract's tests share: the contexts with their capabilities, and a few words."""

import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest

import allcores
from allcores.context import Context

__all__ = (
    "CLUSTERS",
    "FORK",
    "FOR_CLUSTERS",
    "FOR_FORK",
    "IMPATIENT",
    "LOCAL",
    "MISUSE",
    "PATIENCE",
    "PLACES",
    "SHORT",
    "Context",
    "Handle",
    "Place",
    "report",
)

# What a context's Process(), Queue(), Lock(), Value() give: their types differ from context to context.
Handle = Any

# Seconds within which what must happen has happened. Below pytest's 60, so that the test itself fails first.
PATIENCE = 30.0
# Seconds to wait for what must not happen: longer makes the suite slow, shorter may look away too early.
SHORT = 0.05

# All ways to ask without waiting long, as arguments of get, put and acquire; a negative time is none at all.
IMPATIENT: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((False,), {}),
    ((), {"block": False}),
    ((), {"block": False, "timeout": PATIENCE}),
    ((True, SHORT), {}),
    ((), {"timeout": SHORT}),
    ((), {"timeout": 0}),
    ((), {"timeout": -1}),
)

# The standard library asserts where we say it in words; either is loud.
MISUSE = (AssertionError, ValueError)


@dataclass(frozen=True, slots=True)
class Place:
    """A context under test and what it can do beyond the common vocabulary."""

    name: str
    kills: bool  # a worker can be ended from outside, and can die without taking the program along
    parallel: bool  # workers run while their parent goes on
    copies: bool  # arguments and results are copied on their way
    alone: bool = True  # a task has the random generators of its process for itself
    inherits: bool = False  # a Process has its job from its parent's memory: its function and arguments do not travel
    cluster: bool = False  # work runs in another program, perhaps on another machine: no memory is shared
    shares: bool = True  # there is memory that several processes see
    owns: bool = True  # a pool's workers are its own, to be limited and replaced as it is told
    tells: bool = True  # how one of them has ended is known

    @property
    def once(self) -> dict[str, Any]:
        """Options of a call that is not to run again when its worker dies: where nothing is said, a cluster's does."""
        return {"retries": 0} if self.cluster else {}

    def end(self, known: Any) -> Any:
        """How a pool's worker has ended, as its WorkerDied has it: an exit code, or words that its message has."""
        return known if self.tells else None if isinstance(known, int) else "for an unknown reason"

    def some(self, times: int) -> int:
        """So many times what costs next to nothing here; fewer where each is a round trip."""
        return times // 50 if self.cluster else times

    def fits(self, test: pytest.Item) -> bool:
        """Whether the `needs` and `lacks` marks of this test let it run here."""
        needed = [name for mark in test.iter_markers("needs") for name in mark.args]
        lacked = [name for mark in test.iter_markers("lacks") for name in mark.args]
        return all(getattr(self, name) for name in needed) and not any(getattr(self, name) for name in lacked)


PLACES = (
    Place("serial", kills=False, parallel=False, copies=False),
    Place("thread", kills=False, parallel=True, copies=False, alone=False),
    Place("process", kills=True, parallel=True, copies=True),
)

# All contexts of this machine.
LOCAL = tuple(name for name in allcores.get_all_contexts() if name not in ("dask", "ray"))

# Each a real cluster of this machine, one for all tests; only where it is installed.
CLUSTERS = tuple(
    Place(name, kills=True, parallel=True, copies=True, cluster=True, shares=False, owns=False, tells=name != "ray")
    for name, package in (("dask", "distributed"), ("ray", "ray"))
    if find_spec(package) and find_spec(f"allcores.contexts.{name}")
)
# What of the suite runs for a cluster without being asked: the rest takes minutes, by `-m "slow or not slow"`.
FOR_CLUSTERS = (
    "test_lock",
    "test_pool_errors",
)

# The start method of the processes is theirs alone; so only what it makes a difference to runs there, too.
FORK = Place("fork", kills=True, parallel=True, copies=True, inherits=True)
FOR_FORK = (
    "test_process",
    "test_process_end",
    "test_process_result",
    "test_pool_death",
    "test_pool_cancel",
    "test_pool_retries",
)


def report(error: BaseException) -> str:
    """The error as a user sees it: with its causes, notes and tracebacks, the remote ones included."""
    return "".join(traceback.format_exception(error))
