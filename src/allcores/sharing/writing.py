"""Writing a shared object: records one after the other, and one block when their size is known."""

from __future__ import annotations

import os
import pickle
from array import array
from itertools import accumulate
from types import FunctionType
from typing import TYPE_CHECKING, Any, Self

from allcores import _native, codec, reducers
from allcores.sharing import registry
from allcores.sharing.layout import (
    ALIGNED,
    BUFFER,
    HEAD,
    HEAD_AT,
    IDLE,
    RECORD,
    START,
    Hashless,
    Kind,
    Records,
    stable_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("Writer",)

# So many small pieces are made one. Fewer cost more time, more are felt in memory.
_PIECES = 4096
# Pieces that are larger on the average are left as they are: joining them would copy what is large.
_SMALL = 4096
# By name, because numpy need not be imported to know that something else is met.
_ARRAYS = ("ndarray", "SharedArray")


class _Light(pickle.Pickler):
    """The C pickler, with arrays out of band and what must go by value in blocks of its own."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer, 5, buffer_callback=writer.keep_in)
        self._writer = writer

    def reducer_override(self, obj: Any) -> Any:
        writer = self._writer
        if isinstance(obj, FunctionType | type) and id(obj) not in writer.importable:
            if not codec.is_importable(obj):
                return writer.apart(obj)
            writer.importable[id(obj)] = obj
        return writer.reduce(obj)


class Writer:
    """Collects the records of one shared object. What is large is noted and not copied, until ``finish`` does.

    To be used in a ``with`` block: what is pickled in it notes the shared objects it has handles of.
    """

    def __init__(self, root: object) -> None:
        self._root = root
        self._pieces: list[Any] = []  # in the order of the block
        self._joined: list[Any] = []  # before those
        self._end = START
        self._buffers: list[pickle.PickleBuffer] = []
        # id -> the object, kept so that the id stays its own, and where it is written or by what it goes.
        self._written: dict[int, tuple[Any, int]] = {}
        self._apart: dict[int, tuple[Any, registry.Entry]] = {}
        self._handles: list[Any] = []
        self._hosted: list[Any] = []
        self.importable: dict[int, Any] = {}
        self.write: Callable[[Any], None] = self._pieces.append
        self._pickler = _Light(self)

    def __enter__(self) -> Self:
        sending = reducers.sending
        self._before = sending.handles, sending.pinned, sending.hosted
        sending.handles, sending.pinned, sending.hosted = self._handles, False, self._hosted
        return self

    def __exit__(self, *_: object) -> None:
        sending = reducers.sending
        sending.handles, sending.pinned, sending.hosted = self._before
        del self._pickler  # which has this

    def add(self, obj: object) -> int:
        """Write one record; its offset."""
        pieces = self._pieces
        if len(pieces) >= _PIECES:
            self._join()
        begin = len(pieces)
        try:
            self._pickler.dump(obj)
        except Exception:  # noqa: BLE001 - cloudpickle knows more; what it does not know either, it says better
            self._add_by_value(obj, begin)
        self._pickler.clear_memo()
        if self._buffers:
            return self._add_buffers(begin)
        at = self._end
        self._end += len(pieces[-1]) if len(pieces) == begin + 1 else sum(map(len, pieces[begin:]))
        return at

    def add_table(self, table: array[int]) -> int:
        """Write a table; its offset."""
        self._align(ALIGNED)
        return self._place(memoryview(table).cast("B"))

    def add_hashes(self, keys: Iterable[Any]) -> tuple[int, int, int]:
        """Write what finds a key by its hash: entries (hash:32 | index:32), and where each hash's first bits begin.

        Zeros where a key has no hash that is the same everywhere.
        """
        try:
            hashes = array("I", map(stable_hash, keys))
        except Hashless:
            return 0, 0, 0
        bits = max(len(hashes) - 1, 1).bit_length()
        shift = 32 - min(bits, 31)
        starts = array("I", bytes(4 << 32 - shift)) + array("I", [0])
        for h in hashes:
            starts[(h >> shift) + 1] += 1
        starts = array("I", accumulate(starts))
        free = starts[:]
        entries = array("Q", bytes(8 * len(hashes)))
        for i, h in enumerate(hashes):
            at = free[h >> shift]
            free[h >> shift] = at + 1
            entries[at] = h << 32 | i
        return self.add_table(entries), self.add_table(starts), shift

    def finish(self, kind: int, count: int, tables: tuple[int, ...], shift: int = 0) -> Records:
        """Copy all into one block.

        Raises:
            MemoryError: the system has no memory for it.
        """
        self._join()
        memory = _native.Memory(self._end, zeroed=False)
        view = memoryview(memory)
        view[:IDLE] = bytes(IDLE)
        number = int.from_bytes(os.urandom(8))
        HEAD.pack_into(view, HEAD_AT, kind, count, *(*tables, 0, 0, 0, 0)[:4], shift, number)
        self._joined.reverse()
        at = START
        while self._joined:  # one by one, so that what was copied is not there twice for long
            piece = self._joined.pop()
            view[at : at + len(piece)] = piece
            at += len(piece)
        handles = {handle.offset: handle for handle in self._handles}
        hosted = {id(each): each for each in self._hosted}
        return Records(memory, [*handles.values(), *hosted.values()])

    def keep_in(self, buffer: pickle.PickleBuffer) -> bool:
        """All buffers go out of band, small ones too: so every array is read-only."""
        if not memoryview(buffer).contiguous:
            return True
        self._buffers.append(buffer)
        return False

    def reduce(self, obj: Any) -> Any:
        """How an object is written that neither pickler is to write its own way."""
        reduced = NotImplemented
        if type(obj).__module__ == "socket":  # what is shared is received many times, a descriptor once
            raise TypeError("a socket can be sent to one process, as an argument, and not be shared")
        if type(obj).__name__ in _ARRAYS:
            reduced = _reduce_array(obj, obj is self._root)
        return reducers.reduce(obj) if reduced is NotImplemented else reduced

    def apart(self, obj: Any) -> Any:
        """A function or class that goes by value: in a block of its own, so that a million records can name it."""
        if obj is self._root:
            raise pickle.PicklingError("the root itself: in this block")
        if registry.is_shared(obj):  # it came by such a handle itself
            return reducers.reduce(obj)
        if id(obj) not in self._apart:
            with Writer(obj) as writer:
                records = writer.finish(Kind.OBJECT, 1, (writer.add(obj),))
            self._apart[id(obj)] = obj, registry.hold_original(records, obj)
        return self._apart[id(obj)][1].reduce(obj)

    def _add_by_value(self, obj: object, begin: int) -> None:
        from allcores import byvalue  # brings cloudpickle

        del self._pieces[begin:]
        self._buffers.clear()
        self._pickler = _Light(self)  # the other may be in the middle of something
        try:
            first = self.reduce
            byvalue.Pickler(self, self.keep_in, lambda obj: first(codec.known_to_cloudpickle(obj))).dump(obj)
        except Exception as error:
            why = f"{error}{codec.blame(obj, _place_in(self._root, obj))}"
            raise codec.unpicklable(f"cannot share {codec.short_repr(self._root)}: {why}", error) from error

    def _add_buffers(self, begin: int) -> int:
        pickled = self._pieces[begin:]
        del self._pieces[begin:]
        table = b"".join(BUFFER.pack(*self._place_once(buffer.raw())) for buffer in self._buffers)
        head = RECORD.pack(0, len(self._buffers))
        self._buffers.clear()
        self._align(BUFFER.size)
        at = self._place(head + table)
        for piece in pickled:
            self._place(piece)
        return at

    def _place_once(self, raw: memoryview) -> tuple[int, int]:
        """Where the bytes of a buffer are; those of one array in many records once."""
        owner = raw.obj
        whole = owner is not None and memoryview(owner).nbytes == raw.nbytes
        if not whole or id(owner) not in self._written:
            self._align(ALIGNED)
            at = self._place(raw)
            if not whole:
                return at, raw.nbytes
            self._written[id(owner)] = owner, at
        return self._written[id(owner)][1], raw.nbytes

    def _place(self, piece: Any) -> int:
        at = self._end
        self._pieces.append(piece)
        self._end += len(piece)
        return at

    def _align(self, to: int) -> None:
        if self._end % to:
            self._place(bytes(to - self._end % to))

    def _join(self) -> None:
        pieces = self._pieces
        small = sum(map(len, pieces)) < len(pieces) * _SMALL
        self._joined += [b"".join(pieces)] if small else pieces
        pieces.clear()  # the pickler has its `append`


def _place_in(root: Any, part: object) -> str:
    """Where in a container an item is, as its path: only for an error's text."""
    if root is part:
        return ""
    pairs = root.items() if isinstance(root, dict) else enumerate(root)
    return next((f"[{codec.short_repr(key)}]" for key, item in pairs if item is part), "[...]")


def _reduce_array(array: Any, is_root: bool) -> Any:
    """Arrays that NumPy would copy into the pickle: those with gaps, and dates. The root, wherever its bytes are."""
    from numpy import ndarray

    if not isinstance(array, ndarray) or array.dtype.hasobject or (type(array) is not ndarray and not is_root):
        return NotImplemented
    if type(array) is not ndarray:
        array = array.view(ndarray)
    packed = array if array.flags.forc else array.copy(order="C")
    if array.dtype.kind in "mM":
        return _as_dates, (packed.view("i8"), array.dtype)
    return packed.__reduce_ex__(5) if is_root or packed is not array else NotImplemented


def _as_dates(array: Any, dtype: Any) -> Any:
    return array.view(dtype)
