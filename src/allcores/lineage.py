"""Which processes are forks of one another: what they had before, they have at the same addresses.

An address names what never goes, as the namespace of a module. A class may go, and another one, of the same name too,
take its place in one of them: so before a fork by the start method each class gets a name, which both then know.
"""

from __future__ import annotations

import itertools
import os
import weakref

__all__ = ("class_of", "family", "leave", "name_of", "remember")

_family = ""

# By the address of a class: the class, and its name. By the name: the class.
_known: dict[int, tuple[weakref.ref[type], str]] = {}
_named: dict[str, weakref.ref[type]] = {}


def family() -> str:
    """The name of this process's family. Nothing: it was never forked, nor made by a fork; so nobody is like it."""
    return _family


def remember() -> None:
    """Before a fork: name the classes that there are. One thread at a time."""
    event, numbers = os.urandom(8).hex(), itertools.count()
    there = _classes()
    for address in _known.keys() - there.keys():
        _forget(address)
    for address, cls in there.items():
        if address not in _known or _known[address][0]() is not cls:
            _forget(address)
            name, ref = f"{event}-{next(numbers)}", weakref.ref(cls)
            _named[name] = ref
            _known[address] = ref, name


def _forget(address: int) -> None:
    """The class that was there is gone."""
    if address in _known:
        _named.pop(_known[address][1], None)
        del _known[address]


def _classes() -> dict[int, type]:
    """All classes, by their addresses: some cannot be hashed."""
    found: dict[int, type] = {id(object): object}
    unseen: list[type] = [object]
    for cls in unseen:
        each: type
        for each in type.__subclasses__(cls):
            if id(each) not in found:
                found[id(each)] = each
                unseen.append(each)
    return found


def name_of(cls: type) -> str | None:
    """The name by which relatives know this class. None: it is younger than the last fork."""
    ref, name = _known.get(id(cls), (None, None))
    return name if ref is not None and ref() is cls else None


def class_of(name: str) -> type | None:
    """The class of this name; None if it was made after the fork, or elsewhere, or is gone."""
    ref = _named.get(name)
    return None if ref is None else ref()


def _found() -> None:
    global _family
    _family = _family or os.urandom(8).hex()


def leave() -> None:
    """In a child of the template, which has nothing that its siblings have but what came with the template."""
    global _family
    _family = ""


os.register_at_fork(before=_found)
