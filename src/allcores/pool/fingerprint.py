"""What tells whether a function or an item is the same as in an earlier run of the program: a hash of its contents.

Not of its pickle: that depends on which equal objects are one object, on the order of sets, and on the order in which
dictionaries were filled. Here sets and dictionaries count by what is in them; other objects by their type and what
``__reduce_ex__`` makes of them, as pickle would store it; arrays by dtype, shape and values.

A function counts by its code (constants and nested functions included, lines and comments not), its defaults, what its
closure holds, and the globals it names: functions and classes of its own package likewise, plain data and arrays by
value, everything else by its type. What it reaches by attribute (``helpers.square``) is not followed.

What an allcores object holds (a Queue, a Value) is no part of anything: it is where effects go, or come from.
"""

from __future__ import annotations

import copyreg
import functools
import struct
import sys
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("NBYTES", "of_function", "of_items", "of_python")

# Of an item. A changed one is taken for the same once in 2**64; more would be felt in a file of a million small ones.
NBYTES = 8
_DIGEST = 16


def of_items(items: Iterable[Any]) -> bytes:
    """The fingerprints of items, one after the other.

    Raises:
        TypeError: an item cannot be taken apart, as a lock or an open file.
    """
    return b"".join([blake2b(_atom(item) or _Walk().digest(item), digest_size=NBYTES).digest() for item in items])


def of_function(func: Callable[..., Any]) -> dict[str, str]:
    """The parts of a function, by what they are called in a message, with the fingerprint of each."""
    return {name: digest.hex() for name, digest in _FunctionWalk(func).parts(func).items()}


def _atom(obj: Any) -> bytes:
    """An object that has no parts, in bytes that no other has; empty for one that has parts."""
    kind = type(obj)
    if kind is int:
        return b"i%b" % obj.to_bytes(obj.bit_length() // 8 + 1, "little", signed=True)
    if kind is str:
        return b"s%b" % obj.encode("utf-8", "surrogatepass")
    if kind is float:
        return b"f" + struct.pack("<d", obj)
    if kind is bytes:
        return b"b%b" % obj
    if obj is None or kind is bool or obj is ... or obj is NotImplemented:
        return b"c" + repr(obj).encode()
    if kind is complex:
        return b"j" + struct.pack("<dd", obj.real, obj.imag)
    return b""


class _NotPlain(Exception):
    """Only plain data is wanted, and this is none."""


class _Walk:
    """Goes through an object once, however often its parts are met."""

    plain = False  # refuse what is not made of built-in containers and arrays

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, Any]] = {}  # held, so that an id names one object only
        self._above: dict[int, int] = {}  # containers that this one is in, and how deep

    def digest(self, obj: Any) -> bytes:
        """The fingerprint of an object."""
        if atom := _atom(obj):
            return _hash(b"atom", [atom])
        known = self._known.get(id(obj))
        if known is not None:
            return known[0]
        if id(obj) in self._above:  # it contains itself
            return _hash(b"above", [b"%d" % self._above[id(obj)]])
        self._above[id(obj)] = len(self._above)
        try:
            digest = self._of_parts(obj)
        finally:
            del self._above[id(obj)]
        self._known[id(obj)] = digest, obj
        return digest

    def _all(self, tag: bytes, parts: Iterable[Any]) -> bytes:
        return _hash(tag, [_atom(part) or b"*" + self.digest(part) for part in parts])

    def _of_parts(self, obj: Any) -> bytes:
        kind = type(obj)
        if kind is tuple or kind is list:
            return self._all(kind.__name__.encode(), obj)
        if kind is dict:
            return _hash(b"dict", sorted(self.digest(k) + self.digest(v) for k, v in obj.items()))
        if kind is set or kind is frozenset:
            return _hash(kind.__name__.encode(), sorted(map(self.digest, obj)))
        if kind is bytearray or kind is memoryview:
            return _hash(kind.__name__.encode(), [bytes(obj)])
        if kind.__module__ == "numpy" and hasattr(obj, "tobytes"):
            return self._of_array(obj, kind)
        if self.plain and kind is not range:
            raise _NotPlain
        return self._of_other(obj, kind)

    def _of_array(self, array: Any, kind: type) -> bytes:
        """Of a NumPy array or number."""
        if array.dtype.hasobject:
            data: Any = self.digest(array.tolist())
        elif array.flags.c_contiguous and array.size and array.dtype.kind in "biufc":
            data = memoryview(array).cast("B")
        else:
            data = array.tobytes()
        return _hash(b"array", [kind.__name__, repr(array.dtype.descr), repr(array.shape), data])

    def _of_other(self, obj: Any, kind: type) -> bytes:
        if kind is FunctionType:
            return _FunctionWalk(obj).digest(obj)
        if kind is MethodType:
            return self._all(b"method", (obj.__func__, obj.__self__))
        if kind is CodeType:
            return _of_code(obj)
        if isinstance(obj, type):
            return _hash(b"class", _name(obj))
        if isinstance(obj, ModuleType):
            return _hash(b"module", [obj.__name__.encode()])
        if kind.__module__.partition(".")[0] == "allcores":
            return _hash(b"shared", _name(kind))
        reduce = copyreg.dispatch_table.get(kind)
        reduced: Any = obj.__reduce_ex__(4) if reduce is None else reduce(obj)
        if isinstance(reduced, str):
            return _hash(b"name", [getattr(obj, "__module__", None) or "", reduced])
        made, args, *more = reduced
        state, items, pairs = (*more, None, None, None)[:3]
        parts = (kind, made, args, state, items and list(items), pairs and dict(pairs))
        return self._all(b"object", parts)


class _PlainWalk(_Walk):
    plain = True


def _hash(tag: bytes, parts: Iterable[Any]) -> bytes:
    made = blake2b(tag, digest_size=_DIGEST)
    for part in parts:
        if isinstance(part, str):
            part = part.encode()
        made.update(b"|%d:" % len(part))  # where one ends and the next begins
        made.update(part)
    return made.digest()


def _name(obj: Any) -> list[str]:
    return [getattr(obj, "__module__", None) or "", getattr(obj, "__qualname__", type(obj).__qualname__)]


def _of_code(code: CodeType) -> bytes:
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    made_of = counts, names, code.co_code, code.co_exceptiontable, code.co_consts
    return _Walk()._all(b"code", made_of)


class _FunctionWalk(_Walk):
    """Goes through a function, and those of its package that it names."""

    def __init__(self, func: Callable[..., Any]) -> None:
        super().__init__()
        inner: Any = func
        while isinstance(inner, functools.partial | MethodType):
            inner = inner.func if isinstance(inner, functools.partial) else inner.__func__
        module = getattr(inner, "__module__", None) or type(inner).__module__
        self._package = module.partition(".")[0]

    def parts(self, func: Any) -> dict[str, bytes]:
        """What a function consists of."""
        if isinstance(func, functools.partial):
            return self.parts(func.func) | {"its arguments": self._loosely((func.args, func.keywords))}
        if isinstance(func, MethodType):
            return self.parts(func.__func__) | {"its object": self._loosely(func.__self__)}
        if isinstance(func, functools._lru_cache_wrapper):
            return self.parts(func.__wrapped__)
        if isinstance(func, FunctionType):
            return self._parts_of_plain(func)
        if isinstance(func, type | BuiltinFunctionType):
            return {"its name": _hash(b"name", _name(func)), "its code": self._loosely(func)}
        return {"its class": self._of_class(type(func)), "its state": self._loosely(func)}

    def _parts_of_plain(self, func: FunctionType) -> dict[str, bytes]:
        from cloudpickle.cloudpickle import _extract_code_globals

        parts = {
            "its name": _hash(b"name", _name(func)),
            "its code": _of_code(func.__code__),
            "its default arguments": self._loosely((func.__defaults__, func.__kwdefaults__)),
        }
        for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
            parts[f"what its closure holds as {name}"] = self._of_cell(cell)
        for name in sorted(_extract_code_globals(func.__code__)):
            if name in func.__globals__:
                parts[f"its global {name}"] = self._of_global(func.__globals__[name])
        return parts

    def _of_other(self, obj: Any, kind: type) -> bytes:
        if kind is FunctionType:
            parts = self._parts_of_plain(obj)
            return _hash(b"function", [x for pair in parts.items() for x in pair])
        if isinstance(obj, functools._lru_cache_wrapper):
            return self.digest(obj.__wrapped__)
        if isinstance(obj, type) and self._is_ours(obj):
            return self._of_class(obj)
        return super()._of_other(obj, kind)

    def _is_ours(self, obj: Any) -> bool:
        return (getattr(obj, "__module__", None) or "").partition(".")[0] == self._package

    def _of_cell(self, cell: Any) -> bytes:
        try:
            return self._loosely(cell.cell_contents)
        except ValueError:  # not filled yet
            return b""

    def _of_global(self, value: Any) -> bytes:
        if isinstance(value, FunctionType | type | functools._lru_cache_wrapper) and self._is_ours(value):
            return self.digest(value)
        if isinstance(value, FunctionType | BuiltinFunctionType | type | ModuleType):
            return _hash(b"name", [value.__name__] if isinstance(value, ModuleType) else _name(value))
        try:
            return _PlainWalk().digest(value)
        except _NotPlain:
            return _hash(b"of type", _name(type(value)))

    def _of_class(self, cls: type) -> bytes:
        if not self._is_ours(cls):
            return _hash(b"class", _name(cls))
        parts: list[Any] = [*_name(cls), *(self.digest(base) for base in cls.__bases__)]
        for name, value in sorted(vars(cls).items()):
            inside = [getattr(value, part, None) for part in ("__func__", "fget", "fset", "fdel", "func")]
            functions = [f for f in (value, *inside) if isinstance(f, FunctionType)]
            if functions:
                parts += [name, *map(self.digest, functions)]
            elif not name.startswith("__"):  # else Python's own notes, some written when the class is first used
                parts += [name, self._of_global(value)]
        return _hash(b"class of ours", parts)

    def _loosely(self, value: Any) -> bytes:
        """What cannot be taken apart, as a lock or an open file, counts by its type: it has no contents to change."""
        try:
            return self.digest(value)
        except (TypeError, AttributeError, NotImplementedError):
            return _hash(b"of type", _name(type(value)))


def of_python() -> str:
    """The Python that code objects are of: another has other code for the same lines."""
    return f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
