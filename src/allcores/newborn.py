"""What the template has just forked: how it becomes a child, with nothing of the template but its modules."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

from allcores import _native, lastwords, standard
from allcores.spawn import CONTROL_FD, FIRST_FREE_FD
from allcores.start import adopt_link

if TYPE_CHECKING:
    import socket

    from allcores.children import Job

__all__ = ("become_child",)


def _keep(fds: list[int], first: int) -> list[int]:
    """In the fork: move these descriptors to the numbers from ``first`` on. What each is now.

    In their order none takes the place of a later one, and there need be no descriptor free.
    """
    moved = {}
    for place, fd in enumerate(sorted(fds), first):
        if fd != place:
            os.dup2(fd, place)
        os.set_inheritable(place, False)
        moved[fd] = place
    return [moved[fd] for fd in fds]


def become_child(template: int, parent: int, job: Job, control: socket.socket, words: int | None) -> NoReturn:
    """In the fork: keep nothing of the template but its modules, then do the job in the mailbox."""
    code = 1
    try:
        _native.die_with(template)
        for fd, target in zip(job.standard, (1, 2), strict=False):
            os.dup2(fd, target)
        os.dup2(control.fileno(), CONTROL_FD, inheritable=False)
        control.detach()
        first = FIRST_FREE_FD if words is not None else lastwords.FD
        standard.inherit(_keep(job.named, first))
        os.closerange(first + len(job.named), os.sysconf("SC_OPEN_MAX"))
        # From here on there are descriptors to be had.
        nothing = os.open(os.devnull, os.O_RDONLY)
        if nothing != 0:
            os.dup2(nothing, 0)
            os.close(nothing)
        if words is not None and lastwords.adopt():
            lastwords.keep(words)
        adopt_link(CONTROL_FD)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from allcores.child import run_child

        code = run_child(job.mailbox, parent)
    finally:
        os._exit(code)
