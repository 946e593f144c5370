"""What a process needs to be started, where the system has not got it."""

from __future__ import annotations

import errno
import os

__all__ = ("NOT_WATCHED", "no_room")

# What is said of a process that was forked and had to be ended.
NOT_WATCHED = "the template process has no file descriptor left to watch it: raise the limit (ulimit -n)"


def no_room(number: int) -> OSError:
    """That no process can be started: what it needs, what there is, and the cure."""
    import resource

    files, processes = (resource.getrlimit(which)[0] for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC))
    match number:
        case errno.EMFILE | errno.ENFILE:
            why = (
                "it needs 1 file descriptor here and 4 in the template process, and one of the two has no more of the "
                f"{files} that it may have: raise the limit (ulimit -n), run fewer processes at a time, or close() "
                "what has ended"
            )
        case errno.EAGAIN:
            limit = (
                "the container's or system's limit"
                if processes == resource.RLIM_INFINITY
                else f"the limit of {processes}"
            )
            why = f"it needs one more, and {limit} (ulimit -u, pids.max) is reached: raise it, or run fewer at a time"
        case errno.ENOMEM:
            why = (
                "there is not enough memory for one more: run fewer processes at a time, or raise the container's limit"
            )
        case _:
            why = "the system refuses"
    return OSError(number, f"{os.strerror(number)}: cannot start a process: {why}")
