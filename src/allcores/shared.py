"""Value and Array: typed numbers in shared memory, with atomic addition."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from allcores import _native, codec, structures
from allcores.guarded import Guarded, guard_of, held_by, is_anothers, with_lock_only
from allcores.layouts import CTYPES, check_shareable, is_composed, is_swapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("Array", "RawArray", "RawValue", "Value")


class Synchronized(Guarded, _native.Value):
    """A typed value in shared memory: ``v.value`` under its lock; ``v += 1`` and ``v.add(1)`` are atomic.

    ``v.value += 1`` is a read and a write, between which another process may come: hold ``v.get_lock()``, or use ``v
    += 1``.
    """

    @with_lock_only
    def get_obj(self) -> Any:
        """The ctypes object that looks at the same memory, without taking the lock.

        Raises:
            AttributeError: it was made with ``lock=False``: as a buffer it is that memory itself.
        """
        return CTYPES[self._code].from_buffer(self)

    def __repr__(self) -> str:
        return f"<Value {self._code!r} {self.value!r}>"


class SynchronizedArray(Guarded, _native.Array):
    """A one-dimensional typed array in shared memory: ``a[i]``, slices, iteration; ``a.add(i, x)`` is atomic."""

    @with_lock_only
    def get_obj(self) -> Any:
        """The ctypes array that looks at the same memory, without taking the lock.

        Raises:
            AttributeError: it was made with ``lock=False``: as a buffer it is that memory itself.
        """
        return (CTYPES[self._code] * self._n).from_buffer(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self[:]))

    def __repr__(self) -> str:
        return f"<Array {self._code!r} of {self._n}>"


class SynchronizedString(SynchronizedArray):
    """An array of characters: ``raw`` is all of its bytes, ``value`` those before the first zero."""

    @property
    def raw(self) -> Any:
        """All bytes; assigning writes from the start."""
        return self[:]

    @raw.setter
    def raw(self, data: bytes) -> None:
        self[: len(data)] = data

    @property
    def value(self) -> Any:
        """What stands before the first zero; assigning writes it and a zero after it if there is room."""
        text = self[:]
        return text.partition(text[:0] + (b"\0" if isinstance(text, bytes) else "\0"))[0]

    @value.setter
    def value(self, text: bytes | str) -> None:
        zero: Any = b"\0" if isinstance(text, bytes) else "\0"
        whole: Any = text + zero if len(text) < self._n else text
        if len(text) > self._n:
            raise ValueError(f"{len(text)} characters do not fit into an Array of {self._n}")
        self[: len(whole)] = whole


def Value(typecode_or_type: Any, *args: Any, lock: Any = True, ctx: Any = None) -> Any:  # noqa: N802 - the standard's name
    """Make a typed value in shared memory, as ``multiprocessing.Value``.

    Args:
        typecode_or_type: a type code of the standard table (``c b B u h H i I l L q Q f d``), a ctypes type, or
            just the first value: ``Value(0)`` is a 64-bit int, ``Value(0.5)`` a double, a NumPy scalar its own type.
        *args: the first value, 0 if left out; the fields of a Structure, one after the other.
        lock: True for a lock of its own, False for none (``+=`` and ``add`` are atomic all the same), or a Lock or
            RLock. With a lock of ``threading`` it is the standard's own Synchronized, for threads and forks.
        ctx: for the standard's sake only.

    Returns:
        A Synchronized; of a Structure or Union a StructureValue; of an array type what ``Array`` makes.

    Raises:
        TypeError: unknown code, a pointer, or a value of the wrong type; the message lists the codes or names the
            field.
        OverflowError: the value does not fit the type.
    """
    if is_anothers(lock):
        return held_by(lock, Value(typecode_or_type, *args).get_obj())
    if isinstance(typecode_or_type, ctypes.Structure | ctypes.Union) and not args:
        typecode_or_type, args = type(typecode_or_type), (typecode_or_type,)
    if is_composed(typecode_or_type):
        make = _value_of_array if issubclass(typecode_or_type, ctypes.Array) else structures.make_value
        return make(typecode_or_type, args, lock)
    if len(args) > 1:
        raise TypeError(f"Value takes a type and one first value, not {len(args)}: {args!r}")
    known = isinstance(typecode_or_type, str | type)
    code = _code_of(typecode_or_type) if known else _code_for(typecode_or_type)
    if args and not known:
        raise TypeError(
            f"Value takes a type code and a value, or just a value, not {typecode_or_type!r} and {args[0]!r}"
        )
    made = Synchronized._attach(code, 1, 0, guard_of(lock))
    if args or not known:
        made.value = args[0] if args else typecode_or_type
    return made


def Array(typecode_or_type: Any, size_or_initializer: Any = None, *, lock: Any = True, ctx: Any = None) -> Any:  # noqa: N802
    """Make a one-dimensional typed array in shared memory, as ``multiprocessing.Array``.

    Args:
        typecode_or_type: a type code or ctypes type as for ``Value``, or just the data: a NumPy vector (its dtype is
            the type), or a sequence of ints or floats.
        size_or_initializer: the length (all zeros), or a sequence of first values: of a Structure instances or tuples.
        lock: as for ``Value``.
        ctx: for the standard's sake only.

    Returns:
        A SynchronizedArray; of Structures, Unions or array types a StructureArray.

    Raises:
        TypeError: unknown code, a pointer, or values of the wrong type; the message lists the codes or names the
            field.
        ValueError: nested data: an Array is one-dimensional.
        OverflowError: a value does not fit the type.
        MemoryError: the system has no memory for it.
    """
    if is_anothers(lock):
        return held_by(lock, Array(typecode_or_type, size_or_initializer).get_obj())
    if not isinstance(typecode_or_type, str | type):
        if size_or_initializer is not None:
            raise TypeError(
                f"Array takes a type code first, not {codec.short_repr(typecode_or_type)}; {_native.TYPE_CODES}"
            )
        _refuse_nested(typecode_or_type)
        return _array_of(_code_for_all(typecode_or_type), typecode_or_type, lock)
    if size_or_initializer is None:
        raise TypeError("Array needs a size or first values: Array('i', 10) or Array('i', [1, 2, 3])")
    if is_composed(typecode_or_type):
        return structures.make_array(typecode_or_type, size_or_initializer, lock)
    return _array_of(_code_of(typecode_or_type), size_or_initializer, lock)


def RawValue(typecode_or_type: Any, *args: Any) -> Any:  # noqa: N802 - the standard's name
    """``Value`` without a lock."""
    return Value(typecode_or_type, *args, lock=False)


def RawArray(typecode_or_type: Any, size_or_initializer: Any = None) -> Any:  # noqa: N802
    """``Array`` without a lock."""
    return Array(typecode_or_type, size_or_initializer, lock=False)


def _value_of_array(kind: Any, args: tuple[Any, ...], lock: Any) -> Any:
    """``Value(c_int * 3, 1, 2)``: an Array of three, the last 0, as the standard library has it."""
    made = Array(kind._type_, kind._length_, lock=lock)
    if len(args) == 1 and isinstance(args[0], bytes | str) and isinstance(made, SynchronizedString):
        made.value = args[0]
    elif len(args) > len(made):
        raise ValueError(f"{kind.__name__} has {len(made)} elements, and {len(args)} were given")
    elif args:
        made[: len(args)] = args
    return made


def _array_of(code: str, data: Any, lock: Any) -> SynchronizedArray:
    if isinstance(data, int):
        if data < 0:
            raise ValueError(f"the size of an Array must be 0 or more, not {data}")
        return _array(code, data, lock)
    values = _values(data)
    made = _array(code, len(values), lock)
    if len(values):
        made[:] = values
    return made


def _array(code: str, n: int, lock: Any) -> SynchronizedArray:
    return (SynchronizedString if code in "cu" else SynchronizedArray)._attach(code, n, 0, guard_of(lock))


def _code_of(kind: str | type) -> str:
    """The type code for a code or a simple ctypes type."""
    if isinstance(kind, type):
        code = getattr(kind, "_type_", None)
        if isinstance(code, str) and code in CTYPES and not is_swapped(kind):
            return code
        check_shareable(kind, kind.__name__)
        raise TypeError(f"{kind.__name__} is no type for shared memory; {_native.TYPE_CODES}")
    if kind not in CTYPES:
        raise TypeError(f"unknown type code {kind!r}; {_native.TYPE_CODES}")
    return kind


def _code_for(value: Any) -> str:
    """The type code that holds a first value."""
    if isinstance(value, bool):
        return "?"
    if isinstance(value, int):
        return "q"
    if isinstance(value, float):
        return "d"
    dtype = getattr(value, "dtype", None)
    if dtype is not None and dtype.char in CTYPES:
        return str(dtype.char)
    raise TypeError(
        f"cannot tell the type from {codec.short_repr(value)} ({type(value).__name__}): "
        f"give a number, or a type code and a value; {_native.TYPE_CODES}"
    )


def _code_for_all(data: Any) -> str:
    """The type code that holds all values of a sequence."""
    if hasattr(data, "dtype"):
        return _code_for(data)
    try:
        codes = {_code_for(x) for x in data}
    except TypeError:
        short = codec.short_repr(data)
        raise TypeError(
            f"Array needs a type code and values, or just numbers, not {short}; {_native.TYPE_CODES}"
        ) from None
    if not codes:
        raise TypeError(f"cannot tell the type of an empty Array: give a type code first; {_native.TYPE_CODES}")
    return max(codes, key="?qd".index)


def _refuse_nested(data: Any) -> None:
    dimensions: int | None = getattr(data, "ndim", None)
    if dimensions is None:
        first = next(iter(data), None) if isinstance(data, list | tuple) else None
        dimensions = 2 if isinstance(first, list | tuple) or getattr(first, "ndim", None) else 1
    if dimensions != 1:
        raise ValueError(
            f"Array is one-dimensional and was given {dimensions} dimensions: "
            "flatten the data, or use SharedArray for N-dimensional data"
        )


def _values(data: Any) -> Sequence[Any]:
    if isinstance(data, bytes | str):
        return data
    try:
        _refuse_nested(data)
        # NumPy's own scalars would do, only slower.
        return data.tolist() if hasattr(data, "tolist") else list(data)
    except TypeError:
        raise TypeError(f"Array needs a size or a sequence of values, not {codec.short_repr(data)}") from None
