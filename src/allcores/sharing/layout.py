"""What a shared object is in memory: one block of the segment, written once and never changed.

    idle: a byte per process | head | records and buffers ... | tables
                                      ▲                         │
                                      └──── offsets of records ─┘

A record is one pickle, or a zero byte, a table of buffers that lie elsewhere in the block, and then the pickle: so an
array in it is a view of the block. A list is a table of records; a dict a table of keys, one of values, and two that
find a key by its hash.

``idle`` is the one part that is written to later, each byte by its own process: whether that process keeps the object
only because it may come again. It is a hint: see ``registry``.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from numbers import Number
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allcores import _native

__all__ = ("ALIGNED", "BUFFER", "HEAD", "HEAD_AT", "RECORD", "START", "Hashless", "Kind", "Records", "stable_hash")

# One for each slot of the segment's table of participants.
IDLE = 1024
# Kind, number of items, offsets of up to four tables, by how much a hash is shifted for the last of them; and a number
# that no other shared object has, for a handle to make sure by.
HEAD = struct.Struct("<8Q")
HEAD_AT = IDLE
START = HEAD_AT + HEAD.size
# What begins a record with buffers: no pickle begins with a zero. Then how many; then offset and size of each.
RECORD = struct.Struct("<B3xI")
BUFFER = struct.Struct("<2Q")
# Buffers begin at a multiple of this: a cache line, and what vector instructions like.
ALIGNED = 64


class Kind:
    """What the head says the object is."""

    OBJECT = 0
    LIST = 1
    TUPLE = 2
    DICT = 3
    SET = 4
    FROZENSET = 5


class Records:
    """The bytes of a shared object in this process. Whoever reads them holds this, and so the block."""

    __slots__ = ("count", "handles", "kind", "memory", "number", "shift", "tables", "view")

    def __init__(self, memory: _native.Memory, handles: Sequence[object]) -> None:
        self.memory = memory
        # Objects in shared memory that the records name by handle: whoever may read those keeps them alive.
        self.handles = handles
        self.view = memoryview(memory).toreadonly()
        head: tuple[int, ...] = HEAD.unpack_from(self.view, HEAD_AT)
        self.kind, self.count, *self.tables, self.shift, self.number = head

    def table(self, number: int, code: str = "Q", length: int | None = None) -> Any:
        """One of the tables: by default an offset for each item."""
        at, n = self.tables[number], self.count if length is None else length
        return self.view[at : at + n * struct.calcsize(code)].cast(code)  # type: ignore[call-overload] # one of its codes

    def load(self, at: int) -> Any:
        """Unpickle the record at an offset. Its buffers are views of the block."""
        view = self.view
        if view[at]:
            return pickle.loads(view[at:])
        n = RECORD.unpack_from(view, at)[1]
        at += RECORD.size
        end = at + n * BUFFER.size
        buffers = [view[start : start + size] for start, size in BUFFER.iter_unpack(view[at:end])]
        return pickle.loads(view[end:], buffers=buffers)


class Hashless(TypeError):
    """A key whose hash differs from process to process."""


def stable_hash(key: Any, asked: bool = False) -> int:
    """32 bits that are the same in every process, and for keys that are equal.

    Python's own hash of text is another one in each process.

    Args:
        key: anything that has a hash.
        asked: it is looked for among keys of the types below, and may be of another type: equal to a number, perhaps.

    Raises:
        Hashless: none is known for this type.
    """
    kind = type(key)
    if kind is str or isinstance(key, str):
        return zlib.crc32(key.encode("utf-8", "surrogatepass"))
    if kind is int or isinstance(key, Number):
        return _spread(hash(key))
    if isinstance(key, bytes | memoryview):
        return zlib.crc32(key)
    if isinstance(key, tuple):
        found = len(key)
        for part in key:
            found = (found * 1_000_003 ^ stable_hash(part, asked)) & 0xFFFFFFFF
        return found
    if isinstance(key, frozenset):
        found = len(key)
        for part in key:
            found ^= stable_hash(part, asked) * 0x9E3779B1 & 0xFFFFFFFF
        return found
    if key is None:
        return 0
    if asked:
        return _spread(hash(key))
    raise Hashless(f"no hash of {kind.__name__} is the same in all processes")


def _spread(number: int) -> int:
    """Python's hash of a number, so that 1, 1.0 and True stay one key; spread, because the upper bits are looked at."""
    return (number * 0x9E3779B97F4A7C15 >> 32) & 0xFFFFFFFF
