"""Value and Array of a cluster, seen from one of its processes. Each operation goes to where they are hosted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from allcores import codec, shared
from allcores.cluster.objects import HostedObject, Lock, RLock
from allcores.errors import NotSupported
from allcores.guarded import Locked, with_lock_only
from allcores.layouts import is_composed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allcores.cluster.link import Origin

__all__ = ("Array", "Value", "make_array", "make_value")


class _Guarded(Locked, HostedObject):
    """What has a type, and perhaps a lock."""

    _kind = "Data"
    _code: str
    _n: int
    _guard: Any  # a Lock; 0: none, as ``with_lock_only`` knows it

    def __init__(self, origin: Origin, code: str, first: Any, n: int, lock: Any) -> None:
        self._code, self._n = code, n
        self._guard = _guard(origin, lock)
        self._make(origin, code, first, self._guard._oid if self._guard else None)

    def _extras(self) -> tuple[Any, ...]:
        return self._code, self._n, self._guard

    def _set_extras(self, *extras: Any) -> None:
        self._code, self._n, self._guard = extras

    @with_lock_only
    def get_obj(self) -> Any:
        """Not possible: the memory is elsewhere."""
        raise NotSupported("a value of a cluster is no memory of this process: read and write it by value, or by index")


class Value(_Guarded):
    """A typed value of a cluster: ``v.value``, under its lock; ``v += 1`` and ``v.add(1)`` are atomic."""

    @property
    def value(self) -> Any:
        """It; assigning sets it."""
        return self._call("get")

    @value.setter
    def value(self, value: Any) -> None:
        self._call("set", _plain(value))

    def add(self, value: Any) -> Any:
        """Add to it, in one step: what it is then."""
        return self._call("add", _plain(value))

    def __iadd__(self, value: Any) -> Self:
        self._call("add", _plain(value))
        return self

    def __repr__(self) -> str:
        return f"<Value {self._code!r} {self.value!r}>"


class Array(_Guarded):
    """A typed array of a cluster: ``a[i]``, slices, iteration; ``a.add(i, x)`` is atomic."""

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, key: Any) -> Any:
        return self._call("item", _told(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        plain = value if isinstance(value, bytes | str) or not hasattr(value, "__iter__") else list(value)
        plain = plain.tolist() if hasattr(plain, "tolist") else plain
        self._call("set_item", _told(key), plain)

    def add(self, index: int, value: Any) -> Any:
        """Add to an element, in one step: what it is then."""
        return self._call("add", index, _plain(value))

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self[:]))

    def __repr__(self) -> str:
        return f"<Array {self._code!r} of {self._n}>"


class String(Array):
    """An array of characters; see ``allcores.shared.SynchronizedString``."""

    raw = shared.SynchronizedString.raw
    value = shared.SynchronizedString.value


def make_value(origin: Origin, typecode_or_type: Any, args: tuple[Any, ...], lock: Any) -> Any:
    """``Value``; see ``allcores.shared.Value``."""
    _refuse_composed(typecode_or_type)
    if len(args) > 1:
        raise TypeError(f"Value takes a type and one first value, not {len(args)}: {args!r}")
    known = isinstance(typecode_or_type, str | type)
    code = shared._code_of(typecode_or_type) if known else shared._code_for(typecode_or_type)
    if args and not known:
        raise TypeError(
            f"Value takes a type code and a value, or just a value, not {typecode_or_type!r} and {args[0]!r}"
        )
    zero = b"\0" if code == "c" else "\0" if code == "u" else 0
    first = _plain(args[0] if args else zero if known else typecode_or_type)
    return Value(origin, code, (True, first), 1, lock)


def make_array(origin: Origin, typecode_or_type: Any, size_or_initializer: Any, lock: Any) -> Any:
    """``Array``; see ``allcores.shared.Array``."""
    _refuse_composed(typecode_or_type)
    data = size_or_initializer
    if not isinstance(typecode_or_type, str | type):
        if data is not None:
            raise TypeError(f"Array takes a type code first, not {codec.short_repr(typecode_or_type)}")
        shared._refuse_nested(typecode_or_type)
        code, data = shared._code_for_all(typecode_or_type), typecode_or_type
    elif data is None:
        raise TypeError("Array needs a size or first values: Array('i', 10) or Array('i', [1, 2, 3])")
    else:
        code = shared._code_of(typecode_or_type)
    if isinstance(data, int) and data < 0:
        raise ValueError(f"the size of an Array must be 0 or more, not {data}")
    first = data if isinstance(data, int) else shared._values(data)
    n = first if isinstance(first, int) else len(first)
    return (String if code in "cu" else Array)(origin, code, (False, first), n, lock)


def _guard(origin: Origin, lock: Any) -> Any:
    if isinstance(lock, Lock):
        return lock
    if lock is True or lock is None:
        return RLock(origin)
    if lock is False:
        return 0
    raise AttributeError(f"lock must be True, False, or a Lock or RLock of this context, not {codec.short_repr(lock)}")


def _refuse_composed(kind: Any) -> None:
    if is_composed(kind if isinstance(kind, type) else type(kind)):
        raise NotSupported(
            "Structures, Unions and arrays of them need shared memory, which a cluster has not: use the process "
            "context, or Values and Arrays of numbers"
        )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _told(key: Any) -> Any:
    """A key, as it travels."""
    return (key.start, key.stop, key.step) if isinstance(key, slice) else key
