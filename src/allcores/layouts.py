"""ctypes types as shared memory needs them: the type codes, what may be shared, where each field is, and values made.

A value is made in private memory first, and checked there: what does not fit is an error before anything is shared.
"""

from __future__ import annotations

import ctypes
import operator
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allcores import codec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("CTYPES", "Field", "check_shareable", "fields_of", "is_composed", "is_swapped", "made", "raw_of")

CTYPES: dict[str, Any] = {
    "c": ctypes.c_char,
    "u": ctypes.c_wchar,
    "b": ctypes.c_byte,
    "B": ctypes.c_ubyte,
    "h": ctypes.c_short,
    "H": ctypes.c_ushort,
    "i": ctypes.c_int,
    "I": ctypes.c_uint,
    "l": ctypes.c_long,
    "L": ctypes.c_ulong,
    "q": ctypes.c_longlong,
    "Q": ctypes.c_ulonglong,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
    "?": ctypes.c_bool,
}
_INTEGERS = "bBhHiIlLqQ"
_POINTER_KINDS: Any = (ctypes._Pointer, ctypes._CFuncPtr)  # type: ignore[attr-defined] # typeshed hides the second
# c_char_p, c_wchar_p, c_void_p, py_object, BSTR.
_POINTERS = "zZPOX"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a Structure or Union."""

    name: str
    kind: Any
    at: int
    """Bytes from the start."""
    bits: int
    """How many, of a bit field; otherwise 0."""
    descriptor: Any
    """ctypes' own, which reads and writes it in an instance."""

    @property
    def code(self) -> str:
        """Its type code, if the core reads and writes it as such; otherwise empty."""
        return self.kind._type_ if not self.bits and self.kind in CTYPES.values() else ""

    @property
    def is_text(self) -> bool:
        """An array of characters: read and written as bytes or str."""
        return issubclass(self.kind, ctypes.Array) and self.kind._type_ in (ctypes.c_char, ctypes.c_wchar)

    @property
    def is_copied(self) -> bool:
        """Reading it gives a plain Python object, and not a ctypes object that looks at the memory."""
        return self.is_text or ctypes._SimpleCData in self.kind.__bases__

    def put(self, into: Any, value: Any, name: str) -> None:
        """Write the value into an instance in private memory, or raise what is wrong with it."""
        if not self.bits:
            part = made(self.kind, value, name)
            ctypes.memmove(ctypes.byref(into, self.at), ctypes.byref(part), ctypes.sizeof(self.kind))
            return
        number = bool(value) if self.kind is ctypes.c_bool else _index(self.kind, value, name)
        self.descriptor.__set__(into, number)
        if self.descriptor.__get__(into) != number:
            raise OverflowError(f"{number} does not fit into the {self.bits} bits of {name} ({self.kind.__name__})")


def is_composed(kind: Any) -> bool:
    """Whether it is a Structure, a Union or an array type."""
    return isinstance(kind, type) and issubclass(kind, ctypes.Structure | ctypes.Union | ctypes.Array)


def is_swapped(kind: Any) -> bool:
    """Whether a simple type has the byte order of other machines."""
    other, own = ("__ctype_be__", "__ctype_le__") if sys.byteorder == "little" else ("__ctype_le__", "__ctype_be__")
    return getattr(kind, other, None) is kind and getattr(kind, own, None) is not kind


def own_fields(kind: Any) -> Iterator[Field]:
    """Its fields as they are given one after the other, those that it inherits first."""
    for cls in reversed(kind.__mro__):
        for name, field_kind, *bits in vars(cls).get("_fields_", ()):
            descriptor = vars(cls)[name]
            yield Field(name, field_kind, descriptor.offset, bits[0] if bits else 0, descriptor)


def fields_of(kind: Any) -> Iterator[Field]:
    """All fields that can be named: its own, and those of its anonymous parts."""
    yield from own_fields(kind)
    parts = {field.name: field.kind for field in own_fields(kind)}
    for cls in kind.__mro__:
        for part in vars(cls).get("_anonymous_", ()):
            for inner in fields_of(parts[part]):
                descriptor = vars(cls)[inner.name]
                yield Field(inner.name, inner.kind, descriptor.offset, inner.bits, descriptor)


def check_shareable(kind: Any, name: str) -> None:
    """Refuse what means nothing in another process, and what has no size.

    Raises:
        TypeError: a pointer in it, no fields, or no type of ctypes; the message names the part.
    """
    if issubclass(kind, _POINTER_KINDS) or getattr(kind, "_type_", None) in tuple(_POINTERS):
        raise TypeError(
            f"{name} is a pointer ({kind.__name__}), which points nowhere in another process: "
            "have in its place what it points to, text as c_char * 64 for example, or an index"
        )
    if issubclass(kind, ctypes.Array):
        check_shareable(kind._type_, f"{name}[0]")
    elif issubclass(kind, ctypes.Structure | ctypes.Union):
        if not any("_fields_" in vars(cls) for cls in kind.__mro__):
            raise TypeError(f"{name} has no _fields_ yet: give {kind.__name__} its fields before it is shared")
        for field in own_fields(kind):
            check_shareable(field.kind, f"{name}.{field.name}")


def made(kind: Any, value: Any, name: str) -> Any:
    """A ctypes object of the kind, in private memory, from an instance or from numbers, bytes and tuples.

    Args:
        kind: a simple type, Structure, Union or array type.
        value: an instance of it; otherwise what ctypes takes for it, and sequences at any depth.
        name: what errors call it.

    Raises:
        TypeError: a part of the wrong type, or more values than fields; the message names the part.
        ValueError: more elements than the array has.
        OverflowError: a number that does not fit.
    """
    if isinstance(value, kind):
        return value
    if issubclass(kind, ctypes.Structure | ctypes.Union):
        return _made_structure(kind, value, name)
    if issubclass(kind, ctypes.Array):
        return _made_array(kind, value, name)
    if kind._type_ in _INTEGERS:
        number = _index(kind, value, name)
        result = kind(number)
        if result.value != number:
            raise OverflowError(f"{number} does not fit into {name} ({kind.__name__})")
        return result
    try:
        return kind(bool(value) if kind._type_ == "?" else value)
    except TypeError:
        raise _wrong(kind, value, name, "a value of its type") from None


def raw_of(obj: Any) -> bytes:
    """The bytes of a ctypes object. Not ``bytes(obj)``: a class may have its own ``__bytes__``."""
    return ctypes.string_at(ctypes.addressof(obj), ctypes.sizeof(obj))


def _made_structure(kind: Any, value: Any, name: str) -> Any:
    values = _sequence(kind, value, name, "a tuple of its fields")
    base = ctypes.Structure if issubclass(kind, ctypes.Structure) else ctypes.Union
    if kind.__init__ is not base.__init__:
        return kind(*values)
    fields = list(own_fields(kind))
    if len(values) > len(fields):
        names = ", ".join(field.name for field in fields)
        raise TypeError(f"{name} has {len(fields)} fields ({names}), and {len(values)} values were given")
    result = kind()
    for field, part in zip(fields, values, strict=False):
        field.put(result, part, f"{name}.{field.name}")
    return result


def _made_array(kind: Any, value: Any, name: str) -> Any:
    element, result = kind._type_, kind()
    text = {ctypes.c_char: bytes, ctypes.c_wchar: str}.get(element)
    values = value if text and isinstance(value, text) else _sequence(kind, value, name, "a sequence of its elements")
    if len(values) > kind._length_:
        raise ValueError(f"{name} has {kind._length_} elements, and {len(values)} were given")
    if values is value and text:
        result.value = value
        return result
    size = ctypes.sizeof(element)
    for i, part in enumerate(values):
        ctypes.memmove(ctypes.byref(result, i * size), ctypes.byref(made(element, part, f"{name}[{i}]")), size)
    return result


def _sequence(kind: Any, value: Any, name: str, what: str) -> Sequence[Any]:
    """Several values; also a row of a NumPy array."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str | bytes | bytearray) or not hasattr(value, "__iter__"):
        raise _wrong(kind, value, name, what)
    return tuple(value)


def _index(kind: Any, value: Any, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise _wrong(kind, value, name, "an int") from None


def _wrong(kind: Any, value: Any, name: str, what: str) -> TypeError:
    given = f"{codec.short_repr(value)} ({type(value).__name__})"
    return TypeError(f"{name} ({kind.__name__}) needs {what}, not {given}")


assert ctypes.sizeof(ctypes.c_wchar) == 4, f"the core takes a wchar for 4 bytes; not so on {sys.platform}"
