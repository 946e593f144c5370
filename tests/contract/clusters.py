"""The clusters of the suite: one of each engine for all tests, started when the first needs it."""

import functools
import os

import psutil

from allcores.context import get_context

__all__ = ("are_there", "is_of_engine", "prepare")

_heads: set[int] = set()


@functools.cache
def prepare(name: str) -> None:
    """Start it, and have its workers open what they open once."""
    before = set(psutil.Process().children())
    mp = get_context(name)
    with mp.Pool(2) as pool:
        pool.map(abs, range(10), chunksize=1)
    processes = [mp.Process(target=os.getpid) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    _heads.update(child.pid for child in set(psutil.Process().children()) - before)


def are_there() -> bool:
    """Whether one was started."""
    return bool(_heads)


def is_of_engine(process: psutil.Process) -> bool:
    """Whether a process is the engine's own, which starts and replaces its workers as it likes; or a worker's template.

    What these start is not: the template's children are processes of tests.
    """
    try:
        parent = process.parent()
        if process.pid in _heads or parent is None:
            return process.pid in _heads
        if not is_of_engine(parent):
            return False
        if not any("allcores-template" in word for word in parent.cmdline()):
            return True
        return any("allcores-parked" in word for word in process.cmdline())  # for the next pool in that worker
    except psutil.NoSuchProcess:  # one that is replaced just now
        return True
