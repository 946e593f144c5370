"""What pickle does not know, or would copy: shared objects and arrays on shared memory go by handle, large buffers of
memoryviews and torch tensors stay out of the pickle.

Both picklers of ``codec`` ask ``reduce`` first. What is shared in a message is pinned until the receiver holds it.
"""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol

from allcores import _native, segment, standard
from allcores.errors import UnpicklableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = (
    "Shared",
    "add_proxy",
    "array_on",
    "handle_of",
    "held_from",
    "memory_under",
    "note_handle",
    "reduce",
    "sending",
    "spelling",
)

Reduced = tuple["Callable[..., object]", tuple[object, ...]]


class Shared(Protocol):
    """An object in shared memory: what a handle names."""

    @property
    def offset(self) -> int: ...


class _Sending(threading.local):
    """While this thread pickles: the shared objects that it met; None outside, where nobody would keep them."""

    handles: list[Shared] | None = None
    pinned: bool = False
    # Who sends may have another way for arrays that are not in shared memory.
    arrays: Callable[[Any], Any] | None = None
    # Who keeps what it pickles, for many to load, keeps these, too: the objects of a cluster that are in it.
    hosted: list[Any] | None = None
    # It goes to where this memory is not: arrays by value, and shared objects not at all.
    far: bool = False


sending = _Sending()


def handle_of(obj: Shared, *args: object) -> Reduced:
    """The ``__reduce__`` of every shared object: rebuild one of its class from ``args`` where it arrives."""
    _native.travels(obj.offset)
    return _from_handle, (*note_handle(obj), type(obj), args)


def note_handle(obj: Shared) -> tuple[tuple[int, int, int], bool]:
    """Note that a shared object is in the message: what ``held_from`` needs where it arrives."""
    if sending.far:
        kind = type(obj).__name__
        raise UnpicklableError(
            f"a {kind} of this machine's shared memory cannot go to a cluster: make it with the cluster's context, "
            f"as mp = allcores.get_context(...); mp.{kind}()"
        )
    if sending.handles is None:
        # A plain pickle.dumps by the user: who knows when it is loaded, and how often. Kept for the program's life.
        _native.pin(obj.offset)
    else:
        sending.handles.append(obj)
    return segment.origin(), sending.pinned


def held_from(origin: tuple[int, int, int], pinned: bool, attach: Callable[..., Any], *args: Any) -> Any:
    """The shared object that arrived, held by this process: ``attach(*args)``."""
    segment.find(*origin)
    obj = attach(*args)
    if pinned:
        _native.unpin(obj.offset)
    return obj


def _from_handle(origin: tuple[int, int, int], pinned: bool, cls: Any, args: tuple[object, ...]) -> object:
    return held_from(origin, pinned, cls._attach, *args)


class Known(Protocol):
    """What is known of an object that ``allcores.share`` made."""

    def get(self) -> Any: ...

    def reduce(self, obj: Any, /) -> Any: ...

    def is_wanted_here(self, wanted: bool) -> None: ...


# By the id of the object. Filled by allcores.sharing.
by_id: dict[int, Known] = {}


def reduce(obj: Any) -> Any:
    """How an object travels that is not an exact built-in; NotImplemented for as pickle has it."""
    known = None if sending.far else by_id.get(id(obj))
    if known is not None and (reduced := known.reduce(obj)) is not NotImplemented:
        return reduced
    how = _BY_TYPE.get(type(obj).__name__)
    return NotImplemented if how is None else how(obj)


def _method(obj: Any) -> Reduced:
    """`q.put` and its kin, as targets and functions: methods of native classes cannot pickle themselves."""
    return getattr, (obj.__self__, obj.__name__)


# Arrays on shared memory, whoever made them: slices and transposes of a SharedArray, views of an Array.


def memory_under(array: Any) -> Any:
    """The object in shared memory whose bytes an ndarray looks at; None if it has others."""
    base = array.base
    while base is not None and not isinstance(base, _MEMORY):
        base = base.obj if type(base) is memoryview else getattr(base, "base", None)
    return base


_MEMORY = (_native.Memory, _native.Array, _native.Value)
# dtype -> its short name where that says all, else itself. A name pickles ten times faster.
_spelled: dict[Any, Any] = {}


def _array(array: Any) -> Any:
    if type(array).__module__ != "numpy":
        return NotImplemented
    memory = None if array.base is None or sending.far else memory_under(array)
    if memory is None:
        if sending.arrays is not None and (reduced := sending.arrays(array)) is not NotImplemented:
            return reduced
        # NumPy has no buffers of dates, and what it makes of a read-only array arrives read-only.
        ours = (
            array.flags.forc and (array.dtype.kind in "mM" or not array.flags.writeable) and not array.dtype.hasobject
        )
        return _own_array(array) if ours else NotImplemented
    address, shape, strides, writeable = _native.geometry(array)
    first = address - memory.address if array.size else 0
    how = (shape, spelling(array.dtype), first, strides, writeable)
    if type(memory) is _native.Memory:
        return _array_on_memory, (*_memory(memory)[1], how)
    return array_on, (memory, how)


def _memmap(array: Any) -> Any:
    return NotImplemented if sending.arrays is None else sending.arrays(array)


def _view(array: Any) -> Any:
    """A recarray or matrix that looks at shared memory."""
    import numpy

    if type(array) not in (numpy.recarray, numpy.matrix) or sending.far or memory_under(array) is None:
        return NotImplemented
    return _view_as, (array.view(numpy.ndarray), type(array))


def _view_as(array: Any, cls: Any) -> Any:
    return array.view(cls)


def _memory(memory: Any) -> Reduced:
    return _memory_from, (*note_handle(memory), memory.nbytes, memory.offset)


def _memory_from(origin: tuple[int, int, int], pinned: bool, nbytes: int, offset: int) -> Any:
    return held_from(origin, pinned, _native.Memory, nbytes, offset, False)


def spelling(dtype: Any) -> Any:
    """The short name of a dtype, or itself where there is none."""
    if dtype.metadata or dtype.names is not None:  # equal to others that have other metadata, or none
        return dtype
    spelled = _spelled.get(dtype)
    if spelled is None:
        import numpy

        simple = numpy.dtype(dtype.str) == dtype
        spelled = _spelled[dtype] = dtype.str if simple else dtype
    return spelled


def _own_array(array: Any) -> Reduced:
    order = "C" if array.flags.c_contiguous else "F"
    flat = array if order == "C" else array.T
    try:
        data: Any = flat.view("i8") if array.dtype.kind in "mM" else memoryview(flat)
    except ValueError:  # dates among the fields of a structured dtype
        data = flat.view(f"V{array.dtype.itemsize}")
    return _own_array_on, (pickle.PickleBuffer(data), array.shape, spelling(array.dtype), order)


def _own_array_on(buffer: Any, shape: tuple[int, ...], spelled: Any, order: Any) -> Any:
    from numpy import dtype, ndarray

    if type(buffer) is memoryview and buffer.readonly and memoryview(buffer.obj).nbytes == buffer.nbytes:
        buffer = buffer.obj  # read-only as the sender's was: under it is a block of our own, not one of a shared object
    own = bytearray(buffer) if isinstance(buffer, bytes) else buffer
    return ndarray(shape, dtype(spelled), own, order=order)


def _array_on_memory(*handle_and_how: Any) -> Any:
    *handle, how = handle_and_how
    return array_on(_memory_from(*handle), how)


def array_on(memory: Any, how: Sequence[Any]) -> Any:
    """The array that lies on shared memory, or any other buffer, as ``geometry`` said."""
    from numpy import dtype, frombuffer, ndarray

    shape, spelled, first, strides, writeable = how
    # An array on an array that cannot be written to cannot be made writable either.
    under: Any = memory if writeable else frombuffer(memoryview(memory).toreadonly(), "B")
    return ndarray(shape, dtype(spelled), under, first, strides)


# Buffers out of band: one copy into the message's block, and what arrives looks at that block.


def _memoryview(view: memoryview) -> Reduced:
    data = view if view.c_contiguous else memoryview(view.tobytes())
    shape = None if view.ndim == 1 and view.format == "B" else view.shape
    return _memoryview_on, (pickle.PickleBuffer(data), view.format, shape, view.readonly)


def _memoryview_on(buffer: Any, format: str, shape: tuple[int, ...] | None, readonly: bool) -> memoryview:
    view = memoryview(buffer)
    if shape is not None and 0 in shape:
        view = view.cast(format)  # type: ignore[call-overload] # any format that a memoryview has
    elif shape is not None:
        view = view.cast("B").cast(format, shape)  # type: ignore[call-overload]
    return view.toreadonly() if readonly else view


def _torch_storage(storage: Any) -> Any:
    """The memory of a CPU tensor; torch itself would write it into a file in memory, four copies of it."""
    untyped = getattr(storage, "_untyped_storage", None)  # its public ways to ask warn that it is deprecated
    if untyped is None or untyped.device.type != "cpu":
        return NotImplemented
    torch: Any = importlib.import_module("torch")
    flat = torch.empty(0, dtype=torch.uint8).set_(untyped)
    return _torch_storage_on, (pickle.PickleBuffer(flat.numpy()), storage.dtype)


def _torch_storage_on(buffer: Any, dtype: Any) -> Any:
    torch: Any = importlib.import_module("torch")
    view = memoryview(buffer)
    if view.readonly:
        view = memoryview(bytearray(view))
    untyped = torch.frombuffer(view, dtype=torch.uint8).untyped_storage() if view.nbytes else torch.UntypedStorage(0)
    return torch.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


def _metaclass(_kind: Any) -> Reduced:
    """That of the native classes, which cannot be imported: a class by value that inherits from one names it."""
    return _metaclass_here, ()


def _metaclass_here() -> Any:
    return type(_native.Channel)


# Generators of random numbers that all functions of a module draw from: `from random import gauss` is a method of one.
# By value, every worker would draw the same numbers.
_GENERATORS = (("random", "_inst"), ("numpy.random.mtrand", "_rand"))


def _generator(obj: Any) -> Any:
    """The generator of a module goes by name: each process has its own."""
    for module, name in _GENERATORS:
        if getattr(sys.modules.get(module), name, None) is obj:
            return _generator_here, (module, name)
    return NotImplemented


def _generator_here(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


# Sockets: a descriptor, which goes with a Process, or is asked for where the socket arrives.


def _socket(obj: Any) -> Any:
    if type(obj).__module__ != "socket":
        return NotImplemented
    return _socket_on, (standard.send_descriptor(obj.fileno()), obj.family, obj.type, obj.proto)


def _socket_on(sent: Any, family: int, kind: int, proto: int) -> Any:
    import socket

    return socket.socket(family, kind, proto, sent.detach())


# Proxies of a manager's objects. Their classes are entered in the table when they are registered with a manager.


def _proxy(obj: Any) -> Any:
    for each in standard.proxies((obj,)):
        standard.meet_proxy(each)
    return NotImplemented


def add_proxy(kind: str) -> None:
    """Know the proxies whose class has this name."""
    _BY_TYPE.setdefault(kind, _proxy)


# By name: of most types neither numpy nor torch need be imported to know that they are others.
_BY_TYPE: dict[str, Callable[[Any], Any]] = {
    "nb_bound_method": _method,
    "nb_meta": _metaclass,
    "ndarray": _array,
    "recarray": _view,
    "matrix": _view,
    "memmap": _memmap,
    "Memory": _memory,
    "memoryview": _memoryview,
    "TypedStorage": _torch_storage,
    "socket": _socket,
    "Random": _generator,
    "RandomState": _generator,
}
