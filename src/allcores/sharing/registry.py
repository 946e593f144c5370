"""Which objects of this process are shared, how they travel, and how long they are kept.

    share(obj) ──▶ Entry: object here ⇄ block ──reduce──▶ handle ──▶ arrive: Entry there ──▶ the same object every time

Whoever receives an object keeps it, so that it is unpickled once, however many tasks bring it. It is kept as long as
any process *wants* it: has it for another reason than that it may come again. Each process says in a byte of the block
whether it wants the object. That is a hint, which no death can leave wrong for long: whoever reads it wrong unpickles
once more, or keeps an object until the next look. The memory itself has holders, of whom the core knows.
"""

from __future__ import annotations

import gc
import sys
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from allcores import _native, reducers, start
from allcores.sharing import containers
from allcores.sharing.layout import Records

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("Entry", "forget", "hold_original", "is_shared", "register", "sweep")

# References to an object that only its entry keeps: that one, and the argument of getrefcount.
_ALONE = 2
# Of the time of a process, so much may go into looking whether anything can be let go: a twentieth.
_SHARE_OF_TIME = 20


class Entry:
    """One shared object in this process."""

    __slots__ = ("__weakref__", "_idle", "kept", "records", "ref")

    def __init__(self, records: Records) -> None:
        self.records = records
        self._idle = memoryview(records.memory)
        # None for an object that cannot be referenced weakly.
        self.ref: weakref.ref[Any] | None = None
        self.kept: Any = None

    @property
    def offset(self) -> int:
        """What the handle names."""
        return self.records.memory.offset

    def get(self) -> Any:
        """The object, if it is still there."""
        return self.kept if self.ref is None else self.ref()

    def reduce(self, obj: Any) -> Any:
        """How the object travels: by handle, with the handles of what it has handles of."""
        if obj is not self.get() or (type(obj).__name__ == "ndarray" and not obj.dtype.hasobject):
            return NotImplemented  # an array on shared memory travels as such: there is nothing to unpickle
        self.is_wanted_here(True)  # who sends it has it
        records, memory = self.records, self.records.memory
        which = memory.nbytes, memory.offset, records.number
        return _arrive, (*reducers.note_handle(self), which, tuple(records.handles))

    def __reduce__(self) -> Any:
        """Of an entry that is itself such a handle."""
        return self.reduce(self.get())

    def is_wanted_here(self, wanted: bool) -> None:
        """Say whether this process has the object for another reason than that it may come again."""
        self._idle[_native.slot() - 1] = not wanted

    def was_sent(self) -> bool:
        """Whether this process has said that it wants the object, which it had only kept."""
        return not self._idle[_native.slot() - 1]

    def is_wanted_elsewhere(self) -> bool:
        """Whether another process says so."""
        me = _native.slot()
        return any(slot != me and not self._idle[slot - 1] for slot in self.records.memory.holders())


# Held by `reducers.by_id`, or by whoever has handles of them.
_by_offset: weakref.WeakValueDictionary[int, Entry] = weakref.WeakValueDictionary()
# What this process keeps for the next time: or because its end could not be noticed.
_kept: dict[int, Entry] = {}
# Kept no more, and still there: because of somebody here, or of a circle of references.
_doubtful: list[Entry] = []
_next_look = 0.0


def is_shared(obj: object) -> bool:
    """Whether the object is one that ``share`` made, here or elsewhere."""
    entry = reducers.by_id.get(id(obj))
    return entry is not None and entry.get() is obj


def register(entry: Entry, obj: Any, keep: bool) -> Any:
    """From now on the object travels by the entry's handle. The object; or the one that another thread has registered.

    Args:
        entry: of the block that the object was made from.
        obj: the object.
        keep: it came from elsewhere, and may come again: not to be let go as long as anybody wants it.
    """
    there = _by_offset.setdefault(entry.offset, entry).get()
    if there is not None:
        return there
    _by_offset[entry.offset] = entry
    entry.is_wanted_here(not keep)
    try:
        entry.ref = weakref.ref(obj, partial(_ended, id(obj)))
    except TypeError:
        keep = True
    if keep:
        entry.kept = obj
        _kept[entry.offset] = entry
    reducers.by_id[id(obj)] = entry
    return obj


def hold_original(records: Records, obj: Any) -> Entry:
    """An entry for a part of another shared object: here its handle names the original, which travels as ever."""
    entry = Entry(records)
    entry.ref = weakref.ref(obj)
    _by_offset[entry.offset] = entry
    return entry


def _ended(key: int, ref: weakref.ref[Any], is_exiting: Callable[[], bool] = sys.is_finalizing) -> None:
    if is_exiting():  # what is used here may be gone; and whoever has ended wants nothing
        return
    entry = reducers.by_id.get(key)
    if entry is not None and entry.get() is None:
        del reducers.by_id[key]
        entry.is_wanted_here(False)  # arrays of it may be left, which are views of the block


def _arrive(origin: tuple[int, int, int], pinned: bool, which: tuple[int, int, int], handles: Sequence[object]) -> Any:
    entry = reducers.held_from(origin, pinned, _entry, *which, handles)
    obj = entry.get()
    if obj is not None:
        return obj
    sweep()
    return register(entry, containers.load(entry.records), keep=True)


def _entry(nbytes: int, offset: int, number: int, handles: Sequence[object]) -> Entry:
    entry = _by_offset.get(offset)
    if entry is None or entry.get() is None or entry.records.number != number:
        entry = Entry(Records(_native.Memory(nbytes, offset, False), handles))
        if entry.records.number != number:
            raise ValueError("this handle names a shared object that has ended: keep the object as long as its handles")
    return entry


def sweep(now: bool = False) -> None:
    """Let go of what was kept and nobody wants any more. Costs nothing when nothing is kept.

    Args:
        now: look, however short ago the last look was.
    """
    global _next_look
    if not _kept:
        return
    begin = time.monotonic()
    if begin < _next_look and not now:
        return
    for offset, entry in list(_kept.items()):
        alone = sys.getrefcount(entry.kept) <= _ALONE
        if entry.ref is None or alone:
            entry.is_wanted_here(not alone)
        if entry.ref is None and not alone:
            continue
        if (entry.was_sent() and not alone) or not entry.is_wanted_elsewhere():
            _let_go(offset, entry)
    _next_look = begin + (time.monotonic() - begin) * _SHARE_OF_TIME


def _let_go(offset: int, entry: Entry) -> None:
    obj = entry.kept
    if _kept.get(offset) is not entry or obj is None:
        return  # another thread did
    _kept.pop(offset, None)
    if entry.ref is None:
        reducers.by_id.pop(id(obj), None)
    entry.kept = None
    del obj
    if entry.ref is not None and entry.ref() is not None:
        _doubtful.append(entry)


def forget() -> None:
    """Let go of all that is kept for the next time: this process has no next time."""
    for offset, entry in list(_kept.items()):
        entry.is_wanted_here(False)
        _let_go(offset, entry)
    _doubtful.clear()


def _look() -> None:
    """While this process waits it has the time to find out whether what it has let go is wanted here."""
    sweep(now=True)
    if not _doubtful:
        return
    doubtful = _doubtful[:]
    del _doubtful[: len(doubtful)]
    gc.collect()
    for entry in doubtful:
        if entry.get() is not None:
            entry.is_wanted_here(True)


start.during_long_waits.append(_look)
