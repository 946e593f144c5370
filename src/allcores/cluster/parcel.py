"""How objects travel in a cluster: a pickle, and large buffers beside it, which the engine carries its own way."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from allcores import codec

__all__ = ("LARGE", "Parcel", "pack", "pack_small", "unpack")

# Bytes of a buffer that is worth a place of its own in the engine's object store.
LARGE = 1 << 20


class Parcel(NamedTuple):
    """An object, packed."""

    data: bytes
    buffers: list[Any]

    @property
    def nbytes(self) -> int:
        """How much it is, about."""
        return len(self.data) + sum(memoryview(buffer).nbytes for buffer in self.buffers)


def pack(obj: Any) -> Parcel:
    """Pack an object. UnpicklableError if it cannot travel; the message names the part."""
    return Parcel(*codec.dumps_far(obj, LARGE))


def pack_small(obj: Any) -> bytes:
    """Likewise, all in one: what is sent once, or is never large."""
    return codec.dumps_far(obj, 1 << 62)[0]


def unpack(data: bytes, buffers: Any = ()) -> Any:
    """The object again."""
    return pickle.loads(data, buffers=buffers)
