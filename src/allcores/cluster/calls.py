"""Who asks the hosts for something, and what they say to one that is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from allcores.cluster.link import Who

__all__ = ("Call", "Gone", "is_of")


class Gone(RuntimeError):
    """Whoever asks was taken for dead, or what is asked for is not there any more."""


class Call(NamedTuple):
    """Who asks, and how long it may wait."""

    who: Who
    timeout: float | None
    ticket: int

    @property
    def is_patient(self) -> bool:
        """Whether it may wait at all."""
        return self.timeout is None or self.timeout > 0


def is_of(node: str, dead: str) -> bool:
    """Whether a process has ended, when that one has: it is that one, or was started by it."""
    return node == dead or node.startswith(f"{dead}/")
