"""What processes and their template say to each other."""

from __future__ import annotations

import socket
import struct

__all__ = (
    "DIED",
    "END_PARKED",
    "FAMILY",
    "FORKED",
    "JOB",
    "OUTLIVE",
    "PARK",
    "REPLY",
    "REQUEST",
    "SIGNAL",
    "START",
    "STARTING",
    "WATCH",
    "end_of",
    "two_ends",
)

START, SIGNAL, FORKED, PARK, END_PARKED, FAMILY, WATCH, OUTLIVE = 1, 2, 3, 4, 5, 6, 7, 8
# Verb, running number, pid or counts of descriptors (the job's, and in 2 bits the standard ones), signal number or
# mailbox or bytes, pool or 0, shape or 0. The number of the START names that life of a process: one that is parked and
# begins anew is another, with the same pid.
REQUEST = struct.Struct("<BIiQQQ")
REPLY = struct.Struct("<Ii")  # number of the request, pid or -errno
JOB = struct.Struct("<QQ")  # to a parked process: the offset of its next mailbox, 0: it is to end

# The task number of a pool worker that has not begun: it is starting, or in its initializer.
STARTING = (1 << 64) - 1
# b & 0xff of the message to a pool whose worker died; the pool's outcomes (pool/worker.py) are the others.
DIED = 3


def two_ends() -> tuple[socket.socket, socket.socket]:
    """The ends of a socket for these messages."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Each waits as long as it takes, whatever the program has set with socket.setdefaulttimeout().
    ours.setblocking(True)
    theirs.setblocking(True)
    return ours, theirs


def end_of(fd: int) -> socket.socket:
    """The end with this descriptor, which is the socket's from now on."""
    end = socket.socket(fileno=fd)
    end.setblocking(True)
    return end
