"""Random numbers: each process draws its own, and each item of a seeded call its own, whatever worker runs it.

    seed, index ──BLAKE2b──▶ 64 bytes ──▶ random | numpy.random | torch | item_seed()

What an item draws is a function of the seed and its index alone, so neither the order of the work nor who does it can
be seen in it, and nothing has to be carried from item to item. NumPy's ``SeedSequence`` has the same idea (a spawn key
beside the entropy); it is not used, because then a worker without NumPy would draw other numbers. The hash is BLAKE2b
(RFC 7693) of the index in 8 bytes and the seed after it: different pairs, different input. Each library has bytes of
its own of the result, since ``random`` and NumPy are the same Mersenne Twister and would draw alike from the same.

A library that is imported in the middle of an item is seeded at the end of its import.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from allcores.onimport import WhenImported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Seeded", "draw_own", "hidden", "item_seed")

_EACH = 16


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _words(data: bytes) -> Any:
    return sys.modules["numpy"].frombuffer(data, "<u4")


def _number_of_64_bits(data: bytes) -> int:
    return _number(data[:8])


# Module with a generator that all its users share -> its function to seed it with, what that takes, its bytes' place.
_SHARED: dict[str, tuple[str, Callable[[bytes], Any], int]] = {
    "random": ("seed", _number, 0),
    "numpy.random": ("seed", _words, 1),
    "torch": ("manual_seed", _number_of_64_bits, 2),
}
_ITEM = 3
_NBYTES = 4 * _EACH

# The bytes of the item that runs in this process, and the thread it runs in.
_item: bytes | None = None
_thread = 0


def item_seed() -> int:
    """The seed of the item that runs in this thread, for a generator of its own: ``default_rng(item_seed())``.

    A number of 128 bits that depends on the ``seed=`` of the call and the item's index, on nothing else. Outside of a
    seeded item, and in threads that an item starts, it is fresh entropy of the system at each call.
    """
    if _item is None or threading.get_ident() != _thread:
        return _number(os.urandom(_EACH))
    return _number(_item[_ITEM * _EACH :])


def draw_own() -> None:
    """Seed what is imported from the system's entropy: a fork has its parent's generators in the state they were in."""
    data = os.urandom(_NBYTES)
    for name in _SHARED:
        _seed(name, data)


def _seed(name: str, data: bytes) -> None:
    how, argument, place = _SHARED[name]
    seed = getattr(sys.modules.get(name), how, None)
    if seed is not None:  # else not imported, or just being: then `_watch` does it
        seed(argument(data[place * _EACH : (place + 1) * _EACH]))


def _begin(seed: bytes, index: int) -> None:
    global _item, _thread
    from hashlib import blake2b

    data = blake2b(index.to_bytes(8, "little") + seed).digest()
    _thread = threading.get_ident()
    _item = data
    for name in _SHARED:
        _seed(name, data)


class Seeded:
    """A function each call of which begins with generators of its own: those of the next item.

    Args:
        func: the function.
        seed: of the call of the pool.
        start: index of the item that comes first.
        keep: the generators are somebody's, who finds them as they were. Else they draw their own numbers afterwards.
    """

    def __init__(self, func: Callable[..., Any], seed: int, start: int, keep: bool) -> None:
        self._func = func
        self._seed = seed.to_bytes(seed.bit_length() // 8 + 1, "little")
        self._index = start
        self._keep = keep
        self._before: tuple[bytes | None, int] = None, 0
        self._states: list[tuple[Callable[[Any], object], Any]] = []

    def __enter__(self) -> Self:
        _watch_imports()
        self._before = _item, _thread
        if self._keep:
            self._states = _states()
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _begin(self._seed, self._index)
        self._index += 1
        return self._func(*args, **kwargs)

    def __exit__(self, *_exc: object) -> None:
        global _item, _thread
        _item, _thread = self._before
        if _item is None:
            _watch.stop()
        if not self._keep or len(self._states) < _imported():  # what was imported meanwhile has no state to go back to
            draw_own()
        for give_back, state in self._states:
            give_back(state)


class hidden:  # noqa: N801 - a statement, like contextlib's
    """While what runs here is no item of the seeded one around it, and has no seed."""

    def __enter__(self) -> None:
        global _item
        self._before, _item = _item, None

    def __exit__(self, *_exc: object) -> None:
        global _item
        _item = self._before


def _imported() -> int:
    return sum(name in sys.modules for name in _SHARED)


def _states() -> list[tuple[Callable[[Any], object], Any]]:
    """Of each library that is imported: what gives its state back, and the state."""
    found: list[tuple[Callable[[Any], object], Any]] = []
    if random := sys.modules.get("random"):
        found.append((random.setstate, random.getstate()))
    if numpy_random := sys.modules.get("numpy.random"):
        found.append((numpy_random.set_state, numpy_random.get_state()))
    if torch := sys.modules.get("torch"):
        found.append((torch.set_rng_state, torch.get_rng_state()))
        if torch.cuda.is_initialized():
            found.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return found


def _watch_imports() -> None:
    if _imported() < len(_SHARED):
        _watch.watch()


def _imported_now(name: str) -> None:
    if _item is not None:
        _seed(name, _item)


_watch = WhenImported(_SHARED.__contains__, _imported_now)
