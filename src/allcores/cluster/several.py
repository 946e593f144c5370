"""Waiting for several things at once, of which some are a cluster's: one call waits for all of those, in the hosts."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from allcores import several
from allcores.cluster.calls import Gone
from allcores.cluster.objectqueues import End
from allcores.cluster.objects import HostedObject
from allcores.cluster.process import ClusterProcess
from allcores.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("wait",)


def wait(object_list: Iterable[Any], timeout: float | None = None) -> list[Any]:
    """Wait until one or more of the things are ready; see ``allcores.wait``."""
    objects = list(object_list)
    hosted = {i: found for i, obj in enumerate(objects) if (found := _hosted(obj)) is not None}
    others = [obj for i, obj in enumerate(objects) if i not in hosted]
    if not hosted:
        return several.wait(objects, timeout)
    deadline = None if timeout is None or timeout > 1e6 else time.monotonic() + max(timeout, 0)
    link = next(iter(hosted.values()))._link
    oids = [each._oid for each in hosted.values()]
    ready = _ask(link, oids, hosted, 0)
    there = several.wait(others, 0) if others else []
    if not ready and not there and (timeout is None or timeout > 0):
        if others:
            _wait_beside(link, oids, others, deadline)
            there = several.wait(others, 0)
            ready = _ask(link, oids, hosted, 0)
        else:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            ready = _ask(link, oids, hosted, left)
    chosen = {id(obj) for obj in there}
    return [obj for i, obj in enumerate(objects) if (i in hosted and hosted[i]._oid in ready) or id(obj) in chosen]


def _ask(link: Any, oids: list[int], hosted: dict[int, Any], timeout: float | None) -> set[int]:
    try:
        return set(link.call(0, "wait_any", (oids,), timeout))
    except Gone:
        for each in hosted.values():
            if isinstance(each, End):
                each._check_open()  # another thread has closed it
        raise


def _wait_beside(link: Any, oids: list[int], others: list[Any], deadline: float | None) -> None:
    """Until the hosts say that something is there, or something of this machine is ready."""
    shown = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        ticket = link.ticket()
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        reply = link._ask(link.request(0, "wait_any", (oids,), left, ticket))
        copy = os.dup(shown)

        def show(_reply: Any) -> None:
            os.eventfd_write(copy, 1)
            os.close(copy)

        reply.add_done_callback(show)
        try:
            several.wait([*others, shown], left)
        finally:
            link.post(0, "cancel", (ticket,))
    finally:
        os.close(shown)


def _hosted(obj: Any) -> Any:
    """What of an object the hosts know."""
    if isinstance(obj, Connection):
        obj = obj._receives or obj._refuse_to_receive()
        if isinstance(obj, HostedObject):
            obj._check_open()  # type: ignore[attr-defined] # an End
    if isinstance(obj, ClusterProcess):
        return obj._ending
    if isinstance(obj, HostedObject):
        if getattr(obj, "closed", False):
            raise ValueError("this queue is closed: wait() after close()")
        return obj
    return None
