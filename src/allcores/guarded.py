"""What everything with a type in shared memory has: the lock that guards it, and how it travels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from allcores import _native, codec
from allcores.sync import Lock, RLock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Guarded", "Locked", "guard_of", "held_by", "is_anothers", "with_lock_only")

# How a handle says which lock guards it, where it is not the offset of another lock.
_OWN, _NONE = -1, 0

M = TypeVar("M")


class _WithLockOnly:
    """A method that an object has only if it has a lock."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, obj: Any, kind: Any = None) -> Any:
        if obj is None:
            return self._method
        if obj._guard == _NONE:
            raise AttributeError("this was made with lock=False: there is no lock; make it without that argument")
        return self._method.__get__(obj, kind)


def with_lock_only(method: M) -> M:
    """A method that ``hasattr`` does not find where there is no lock: so programs tell a RawValue from a Value."""
    return cast("M", _WithLockOnly(cast("Any", method)))


class Locked:
    """What has a lock, or none: it is acquired and released by name, or around a block."""

    _guard: Any  # _NONE: none

    @with_lock_only
    def get_lock(self) -> Any:
        """The lock that guards this object. AttributeError: it was made with ``lock=False``."""
        return self._guard

    @with_lock_only
    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Acquire the lock; see ``get_lock``."""
        return bool(self.get_lock().acquire(block, timeout))

    @with_lock_only
    def release(self) -> None:
        """Release the lock; see ``get_lock``."""
        self.get_lock().release()

    def __enter__(self) -> bool:
        return bool(self.get_lock().acquire())

    def __exit__(self, *exc_info: object) -> None:
        self.get_lock().release()


class Guarded(Locked):
    """The lock of a Value or Array. Beside it among the bases stands the native class that has the data."""

    _code: str
    _n: int
    _guard: Lock | int
    offset: int

    @with_lock_only
    def get_lock(self) -> Lock:
        """The lock that guards this object: its own RLock, or the one it was made with.

        Raises:
            AttributeError: it was made with ``lock=False``.
        """
        return RLock._attach(self.offset) if isinstance(self._guard, int) else self._guard

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self._code, self._n, self.offset, self._guard)

    @classmethod
    def _attach(cls, code: str, n: int, offset: int, guard: Lock | int) -> Self:
        obj = cls.__new__(cls)
        obj._set_up(code, n, offset, guard)
        return obj

    def _set_up(self, code: str, n: int, offset: int, guard: Lock | int) -> None:
        native: Any = next(base for base in type(self).__mro__ if base.__module__ == _native.__name__)
        native.__init__(self, code=code, n=n, offset=offset, guard=guard if isinstance(guard, int) else guard.offset)
        self._code, self._n, self._guard = code, n, guard


def is_anothers(lock: Any) -> bool:
    """Whether this is a lock, and none of ours: of threads, or of the standard library's processes."""
    return not isinstance(lock, Lock | bool) and hasattr(lock, "acquire")


def held_by(lock: Any, obj: Any) -> Any:
    """A ctypes object in shared memory, guarded by such a lock: the standard's own Synchronized, which goes nowhere
    that the lock cannot go."""
    from multiprocessing.sharedctypes import synchronized

    return synchronized(obj, lock)


def guard_of(lock: Any) -> Lock | int:
    """What the ``lock`` argument of Value and Array means."""
    if isinstance(lock, Lock):
        return lock
    if lock is True or lock is None:
        return _OWN
    if lock is False:
        return _NONE
    # An AttributeError, as the standard raises for what has no acquire().
    raise AttributeError(f"lock must be True, False, or an allcores Lock or RLock, not {codec.short_repr(lock)}")
