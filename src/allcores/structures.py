"""Value and Array of ctypes Structures, Unions and arrays.

    Value(Point) --- _memory --> one block: lock | bytes of a Point       v.x       one load or store, under the lock
                 --- get_obj() -> a Point that looks at the same bytes    v.inner   a ctypes object, as get_obj().inner

A field of a simple type, and a bit field, is one store of the machine: a death in it leaves nothing half done. Text, a
nested Structure or a whole element is more than one: a death in the middle leaves ``OwnerDied`` to the next.
"""

from __future__ import annotations

import ctypes
import operator
import sys
import weakref
from typing import TYPE_CHECKING, Any

from allcores import _native, codec
from allcores.guarded import Guarded, guard_of, with_lock_only
from allcores.layouts import Field, check_shareable, fields_of, made, raw_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allcores.sync import Lock

__all__ = ("StructureArray", "StructureValue", "make_array", "make_value")

Reduced = tuple["Callable[..., object]", tuple[object, ...]]


class _Fields(Guarded, _native.Fields):
    """The bytes and their lock; this is what travels by handle."""


class _Composed(_native.Exporter):
    """What a Value and an Array of composed types have in common. NumPy takes either without a copy."""

    # Fields are properties of a subclass, so names of ours that a field may have are as few as can be.
    __slots__ = ("_kind", "_memory", "_obj")

    _kind: Any
    """The ctypes type of all of it."""
    _memory: _Fields
    _obj: Any

    def _set_up(self, kind: Any, memory: _Fields) -> None:
        self._kind, self._memory, self._obj = kind, memory, None

    @property
    def _guard(self) -> Lock | int:
        return self._memory._guard

    @with_lock_only
    def get_lock(self) -> Lock:
        """The lock that guards this object: its own RLock, or the one it was made with.

        Raises:
            AttributeError: it was made with ``lock=False``.
        """
        return self._memory.get_lock()

    @with_lock_only
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock; see ``get_lock``."""
        return self._memory.acquire(block, timeout)

    @with_lock_only
    def release(self) -> None:
        """Release the lock; see ``get_lock``."""
        self._memory.release()

    def __enter__(self) -> bool:
        return self._memory.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._memory.__exit__()

    def get_obj(self) -> Any:
        """The ctypes object that looks at the same memory, without a lock. It keeps the memory alive."""
        if self._obj is None:
            self._obj = self._kind.from_buffer(self._memory)
        return self._obj

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np  # only where one is asked for

        try:
            array = np.ndarray((), np.dtype(self._kind), self._memory)  # type: ignore[arg-type] # it is a buffer
        except (TypeError, NotImplementedError) as error:
            raise TypeError(f"NumPy has no type for {_element(self._kind).__name__} ({error}): use get_obj()") from None
        return array.astype(dtype) if copy or (dtype is not None and dtype != array.dtype) else array

    def _typed(self) -> Any:
        """What shows the memory with its type, to who asks by the buffer protocol."""
        element = _element(self._kind)
        if not issubclass(element, ctypes.Structure | ctypes.Union) and element is not ctypes.c_wchar:
            return self.get_obj()
        import numpy as np

        # What ctypes says is not enough for some Structures, packed ones for example. What NumPy says is right or an
        # error; where it is an error (a Union, another byte order) NumPy itself goes on to __array__.
        try:
            array = self.__array__()
            view = memoryview(array)
            if np.asarray(view).dtype == array.dtype:
                return view
            error: Exception = TypeError(f"a buffer cannot say what {element.__name__} is")
        except (TypeError, ValueError, RuntimeError) as failed:
            error = failed
        raise BufferError(f"{error}; memoryview(x.get_obj()) gives the bytes")


class StructureValue(_Composed):
    """A Structure or Union in shared memory: ``v.x`` reads and ``v.x = 1`` writes a field under the lock.

    ``v.x += 1`` is a read and a write: hold ``v.get_lock()``. A nested Structure or array comes as the ctypes object
    that looks at the memory: what is read and written *in* it, is so without the lock, as in the standard library.
    """

    __slots__ = ()

    def __reduce__(self) -> Reduced:
        return _value_of, (self._kind, self._memory)

    def _on(self, memory: _Fields) -> StructureValue:
        return _value_of(self._kind, memory)

    def __getattr__(self, name: str) -> Any:
        # Not for names of Python's and ours, which are asked for while the object is being made as well.
        if name.startswith("_"):
            raise AttributeError(name)
        if hasattr(type(self), name):  # what it has only with a lock
            self._memory.get_lock()
        names = ", ".join(field.name for field in fields_of(self._kind))
        raise AttributeError(
            f"{self._kind.__name__} has no field {name!r}, but {names}; methods are those of get_obj()"
        )

    def __repr__(self) -> str:
        return f"<Value of {self._kind.__name__}>"


class StructureArray(_Composed):
    """A row of Structures, Unions or arrays in shared memory: ``a[i].x``, ``a[i] = (1, 2)``, slices, iteration.

    ``a[i]`` is the ctypes object that looks at the memory: what is read and written *in* it, is so without the lock, as
    in the standard library; hold ``a.get_lock()``. Assigning a whole element or slice is done under the lock.
    """

    __slots__ = ()

    def __reduce__(self) -> Reduced:
        return _array_of, (self._kind._type_, self._kind._length_, self._memory)

    def _on(self, memory: _Fields) -> StructureArray:
        return _array_of(self._kind._type_, self._kind._length_, memory)

    def __len__(self) -> int:
        return int(self._kind._length_)

    def __getitem__(self, key: Any) -> Any:
        where = self._indices(key) if isinstance(key, slice) else self._index(key)
        self._memory.load(0, 0)  # whoever changes it under the lock is done, or has died
        obj = self.get_obj()
        return obj[where] if isinstance(where, int) else [obj[i] for i in where]

    def __setitem__(self, key: Any, value: Any) -> None:
        element = self._kind._type_
        size = ctypes.sizeof(element)
        if not isinstance(key, slice):
            i = self._index(key)
            self._memory.store(i * size, raw_of(made(element, value, f"{element.__name__} [{i}]")), size, size)
            return
        where, values = self._indices(key), list(value)
        if len(values) != len(where):
            raise ValueError(
                f"this slice has {len(where)} elements and {len(values)} values were given: an Array keeps its length"
            )
        self._memory.store(where.start * size, _raw_of_all(element, values), size, where.step * size)

    def __delitem__(self, key: Any) -> None:
        raise TypeError("elements of an Array cannot be deleted: it keeps its length")

    def __iter__(self) -> Iterator[Any]:
        return iter(self[:])

    def __repr__(self) -> str:
        return f"<Array of {len(self)} {self._kind._type_.__name__}>"

    def _index(self, key: Any) -> int:
        i = operator.index(key)
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is outside this Array of {len(self)} elements")
        return i % len(self)

    def _indices(self, key: slice) -> range:
        where = range(len(self))[key]
        return where if where else range(0)


def make_value(kind: Any, args: tuple[Any, ...], lock: Any) -> StructureValue:
    """Make a Value of a Structure or Union: see ``shared.Value``."""
    check_shareable(kind, kind.__name__)
    first = made(kind, args[0] if len(args) == 1 and isinstance(args[0], kind) else args, kind.__name__)
    size = ctypes.sizeof(kind)
    value = _value_of(kind, _Fields._attach("B", size, 0, guard_of(lock)))
    if args:
        value._memory.store(0, raw_of(first), size, size)
    return value


def make_array(kind: Any, data: Any, lock: Any) -> StructureArray:
    """Make an Array of Structures, Unions or arrays: see ``shared.Array``."""
    check_shareable(kind, kind.__name__)
    size = ctypes.sizeof(kind)
    if isinstance(data, int):
        if data < 0:
            raise ValueError(f"the size of an Array must be 0 or more, not {data}")
        # More than there are addresses: the core says what there is.
        memory = _Fields._attach("B", min(data * size, sys.maxsize), 0, guard_of(lock))
        return _array_of(kind, data, memory)
    try:
        values = data.tolist() if hasattr(data, "tolist") else list(data)
    except TypeError:
        what = codec.short_repr(data)
        raise TypeError(f"Array needs a size or a sequence of {kind.__name__}, not {what}") from None
    raw = _raw_of_all(kind, values)
    array = _array_of(kind, len(values), _Fields._attach("B", len(raw), 0, guard_of(lock)))
    array._memory.store(0, raw, len(raw), len(raw))
    return array


def _raw_of_all(kind: Any, values: list[Any]) -> bytes:
    return b"".join(raw_of(made(kind, value, f"{kind.__name__} [{i}]")) for i, value in enumerate(values))


def _element(kind: Any) -> Any:
    """The type inside of arrays of any depth."""
    while issubclass(kind, ctypes.Array):
        kind = kind._type_
    return kind


# Where a Value or Array arrives, or is made.


def _value_of(kind: Any, memory: _Fields) -> StructureValue:
    cls = _class_for(kind)
    value = cls.__new__(cls)
    value._set_up(kind, memory)
    return value


def _array_of(kind: Any, n: int, memory: _Fields) -> StructureArray:
    array = StructureArray.__new__(StructureArray)
    array._set_up(kind * n, memory)
    return array


# A class for each Structure, for as long as there is a Value of it.
_classes: weakref.WeakValueDictionary[Any, type[StructureValue]] = weakref.WeakValueDictionary()


def _class_for(kind: Any) -> type[StructureValue]:
    cls = _classes.get(kind)
    if cls is None:
        fields = {field.name: _property(kind, field) for field in fields_of(kind)}
        ours = sorted(name for name in fields if name.startswith("_") and hasattr(StructureValue, name))
        if ours:
            raise TypeError(f"the field {ours[0]!r} of {kind.__name__} has a name that a Value needs: rename it")
        cls = type(f"Synchronized{kind.__name__}", (StructureValue,), {"__slots__": (), **fields})
        _classes[kind] = cls
    return cls


def _property(kind: Any, field: Field) -> property:
    name = f"{kind.__name__}.{field.name}"
    if field.code:
        return _simple(field, name)
    if field.bits:
        return _bits(kind, field, name)
    return property(_copied(field) if field.is_copied else _looked_at(field), _stored(field, name))


def _simple(field: Field, name: str) -> property:
    at, code = field.at, field.code

    def get(self: StructureValue) -> Any:
        return self._memory.get(at, code)

    def put(self: StructureValue, value: Any) -> None:
        try:
            self._memory.set(at, code, value)
        except (TypeError, OverflowError) as error:
            raise type(error)(f"{name}: {error}") from None

    return property(get, put)


def _bits(kind: Any, field: Field, name: str) -> property:
    at, mask = _unit_of(kind, field)
    size = ctypes.sizeof(kind)

    def get(self: StructureValue) -> Any:
        return field.descriptor.__get__(kind.from_buffer_copy(self._memory.load(0, size)))

    def put(self: StructureValue, value: Any) -> None:
        private = kind.from_buffer_copy(bytes(size))
        field.put(private, value, name)
        self._memory.store_bits(at, mask, raw_of(private)[at : at + len(mask)])

    return property(get, put)


def _unit_of(kind: Any, field: Field) -> tuple[int, bytes]:
    """Where the bits of a field are: the smallest aligned word that has them all, if there is one, and its mask."""
    ones = kind.from_buffer_copy(bytes(ctypes.sizeof(kind)))
    field.descriptor.__set__(ones, field.kind is ctypes.c_bool or -1)
    mask = raw_of(ones)
    touched = [i for i, byte in enumerate(mask) if byte]
    for width in (1, 2, 4, 8):
        start = touched[0] // width * width
        if touched[-1] < start + width <= len(mask):
            return start, mask[start : start + width]
    return touched[0], mask[touched[0] : touched[-1] + 1]


def _copied(field: Field) -> Callable[[StructureValue], Any]:
    def get(self: StructureValue) -> Any:
        return field.kind.from_buffer_copy(self._memory.load(field.at, ctypes.sizeof(field.kind))).value

    return get


def _looked_at(field: Field) -> Callable[[StructureValue], Any]:
    def get(self: StructureValue) -> Any:
        self._memory.load(0, 0)  # whoever changes it under the lock is done, or has died
        return field.descriptor.__get__(self.get_obj())

    return get


def _stored(field: Field, name: str) -> Callable[[StructureValue, Any], None]:
    def put(self: StructureValue, value: Any) -> None:
        raw = raw_of(made(field.kind, value, name))
        if field.is_text and isinstance(value, bytes | str):
            # As ctypes has it: the text and a zero, if there is room; what stands behind stays.
            raw = raw[: (len(value) + 1) * ctypes.sizeof(field.kind._type_)]
        self._memory.store(field.at, raw, len(raw), len(raw))

    return put
