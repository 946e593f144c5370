"""What ``statistics()`` of a queue says. Apart from the rest, since ``dataclasses`` is slow to import and few ask."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("QueueStatistics",)


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """How a queue is at this moment; the next may change all of it."""

    items: int  # that wait in the queue
    bytes: int | None  # what these take; None without max_bytes: nobody counts
    maxsize: int  # items that may wait; 0: no limit
    max_bytes: int | None  # bytes that may wait; None: no limit
    unfinished: int | None  # of a JoinableQueue: items that were put and not marked done yet; else None
    in_hands: int | None  # of these, taken by somebody
    lost: int | None  # of these, taken by processes that have ended: what join() raises ConsumerDied for
