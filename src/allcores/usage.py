"""What is in the program's shared memory, at one moment.

Not called ``statistics``: a submodule of that name would replace the function ``allcores.statistics`` on import.
"""

from __future__ import annotations

from dataclasses import dataclass

from allcores import _native

__all__ = ("Statistics", "statistics")


@dataclass(frozen=True, slots=True)
class Statistics:
    """The program's shared memory at one moment.

    Bytes of blocks are of whole blocks: up to a quarter more than was asked for, but no more memory.
    """

    blocks_used: int
    """Blocks in use: messages on their way, what was received and is still held, queues, locks, values."""
    bytes_used: int
    """Bytes of the blocks in use."""
    blocks_free: int
    """Blocks that are free to be used again."""
    bytes_warm: int
    """Bytes of those free blocks that still have memory, at most; idle for 5 s, they give it back to the system."""
    bytes_backed: int
    """Bytes of the machine's memory that the segment really has: what it costs."""
    bytes_kept: int
    """Bytes of blocks that received objects of this process are made of, and that they therefore keep."""
    keep_limit: int
    """With more than this kept, what this process receives is copied into private memory, so that others have room."""
    warm_limit: int
    """Of large free blocks, more bytes than this give their memory back at once."""
    addresses_used: int
    """Bytes of addresses that blocks were made of so far. It never falls; blocks are used again."""
    addresses: int
    """Bytes of addresses that the segment has for all. They cost nothing; `ulimit -v` makes them few."""
    processes: int
    """Processes that take part, with this one and the template."""
    queues: int
    """Queues that exist; a pool has four of its own, and each process one."""
    locks: int
    """Lock and RLock objects that exist, without those inside a Value or Array."""
    values: int
    """Value, Array and SharedArray objects that exist."""
    semaphores: int
    """Semaphore and BoundedSemaphore objects that exist."""
    events: int
    """Event objects that exist."""
    conditions: int
    """Condition objects that exist; each has a lock as well."""
    barriers: int
    """Barrier objects that exist."""


def statistics() -> Statistics:
    """What is in the program's shared memory, whichever of its processes asks, in every context.

    Blocks nobody; takes about a millisecond for 100,000 blocks. What others change meanwhile is counted before or
    after: while they work, the numbers need not add up. What a killed process held counts until its death is settled. A
    program that had no shared memory has it from then on: some addresses, and a few pages.
    """
    return Statistics(**_native.statistics())
