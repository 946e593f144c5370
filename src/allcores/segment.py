"""The program's shared memory: made on first use, inherited by every process, found again by a handle."""

from __future__ import annotations

import os

from allcores import _native, cores

__all__ = ("IDLE", "ensure", "join", "origin")

_GIB = 1 << 30
# The segment's tables and room for little more. Below it nothing works.
_LEAST = _GIB // 4
# Seconds after which the memory of a free block goes back to the system. To have it again costs a hundredth of that
# time for 64 MB: longer saves next to nothing, shorter begins to be felt by what is done every few seconds.
IDLE = 5


# In a template, while it imports what it was asked to: that is not to use what its children will have.
forbidden = False


def ensure() -> None:
    """Make the segment if this process has none. Costs address space; memory comes as it is touched.

    Raises:
        RuntimeError: this is a template that imports a module.
        OSError: no memory file can be made or mapped, even a small one.
    """
    if _native.has_segment():
        return
    if forbidden:
        raise RuntimeError("a module that uses allcores when it is imported cannot be preloaded")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    # Address space is cheap and blocks never move: four times the memory leaves room for every mix of sizes.
    size = max(64 * _GIB, 4 * memory)
    room = _address_space()
    if room is not None:
        size = min(size, max(room // 2, _LEAST))  # the rest is for the program itself
    warm = max(memory // 8, _GIB // 4)
    try:
        _native.create(size=size, cpus=cores.usable(), program=int.from_bytes(os.urandom(8)), warm=warm, idle=IDLE)
    except OSError as error:
        raise OSError(error.errno, f"{os.strerror(error.errno or 0)}: {_needs(room)}") from error


def join() -> None:
    """Make the segment, or take part in it after a fork for which there was no room at first."""
    if _native.has_segment():
        _native.join()
    else:
        ensure()


def _address_space() -> int | None:
    """Bytes of addresses that this process may still map; None for no limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with open("/proc/self/statm") as f:
        return max(limit - int(f.read().split()[0]) * resource.getpagesize(), 0)


def _needs(room: int | None) -> str:
    have = "no limit of addresses is set" if room is None else f"{room >> 20} MiB of addresses are left"
    return (
        f"shared memory needs a file descriptor and {_LEAST >> 20} MiB of addresses, and {have}: "
        "raise the limits (ulimit -v, ulimit -n)"
    )


def origin() -> tuple[int, int, int]:
    """What a handle carries to find this segment again: program, pid of its creator, file descriptor there."""
    return (_native.program(), *_native.creator())


def find(program: int, pid: int, fd: int) -> None:
    """Make sure that this process has the segment of a handle it received.

    Raises:
        ValueError: the handle belongs to another program than this process does.
        OSError: the program of the handle has ended, or belongs to another user.
    """
    if not _native.has_segment():
        own = os.open(f"/proc/{pid}/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        _native.attach(fd=own, worker=True)
    if _native.program() != program:
        raise ValueError(
            f"this handle belongs to the program of process {pid}, and this process shares memory with another: "
            "pass plain data between programs, or start this process from that program"
        )


# A forked child, whoever forked it, has holds and a slot of its own.
os.register_at_fork(
    before=_native.before_fork,
    after_in_parent=_native.after_fork_parent,
    after_in_child=_native.after_fork_child,
)
