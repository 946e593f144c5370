"""How many cores this program may keep busy, and which share of them is for what runs here.

A pool splits the share of whoever makes it among its workers, and a process passes its own on to those that it starts:
a number that travels down with the job. Nobody counts who is there, so no death leaves anything to be put right.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from allcores.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("OVERRIDE", "adopt", "adopt_in_thread", "cpu_count", "room", "share", "split", "usable")

# The environment variable that says how many cores to use, whatever the machine says.
OVERRIDE = "ALLCORES_CPU_COUNT"


def cpu_count(root: str = "/") -> int:
    """How many cores the program may keep busy: by ``ALLCORES_CPU_COUNT``, or else what ``usable`` finds.

    Raises:
        UsageError: the variable is no whole number of at least 1.
    """
    told = os.environ.get(OVERRIDE)
    if not told:
        return usable(root)
    if not (told.isascii() and told.strip().isdecimal() and int(told) > 0):
        raise UsageError(
            f"{OVERRIDE} must be a whole number of cores, at least 1, not {told!r}: set it so, or unset it"
        )
    return int(told)


def usable(root: str = "/") -> int:
    """The least of affinity, cpuset and quota, whatever ``ALLCORES_CPU_COUNT`` says; at least 1.

    Affinity is what ``os.process_cpu_count`` says, where Python has it (3.13): so ``PYTHON_CPU_COUNT`` and
    ``-X cpu_count`` stand for it. A quota of 2.5 cores counts as 3: with 2 workers half a core would never be used,
    while 3 that are held up at times use all of it. The quotas of all cgroups above count, in both versions.

    Args:
        root: where the file tree begins that has proc and sys: another one in tests.
    """
    by_python = getattr(os, "process_cpu_count", None)
    least = (by_python and by_python()) or len(os.sched_getaffinity(0))
    for mount in _mounts(root):
        for level in mount.levels():
            least = min(least, *(look(level) for look in _LOOKS[mount.controller]))
    return max(1, least)


class _Mount(NamedTuple):
    """Where a hierarchy of cgroups can be seen, and where in it this process is."""

    controller: str  # of version 1; version 2 has all, and no name
    point: str
    path: str

    def levels(self) -> list[str]:
        """The directories from the process's own up to the mount. Some may not be there: a container sees few."""
        parts = [part for part in self.path.split("/") if part not in ("", "..")]
        return [os.path.join(self.point, *parts[:depth]) for depth in range(len(parts), -1, -1)]


def _mounts(root: str) -> list[_Mount]:
    try:
        with open(os.path.join(root, "proc/self/cgroup")) as f:
            lines = [line.rstrip("\n").split(":", 2) for line in f]
        with open(os.path.join(root, "proc/self/mountinfo")) as f:
            # Of hundreds of lines in a container's host, a few.
            mounted = [line.split(" - ", 1) for line in f if " - cgroup" in line]
    except OSError:
        return []
    paths = {name: path for _, names, path in (line for line in lines if len(line) == 3) for name in names.split(",")}
    found = []
    for left, right in mounted:
        top, point = map(_unescaped, left.split()[3:5])
        kind, _source, *options = right.split()
        names = {""} if kind == "cgroup2" else {"cpu", "cpuset"}.intersection(",".join(options).split(","))
        for name in names & paths.keys():
            path = paths[name]
            # A container's mount may begin at its own cgroup, while the path is told from the top of the host's.
            if top != "/" and f"{path}/".startswith(f"{top}/"):
                path = path[len(top) :]
            found.append(_Mount(name, os.path.join(root, point.lstrip("/")), path))
    return found


def _unescaped(path: str) -> str:
    """As the kernel writes paths in mountinfo."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


# More cores than any machine has: what is said where there is no limit.
_NO_LIMIT = 1 << 30


def _by_quota(level: str) -> int:
    return _whole(_read(level, "cpu.max").split())


def _by_quota_of_1(level: str) -> int:
    quota = _read(level, "cpu.cfs_quota_us").split()
    return _whole(quota + _read(level, "cpu.cfs_period_us").split()) if quota and quota != ["-1"] else _NO_LIMIT


def _whole(words: list[str]) -> int:
    """Whole cores of a quota and its period, a part of one counted as one."""
    if len(words) != 2 or not all(map(str.isdecimal, words)) or not int(words[1]):
        return _NO_LIMIT  # "max", or no such controller at this level
    return max(1, -(-int(words[0]) // int(words[1])))


def _by_cpuset(level: str) -> int:
    """The kernel's affinity respects the cpuset; what imitates a kernel may not."""
    return _listed(_read(level, "cpuset.cpus.effective"))


def _by_cpuset_of_1(level: str) -> int:
    return _listed(_read(level, "cpuset.effective_cpus") or _read(level, "cpuset.cpus"))


def _listed(cpus: str) -> int:
    """How many there are in a list such as ``0-3,8``."""
    ranges = [part.split("-") for part in cpus.strip().split(",")]
    if not all(end.isdecimal() for each in ranges for end in each):
        return _NO_LIMIT  # empty: not set at this level
    return sum(int(each[-1]) - int(each[0]) + 1 for each in ranges)


def _read(directory: str, name: str) -> str:
    try:
        with open(os.path.join(directory, name)) as f:
            return f.read()
    except OSError:
        return ""


_LOOKS: dict[str, tuple[Callable[[str], int], ...]] = {
    "": (_by_quota, _by_cpuset),
    "cpu": (_by_quota_of_1,),
    "cpuset": (_by_cpuset_of_1,),
}


class _Here(threading.local):
    """Of each thread: the share of the pool's worker that it is."""

    share: int | None = None


_here = _Here()
_of_process: int | None = None


def share() -> int | None:
    """How many cores are for this worker and what it starts. None outside of pools: all that ``cpu_count`` says."""
    return _of_process if _here.share is None else _here.share


def room() -> int:
    """How many cores what is started from here may keep busy."""
    mine = share()
    return cpu_count() if mine is None else mine


def split(workers: int) -> int:
    """The share of each of so many workers of a pool that is made here; at least 1."""
    return max(1, room() // workers)


def adopt(cores: int | None) -> None:
    """This process has so many cores from whoever started it."""
    global _of_process
    _of_process = cores


def adopt_in_thread(cores: int | None) -> None:
    """This thread has so many: a pool's worker, or started by one. None: as many as its process."""
    _here.share = cores
