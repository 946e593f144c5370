"""How many threads native libraries use: BLAS, OpenMP, torch, and what else asks the environment.

    pool ── variables() ──▶ surroundings ──▶ worker: its environment, then apply()

A library asks the environment when it is loaded, so for all that a worker imports later the variables are enough. What
the template had loaded already is set to the same numbers by threadpoolctl, before the job is unpacked.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Lid", "adopt", "apply", "inherited", "learn", "restrained", "variables")

_OPENMP = "OMP_NUM_THREADS"
# Those whose libraries ask for OpenMP's number where their own is not set.
_OR_OPENMP = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_OTHERS = ("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
# Of a library that is loaded, by threadpoolctl's name for it.
_ASKED = {
    "openblas": ("OPENBLAS_NUM_THREADS", _OPENMP),
    "mkl": ("MKL_NUM_THREADS", _OPENMP),
    "blis": ("BLIS_NUM_THREADS", _OPENMP),
    "openmp": (_OPENMP,),
}
# To look for loaded libraries costs milliseconds: done only where one of these may have brought some.
_BRINGERS = ("numpy", "scipy", "sklearn", "torch")

# What we have set in this process's environment: the rest is the user's.
_ours: dict[str, str] = {}


def variables(threads: int, forced: bool) -> dict[str, str]:
    """What to set in a worker's environment for so many threads.

    Args:
        threads: at least 1.
        forced: also where the user has set another number, which counts otherwise.
    """
    users = {} if forced else {name: value for name, value in os.environ.items() if _ours.get(name) != value}
    names = (*_OTHERS, *(() if _OPENMP in users else (_OPENMP, *_OR_OPENMP)))
    return {name: str(threads) for name in names if name not in users}


def inherited() -> dict[str, str]:
    """What of this process's environment is not the user's: a process that it starts knows them apart, too."""
    return {name: value for name, value in _ours.items() if os.environ.get(name) == value}


def adopt(ours: dict[str, str]) -> None:
    """This process has these variables from whoever started it; they are set here."""
    _ours.clear()
    _ours.update(ours)
    os.environ.update(ours)


class _Loaded:
    """The libraries that this process, or the template that it was forked from, has found loaded."""

    bringers: frozenset[str] = frozenset()
    libraries: tuple[Any, ...] = ()
    # By the template, so that no worker starts threads only to have fewer.
    restrained = False


def learn() -> bool:
    """Look for libraries, if some may have come since. Whether there are any."""
    bringers = frozenset(_BRINGERS) & sys.modules.keys()
    if bringers != _Loaded.bringers:
        from threadpoolctl import ThreadpoolController

        _Loaded.libraries = tuple(ThreadpoolController().lib_controllers)
        _Loaded.bringers = bringers
    return bool(bringers)


@contextlib.contextmanager
def restrained() -> Iterator[None]:
    """In the template, around imports: OpenBLAS makes its threads when it is loaded, and again after a fork as soon as
    it is told a number. So here it has one, and each process says how many it wants."""
    names = _ASKED["openblas"]
    if any(name in os.environ for name in names):
        yield
        return
    _Loaded.restrained = True
    os.environ[names[0]] = "1"
    try:
        yield
    finally:
        del os.environ[names[0]]


def apply() -> None:
    """Set libraries that are loaded already to what the environment says."""
    if not learn():
        return
    for library in _Loaded.libraries:
        names = _ASKED.get(library.internal_api, (_OPENMP,))
        wanted = _number(*names)
        if wanted is None and library.internal_api == "openblas" and _Loaded.restrained:
            wanted = len(os.sched_getaffinity(0))  # as it does itself
        if wanted is not None and library.num_threads != wanted:
            library.set_num_threads(wanted)
    torch = sys.modules.get("torch")
    wanted = _number(_OPENMP)
    if torch is not None and wanted is not None:
        torch.set_num_threads(wanted)


def _number(*names: str) -> int | None:
    """The first of these variables that is set, of a list such as ``4,2`` its first; None if none says a number."""
    for name in names:
        told = os.environ.get(name, "").partition(",")[0].strip()
        if told.isdecimal() and int(told) > 0:
            return int(told)
    return None


class Lid:
    """Holds the libraries of this very process down to so many threads, from now until ``lift``.

    Of several lids the last that is on counts, and when all are off the numbers are as they were before the first.
    """

    _on: ClassVar[list[Lid]] = []
    _before: ClassVar[dict[str, tuple[Any, int]]] = {}  # by file: the library, and its number
    _lock = threading.RLock()

    def __init__(self, threads: int) -> None:
        self.threads = threads
        learn()
        with self._lock:
            for library in _Loaded.libraries:
                self._before.setdefault(library.filepath, (library, library.num_threads))
            torch = sys.modules.get("torch")
            if torch is not None:
                self._before.setdefault("torch", (torch, torch.get_num_threads()))
            self._on.append(self)
            self._set()

    def lift(self) -> None:
        """Can be called twice."""
        with self._lock:
            if self in self._on:
                self._on.remove(self)
                self._set()
                if not self._on:
                    self._before.clear()

    def _set(self) -> None:
        for library, before in self._before.values():
            library.set_num_threads(self._on[-1].threads if self._on else before)

    def hold_thread(self) -> None:
        """In a thread of the pool: OpenMP's number is each thread's own."""
        for library in _Loaded.libraries:
            if library.user_api == "openmp":
                library.set_num_threads(self.threads)
