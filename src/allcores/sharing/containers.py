"""What ``share`` makes of lists, tuples, dicts and sets: read-only containers whose items are unpickled when asked for.

An item is a fresh object each time, and nobody else's: what is done to it is done to a copy. Only arrays in it look at
the shared memory, and cannot be written to.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence, Set, ValuesView
from typing import TYPE_CHECKING, Any, overload

from allcores.sharing.layout import Kind, stable_hash

if TYPE_CHECKING:
    from allcores.sharing.layout import Records

__all__ = ("SharedDict", "SharedFrozenSet", "SharedList", "SharedSet", "SharedTuple", "load")


def load(records: Records) -> Any:
    """The object that a block holds."""
    cls = _CLASSES.get(records.kind)
    return records.load(records.tables[0]) if cls is None else cls(records)


class _Items(Sequence[Any]):
    """What SharedList and SharedTuple have in common."""

    __slots__ = ("__weakref__", "_records", "_table")

    _plain: type[list[Any]] | type[tuple[Any, ...]]

    def __init__(self, records: Records) -> None:
        self._records = records
        self._table = records.table(0)

    def __len__(self) -> int:
        return self._records.count

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Any: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._plain(map(self._records.load, self._table[index]))
        try:
            at = self._table[index]
        except IndexError:
            raise IndexError(f"index {index} is outside this {type(self).__name__} of {len(self)} items") from None
        return self._records.load(at)

    def __iter__(self) -> Iterator[Any]:
        return map(self._records.load, self._table)

    def __reversed__(self) -> Iterator[Any]:
        return map(self._records.load, reversed(self._table))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (self._plain, type(self))):
            return NotImplemented
        return len(self) == len(other) and all(a is b or a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(self._plain(self))  # of a list that is the error it ought to be

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} items>"

    def __reduce__(self) -> Any:
        """For the user's own pickles and copies: a plain one."""
        return self._plain, (self._plain(self),)


class SharedList(_Items):
    """A read-only list in shared memory. Slices are plain lists; ``list(x)`` is a copy that can be changed."""

    __slots__ = ()
    _plain = list


class SharedTuple(_Items):
    """A tuple in shared memory. Slices are plain tuples."""

    __slots__ = ()
    _plain = tuple


class _Keys:
    """The keys of a dict or set: in their order, and by hash."""

    __slots__ = ("_entries", "_index", "_shift", "_starts", "records", "table")

    def __init__(self, records: Records) -> None:
        self.records = records
        self.table = records.table(0)
        # Where keys have no hash that is the same everywhere, each process makes an index of its own when it needs it.
        self._index: dict[Any, int] | None = None
        self._shift = records.shift
        self._entries = self._starts = self.table[:0]
        if records.tables[2]:
            self._entries = records.table(2)
            self._starts = records.table(3, "I", (1 << 32 - self._shift) + 1)

    def __iter__(self) -> Iterator[Any]:
        return map(self.records.load, self.table)

    def find(self, key: Any) -> int:
        """The number of a key; -1 if it is not there. TypeError as of a dict for one that has no hash."""
        hash(key)
        starts = self._starts
        if not len(starts):
            if self._index is None:
                self._index = {key: i for i, key in enumerate(self)}
            return self._index.get(key, -1)
        wanted = stable_hash(key, asked=True)
        first = wanted >> self._shift
        for entry in self._entries[starts[first] : starts[first + 1]]:
            if entry >> 32 == wanted:
                i: int = entry & 0xFFFFFFFF
                if self.records.load(self.table[i]) == key:
                    return i
        return -1


class SharedDict(Mapping[Any, Any]):
    """A read-only dict in shared memory, in the order of the dict it was made from.

    Looking up a key unpickles its value, and not the others. ``dict(x.items())`` is a copy that can be changed.
    """

    __slots__ = ("__weakref__", "_keys", "_records", "_values")

    def __init__(self, records: Records) -> None:
        self._records = records
        self._keys = _Keys(records)
        self._values = records.table(1)

    def __len__(self) -> int:
        return self._records.count

    def __getitem__(self, key: Any) -> Any:
        i = self._keys.find(key)
        if i < 0:
            raise KeyError(key)
        return self._records.load(self._values[i])

    def __contains__(self, key: object) -> bool:
        return self._keys.find(key) >= 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __reversed__(self) -> Iterator[Any]:
        return map(self._records.load, reversed(self._keys.table))

    def items(self) -> ItemsView[Any, Any]:
        """Pairs of key and value, unpickled as they are asked for."""
        return _ItemsView(self)

    def values(self) -> ValuesView[Any]:
        """The values, unpickled as they are asked for."""
        return _ValuesView(self)

    def __repr__(self) -> str:
        return f"<SharedDict of {len(self)} items>"

    def __reduce__(self) -> Any:
        """For the user's own pickles and copies: a plain one."""
        return dict, (dict(self.items()),)


class _ItemsView(ItemsView[Any, Any]):
    _mapping: SharedDict

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return zip(self._mapping, _ValuesView(self._mapping), strict=True)


class _ValuesView(ValuesView[Any]):
    _mapping: SharedDict

    def __iter__(self) -> Iterator[Any]:
        return map(self._mapping._records.load, self._mapping._values)


class SharedSet(Set[Any]):
    """A read-only set in shared memory. What is computed from it (``&``, ``|``, ``-``) is a plain set."""

    __slots__ = ("__weakref__", "_keys", "_records")

    _plain: type[set[Any]] | type[frozenset[Any]] = set

    def __init__(self, records: Records) -> None:
        self._records = records
        self._keys = _Keys(records)

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        return cls._plain(it)

    def __len__(self) -> int:
        return self._records.count

    def __contains__(self, key: object) -> bool:
        return self._keys.find(key) >= 0

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} items>"

    def __reduce__(self) -> Any:
        """For the user's own pickles and copies: a plain one."""
        return self._plain, (list(self),)


class SharedFrozenSet(SharedSet):
    """A frozenset in shared memory."""

    __slots__ = ()
    _plain = frozenset

    def __hash__(self) -> int:
        return hash(frozenset(self))


_CLASSES: dict[int, Any] = {
    Kind.LIST: SharedList,
    Kind.TUPLE: SharedTuple,
    Kind.DICT: SharedDict,
    Kind.SET: SharedSet,
    Kind.FROZENSET: SharedFrozenSet,
}
