"""Buffers that the engine keeps in its object store: known by where they are, as long as nobody changes them.

    SharedArray, an array in several items of a map ── keep ──▶ key of its memory ──▶ Team.send: once per worker
                                                                       └─ file_of ──▶ mapped: of workers of this machine

A pickle of the array has its buffer beside it; whoever sends the pickle asks for the key of that. Workers of this very
machine need no copy of their own: they map the pages of a memory file, and those that they write to are private.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from allcores.cluster.parcel import LARGE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "READ_ONLY",
    "Repeated",
    "drop_file",
    "file_of",
    "keep",
    "kept_copy",
    "key_for",
    "key_of",
    "mapped",
    "repeated_in",
)

# How the key of a buffer begins that arrives read-only; any other is the receiver's own, to write to.
READ_ONLY = "r"
_LEAST = 256 << 10

_numbers = itertools.count(1)
# By address and size: key, and who is to be told when it is kept no longer.
_kept: dict[tuple[int, int], str] = {}
_told: weakref.WeakSet[Any] = weakref.WeakSet()  # teams
_files: dict[str, int] = {}  # by key: a descriptor
_lock = threading.RLock()


def _place(buffer: Any) -> tuple[int, int]:
    array: Any = np.frombuffer(buffer, np.uint8)
    return array.__array_interface__["data"][0], array.nbytes


def keep(array: Any, kind: str) -> Callable[[], None]:
    """The memory of an array is the same for all who send it, from now on: call what this returns when it is not."""
    place = _place(memoryview(array.reshape(-1, order="A")).cast("B"))
    key = _kept[place] = f"{kind}{os.getpid()}-{next(_numbers)}"
    return lambda: _let_go(place, key)


def kept_copy(source: Any, kind: str) -> tuple[Any, Callable[[], None]]:
    """A copy of an array, kept from the beginning. A large one is in a memory file at once, for ``mapped``."""
    if source.nbytes < LARGE:
        made = np.array(source, order="C")
        return made, keep(made, kind)
    flat: Any = np.ascontiguousarray(source).reshape(-1).view(np.uint8)
    fd = _file_with(memoryview(flat))
    made = np.ndarray(source.shape, source.dtype, mmap.mmap(fd, source.nbytes, mmap.MAP_SHARED, mmap.PROT_READ))
    end = keep(made, kind)
    _files[_kept[_place(made.reshape(-1).view(np.uint8))]] = fd
    return made, end


def _file_with(view: memoryview) -> int:
    """A memory file with these bytes. Written, not mapped: else each page would cost a fault."""
    fd = os.memfd_create("allcores-kept", os.MFD_CLOEXEC)
    done = 0
    while done < view.nbytes:
        done += os.write(fd, view[done:])
    return fd


def _let_go(place: tuple[int, int], key: str) -> None:
    if _kept.get(place) == key:
        del _kept[place]
    drop_file(key)
    for team in list(_told):
        team.let_go(key)


def file_of(key: str, view: memoryview) -> tuple[int, int, int]:
    """A memory file with these bytes, as ``mapped`` takes it: process, descriptor there, size."""
    with _lock:
        fd = _files.get(key)
        if fd is None:
            fd = _files[key] = _file_with(view)
    return os.getpid(), fd, view.nbytes


def drop_file(key: str) -> None:
    """Nobody is to map it any more; who has, has its pages."""
    with _lock:
        fd = _files.pop(key, None)
        if fd is not None:
            os.close(fd)


def mapped(key: str, pid: int, fd: int, nbytes: int) -> mmap.mmap:
    """Its bytes: to be written to as one's own, or read-only, as the key says."""
    file = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if key.startswith(READ_ONLY):
            return mmap.mmap(file, nbytes, mmap.MAP_SHARED, mmap.PROT_READ)
        return mmap.mmap(file, nbytes, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(file)


def key_for(buffer: Any) -> str:
    """The key of a large buffer of a function: that by which it is kept, or a new one."""
    return (_kept.get(_place(buffer)) if _kept else None) or f"w{os.getpid()}-{next(_numbers)}"


def key_of(buffer: Any, team: Any) -> str | None:
    """The key of a large buffer that is about to be sent; the team is told when it is kept no longer."""
    key = _kept.get(_place(buffer)) if _kept else None
    if key is not None:
        _told.add(team)
    return key


class Repeated:
    """The arrays that several items of one map have: each that is large is kept as long as this lives."""

    def __init__(self, arrays: list[Any]) -> None:
        for array in arrays:
            if array.nbytes >= LARGE:
                weakref.finalize(self, keep(array, "w"))
        self._arrays = {id(array): array for array in arrays}

    def replace(self, items: list[Any]) -> list[Any]:
        """The items, each with arrays of its own: else what one writes is seen by the next of its chunk."""
        return [self._item(item) for item in items]

    def _item(self, item: Any) -> Any:
        views = {id(x): x.view() for x in _inside(item) if id(x) in self._arrays}  # of the memory they are known by
        if type(item) in (tuple, list):
            return type(item)(views.get(id(x), x) for x in item)
        return views.get(id(item), item)


def repeated_in(items: Any) -> Repeated | None:
    """The arrays of some size that more than one item of a list or tuple is or has in it; None where there are none."""
    if type(items) not in (list, tuple) or not items or not any(map(_is_large, _inside(items[0]))):
        return None
    found = {id(x): x for item in items for x in _inside(item) if _is_large(x)}
    times = Counter(i for item in items for i in {id(x) for x in _inside(item)} if i in found)
    several = [found[i] for i, n in times.items() if n > 1]
    return Repeated(several) if several else None


def _inside(item: Any) -> Any:
    return item if type(item) in (tuple, list) else (item,)


def _is_large(x: Any) -> bool:
    return type(x) is np.ndarray and x.nbytes >= _LEAST and x.flags.forc and not x.dtype.hasobject
