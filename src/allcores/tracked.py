"""Names that the system keeps, and that the program removes at its end if nobody has: segments of ``shared_memory``,
and semaphores of the standard's.

    any process ── REGISTER /psm_1 ──▶ a channel in the segment ──▶ the template, at the end of the program: what is
                   UNREGISTER /psm_1                                registered still, and still there, is removed

The standard's resource tracker writes the same into a pipe, to a process of its own. Each process of ours would have
one to itself, whose end, with that of the process, would remove what others use. Its lines come here instead. So they
outlive a template that was killed: the next one finds them.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from allcores import _native
from allcores.onimport import WhenImported

__all__ = ("adopt", "begin", "places", "remove_left", "track")

_MODULE = "multiprocessing.resource_tracker"
# With so many lines in it, the channel is looked through, for those that are of no more use.
_MANY = 1000
# About what the standard refuses, whose line has to fit into a pipe at once. No file has such a name.
_LONGEST = 509


class _Lines:
    """The channel, and the lock under which it is written and looked through."""

    def __init__(self, channel: int = 0, lock: int = 0) -> None:
        self.channel = _native.Channel(offset=channel)
        self.lock = _native.Lock(recursive=True, release_on_death=True, offset=lock)
        self.many = _MANY


_lines: _Lines | None = None
_places = (0, 0)


def begin() -> None:
    """In the process that makes the segment. Does nothing if it was done before."""
    global _lines
    if _lines is None:
        _lines = _Lines()
        _native.pin(_lines.channel.offset)
        _native.pin(_lines.lock.offset)
        adopt((_lines.channel.offset, _lines.lock.offset))


def places() -> tuple[int, int]:
    """Where channel and lock are in the segment."""
    return _places


def adopt(found: tuple[int, int]) -> None:
    """In the template, and so in all that it forks: where they are. The standard's tracker writes there from now on."""
    global _places
    _places = found
    if _MODULE in sys.modules:
        _divert(_MODULE)
    else:
        WhenImported(_MODULE.__eq__, _divert).watch()


def _divert(_name: str) -> None:
    theirs: Any = sys.modules[_MODULE]
    tracker = theirs._resource_tracker
    if tracker._fd is not None:  # it is running, and knows of names that are not known here
        return
    send = tracker._send

    def tell(command: str, name: str, kind: str) -> None:
        if len(command) + len(name) + len(kind) > _LONGEST:
            raise ValueError(f"this name is too long to be one of {kind}: {name!r}")
        track(command, name, kind)
        if command == "UNREGISTER" and tracker._fd is not None:
            # A child of the standard's may have told its own, which has begun meanwhile. What it does not know, it must
            # be told of first: it would complain.
            send("REGISTER", name, kind)
            send(command, name, kind)

    tracker._send = tell


def track(command: str, name: str, kind: str) -> None:
    """Say that the program removes a name at its end (``REGISTER``), or that it does not (``UNREGISTER``)."""
    lines = _attached()
    with lines.lock:
        lines.channel.put((command, name, kind))
        if lines.channel.qsize() > lines.many:
            left = _look_through(lines)
            for each in left:
                lines.channel.put(("REGISTER", *each))
            lines.many = 2 * len(left) + _MANY


def _attached() -> _Lines:
    global _lines
    if _lines is None:
        _lines = _Lines(*_places)
    return _lines


def _look_through(lines: _Lines) -> list[tuple[str, str]]:
    """Take all lines: the names, and their kinds, that are registered still."""
    left: dict[tuple[str, str], None] = {}
    for _ in range(lines.channel.qsize()):
        command, *which = lines.channel.get(block=False)
        if command == "REGISTER":
            left[which[0], which[1]] = None
        else:
            left.pop((which[0], which[1]), None)
    return list(left)


def remove_left() -> None:
    """At the end of the program: remove what nobody has removed, and say so."""
    if _places == (0, 0):
        return
    found = _look_through(_attached())
    if not found:
        return
    from multiprocessing import resource_tracker

    removed: list[str] = []
    for name, kind in found:
        try:
            resource_tracker._CLEANUP_FUNCS[kind](name)  # type: ignore[attr-defined] # the standard's own table
        except OSError:  # by now it is gone, or somebody else's
            continue
        removed.append(kind)
    for kind in dict.fromkeys(removed):
        told = (
            f"resource_tracker: There appear to be {removed.count(kind)} leaked {kind} objects to clean up at shutdown"
        )
        os.write(2, f"allcores: UserWarning: {told}\n".encode())
