"""``share``: one read-only copy of an object, for all processes."""

from __future__ import annotations

import pickle
from array import array
from typing import TYPE_CHECKING, Any

from allcores.sharing import containers, registry
from allcores.sharing.layout import Kind
from allcores.sharing.writing import Writer

if TYPE_CHECKING:
    from allcores.sharing.layout import Records

__all__ = ("share",)

# They hold little, cannot be changed, and travel as they are.
_AS_THEY_ARE = frozenset({type(None), bool, int, float, complex, str, type(...), type(NotImplemented), range, slice})
_SEQUENCES: dict[type, int] = {list: Kind.LIST, tuple: Kind.TUPLE}
_KEYED: dict[type, int] = {dict: Kind.DICT, set: Kind.SET, frozenset: Kind.FROZENSET}
_BYTES = (bytes, bytearray, memoryview)
# What the codec carries by itself, without asking by what handle.
_PLAIN = _AS_THEY_ARE | {*_SEQUENCES, *_KEYED, bytes, bytearray}


def share(obj: Any) -> Any:
    """Copy an object into shared memory, once; what is returned is read-only and travels by handle, at no copy.

    It can go wherever arguments, results and items of queues go, alone or inside of other things, and each process
    unpickles it once, however many tasks bring it:

    - a NumPy array: a read-only array that looks at the shared memory;
    - ``bytes``, ``bytearray``, ``memoryview``: a read-only memoryview of it;
    - a list, tuple, dict or set: a read-only one (``SharedList`` and so on) whose items are unpickled one by one when
      they are asked for: a million of them take no memory in the workers. An inner list or dict is such an item, and
      unpickled whole; share it first where it is large. Dicts and sets find keys of text, bytes, numbers, None, and
      tuples and frozensets of them in the shared memory; for others each process makes an index of its own.
    - anything else (a data frame, a model, an object, a function): another of its type, rebuilt here and in each
      process, whose arrays are read-only views of the shared memory. Treat all of it as read-only: what one process
      changes, the others do not see.
    - numbers, text and None as they are.

    What changes in ``obj`` later changes nothing here. The memory lives as long as any process has what was returned,
    or something of it; that one of them is killed does no harm. A process that received it keeps it until nobody else
    has it: it looks after each task, when something shared arrives, and about once a second while it waits. Where
    nothing is left but that, an object that cannot be referenced weakly (a namedtuple) is let go at such a look too.
    ``pickle.dumps`` and ``copy`` of yours see an ordinary object: a shared list is a list to them.

    Raises:
        UnpicklableError: something in it cannot be pickled; the message names the part.
        MemoryError: the system has no memory for it.
    """
    if type(obj) in _AS_THEY_ARE or registry.is_shared(obj):
        return obj
    registry.sweep()
    records = _written(obj)
    entry = registry.Entry(records)
    made = containers.load(records)
    # Found by its name, as everywhere, like a module's function; or its pickle makes plain data of it.
    if made is obj or type(made) in _PLAIN:
        return made
    return registry.register(entry, made, keep=False)


def _written(obj: Any) -> Records:
    kind = type(obj)
    with Writer(obj) as writer:
        if kind in _SEQUENCES:
            items = array("Q", map(writer.add, obj))
            return writer.finish(_SEQUENCES[kind], len(items), (writer.add_table(items),))
        if kind in _KEYED:
            keys = list(obj)  # once: the order of a set is nobody's promise
            at = writer.add_table(array("Q", map(writer.add, keys)))
            values = writer.add_table(array("Q", map(writer.add, obj.values()))) if kind is dict else 0
            *hashes, shift = writer.add_hashes(keys)
            return writer.finish(_KEYED[kind], len(keys), (at, values, *hashes), shift)
        at = writer.add(_Bytes(obj) if kind in _BYTES else obj)
        return writer.finish(Kind.OBJECT, 1, (at,))


class _Bytes:
    """Stands for bytes in a record: they go out of band."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        self.format, self.shape = view.format, view.shape
        self.data = view if view.c_contiguous else memoryview(view.tobytes())

    def __reduce__(self) -> Any:
        return _view, (pickle.PickleBuffer(self.data), self.format, self.shape)


def _view(data: memoryview, format: Any, shape: tuple[int, ...]) -> memoryview:
    flat = data.cast("B")
    return flat.cast(format) if 0 in shape or (format, len(shape)) == ("B", 1) else flat.cast(format, shape)
