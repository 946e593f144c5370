"""What a pool is to be like: how many workers, and how each of them lives."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self, TypedDict

from allcores import checks, codec, cores
from allcores.pool.places import check_affinity, check_devices

__all__ = ("Plan", "PoolOptions", "make_plan")


class PoolOptions(TypedDict, total=False):
    """What ``Pool`` may be told beyond the standard library's four arguments."""

    threads_per_worker: int | None
    """So many threads in BLAS, OpenMP and torch of each worker; by default its share of the cores, unless the
    environment says a number (``OMP_NUM_THREADS`` and its kin). Workers that are no processes share those libraries
    with the program: there None leaves them alone, and a number is set for as long as the pool lives."""
    affinity: bool | Iterable[int | Iterable[int]]
    """True: each worker runs on cores of its own only, the usable ones dealt out evenly. Or a list with a core, or a
    set of cores, for each worker in turn. No effect in the serial context."""
    devices: Iterable[int | str] | None
    """A list such as ``[0, 1]``, an entry for each worker in turn, which is its ``CUDA_VISIBLE_DEVICES`` from before
    its initializer on. ``NotSupported`` where workers are not processes."""
    oversubscribe: bool
    """A pool made in a worker of a pool has as many workers as it asks for, also beyond its share of the cores."""
    forward_output: bool | str
    """What workers print appears on ``sys.stdout`` and ``sys.stderr`` of this process, in whole lines, and what they
    log is handled by its loggers, with its levels as they were when the pool was made; both before the result of the
    call that did it. ``"named"``: each line begins with the worker's name. False: both stay in the workers, whose
    streams write to the descriptors 1 and 2, as C code and other programs always do. No effect where workers are no
    processes."""
    max_memory: int | None
    """Replace a worker, between two tasks, that has more bytes of memory for itself than this; what is in shared memory
    does not count. No effect where workers are not processes."""
    idle_timeout: float | None
    """Let a worker that has had no task for so many seconds end, down to none; they are started again when there is
    work. No effect where workers are not processes."""
    reuse: bool
    """Whether workers may be those of an earlier pool with the same arguments that has ended well, and may be kept for
    a later one: for 30 s at most, and if their memory is small. They have the environment, the working directory and
    the paths of now, import modules of yours anew, and remember nothing of the jobs before but what those have changed
    inside of installed packages (``numpy.seterr``, a registry). A worker that has threads, children or open files left
    over, or another handler of a signal, is not kept; nor is one with an initializer or a device. False: fresh ones,
    which end with the pool. No effect where workers are not processes."""


class Plan(NamedTuple):
    """The arguments of ``Pool``, checked; see there for their meaning."""

    processes: int
    initializer: Callable[..., object] | None = None
    initargs: Iterable[Any] = ()
    maxtasksperchild: int | None = None
    threads_per_worker: int | None = None
    affinity: Any = False  # checked: False, True, or a tuple of sets
    devices: Any = None  # checked: None, or a tuple
    oversubscribe: bool = False
    forward_output: Any = True  # for a worker: how, if it is to
    reuse: bool = True
    max_memory: int | None = None
    idle_timeout: float | None = None

    def checked(self) -> Self:
        """Itself, after refusing what makes no sense."""
        if self.initializer is not None and not callable(self.initializer):
            raise TypeError(
                f"initializer must be callable, not {codec.short_repr(self.initializer)}: write initializer=begin, "
                "not begin()"
            )
        if not isinstance(self.initargs, tuple | list):
            one = codec.short_repr(self.initargs)
            raise TypeError(f"initargs must be a tuple, not {one}: write ({one},) for one argument")
        for name in ("oversubscribe", "reuse"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r}")
        share = None if self.oversubscribe else cores.share()
        if self.forward_output not in (True, False, "named"):
            raise ValueError(f"forward_output must be True, False or 'named', not {self.forward_output!r}")
        processes = checks.count("processes", self.processes, "the number of workers", "leave it out for one per core")
        if share is not None and processes > share:
            _tell_that_it_is_fewer(processes, share)
            processes = share
        return self._replace(
            processes=processes,
            maxtasksperchild=_tasks(self.maxtasksperchild),
            threads_per_worker=_limit("threads_per_worker", self.threads_per_worker, "the threads of native libraries"),
            max_memory=_limit("max_memory", self.max_memory, "the bytes of a worker, as 2 << 30"),
            idle_timeout=_seconds("idle_timeout", self.idle_timeout, "the seconds until an idle worker ends"),
            affinity=check_affinity(self.affinity),
            devices=check_devices(self.devices),
        )

    @property
    def shape(self) -> int:
        """The same number for pools whose workers may take each other's place, in this process; 0: they may not."""
        # What an initializer has made of a worker is not known here, nor which device it uses.
        if not self.reuse or self.initializer is not None or self.devices is not None:
            return 0
        return hash(repr(self)) & (1 << 63) - 1 | 1


def make_plan(options: Mapping[str, Any], processes: int | None, *args: Any) -> Plan:
    """The plan of a pool with these positional arguments and options of ``Pool``. Refuses what makes no sense."""
    for name in options:
        if name not in PoolOptions.__annotations__:
            known = ", ".join(sorted(PoolOptions.__annotations__))
            raise TypeError(f"Pool() has no option {name!r}: besides the standard's it knows {known}")
    return Plan(cores.room() if processes is None else processes, *args, **options).checked()


def _tasks(value: Any) -> int | None:
    """A ValueError for any type, as the standard has it."""
    try:
        return _limit("maxtasksperchild", value, "the tasks of a worker")
    except TypeError as error:
        raise ValueError(*error.args) from None


def _tell_that_it_is_fewer(asked: int, share: int) -> None:
    """For who looks into it: the results are the same, and a warning from each worker would only disturb."""
    if "logging" in sys.modules:  # else nobody listens
        sys.modules["logging"].getLogger("allcores").info(
            "a pool that is made in a worker of a pool has the worker's share of the cores: %d instead of %d workers; "
            "oversubscribe=True gives it what it asks for",
            share,
            asked,
        )


def _limit(name: str, value: Any, what: str) -> int | None:
    return None if value is None else checks.count(name, value, what, "leave it out for the default")


def _seconds(name: str, value: Any, what: str) -> float | None:
    return None if value is None else checks.number(name, value, what, "leave it out for no limit")
