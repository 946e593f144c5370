"""What is known of the death of a process: how, at what peak of memory, by whose hand, and what it said last."""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import NamedTuple

from allcores.errors import WorkerDied

__all__ = ("Death", "OomWatch", "oom_kills")

# The longest message of the sentinel pipe: a write of so much is never in parts, and never waits.
MOST = 4096
_HEAD = struct.Struct("<iq?")
_UNKNOWN = -(1 << 31)  # in the place of an exit code


class Death(NamedTuple):
    """A death, as the template tells it: to the pool of a worker as a plain tuple, through the sentinel pipe packed.

    What could not be carried is left away from the end.
    """

    pid: int
    exitcode: int | None  # as Process.exitcode has it; None: nobody knows
    peak_memory: int | None = None  # bytes
    oom: bool = False
    seconds: float | None = None  # that the item had run, of a pool's worker; put in where the death is settled
    stderr: str = ""

    def packed(self) -> bytes:
        """For the sentinel pipe."""
        head = _HEAD.pack(_UNKNOWN if self.exitcode is None else self.exitcode, self.peak_memory or 0, self.oom)
        return (head + self.stderr.encode("utf-8", "replace"))[:MOST]

    @classmethod
    def unpack(cls, pid: int, data: bytes) -> Death:
        """From the sentinel pipe."""
        exitcode, peak_memory, oom = _HEAD.unpack_from(data)
        if exitcode == _UNKNOWN:
            exitcode = None
        return cls(pid, exitcode, peak_memory or None, oom, stderr=data[_HEAD.size :].decode("utf-8", "replace"))

    def error(self, index: int | None = None, item: str = "", attempts: int = 1) -> WorkerDied:
        """The death as the error of what the process was running."""
        said = self.peak_memory, self.oom, self.stderr
        return WorkerDied(self.pid, self.exitcode, index, item, *said, attempts, self.seconds)


# The out-of-memory killer counts the processes that it ends before it ends them, cgroup by cgroup.

# A victim's death is heard of within so many seconds of its being counted.
_SOON = 5.0
# Processes are started by the dozen, and a look costs 50 us.
_BETWEEN_LOOKS = 1.0
# Line of /proc/self/cgroup, where that hierarchy is mounted, and the file that counts.
_COUNTERS = (
    ("", "sys/fs/cgroup", "memory.events"),
    ("", "sys/fs/cgroup/unified", "memory.events"),
    ("memory", "sys/fs/cgroup/memory", "memory.oom_control"),
)


def oom_kills(root: str = "/") -> int | None:
    """How many processes of this one's cgroup the out-of-memory killer has ended so far; None where nothing tells.

    Args:
        root: where the file tree begins that has proc and sys: another one in tests.
    """
    try:
        with open(os.path.join(root, "proc/self/cgroup")) as f:
            lines = [line.rstrip("\n").split(":", 2) for line in f]
    except OSError:
        return None
    paths = {controller: path for _, controllers, path in lines for controller in controllers.split(",")}
    counts = [_count_near(os.path.join(root, top), paths[c], name) for c, top, name in _COUNTERS if c in paths]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _count_near(top: str, path: str, name: str) -> int | None:
    """The count of the cgroup, or of the nearest above it that has one: in a container its own path may not be seen."""
    level = path.strip("/")
    while True:
        try:
            with open(os.path.join(top, level, name)) as f:
                counts = [int(words[1]) for words in map(str.split, f) if words[0] == "oom_kill"]
        except (OSError, ValueError, IndexError):
            counts = []
        if counts:
            return counts[0]
        if not level:
            return None
        level = level.rpartition("/")[0]


class OomWatch:
    """Tells which deaths by SIGKILL were probably the out-of-memory killer's: as many as it has counted just now."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._seen = oom_kills(root)
        self._unclaimed = 0
        self._until = 0.0
        self._looked = 0.0

    def look(self) -> None:
        """See what the killer has counted, though nobody died: so what it did long ago explains no death of today."""
        if time.monotonic() > self._looked + _BETWEEN_LOOKS:
            self._look()

    def _look(self) -> None:
        count = oom_kills(self._root)
        now = self._looked = time.monotonic()
        if now > self._until:
            self._unclaimed = 0
        if count is None:
            return
        if self._seen is not None and count > self._seen:
            self._unclaimed += count - self._seen
            self._until = now + _SOON
        self._seen = count

    def explains(self, exitcode: int | None) -> bool:
        """Whether a process that ended just now was probably a victim."""
        if exitcode != -signal.SIGKILL:
            return False
        self._look()
        if not self._unclaimed:
            return False
        self._unclaimed -= 1
        return True
