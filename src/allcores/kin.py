"""What ``isinstance`` finds beside the type: things of ours are what the standard library's of that name are."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ("also",)


def also(module: str, name: str) -> Any:
    """The ``__class__`` of a class of ours: where the standard's module has been imported, its class of that name.

    Programs ask ``isinstance(q, multiprocessing.queues.Queue)``. To inherit would be to import it always. A class that
    inherits from ours keeps its own: its methods say ``self.__class__``, and mean that.
    """

    def known_as(self: Any) -> Any:
        own = type(self)
        theirs = sys.modules.get(module)
        return own if theirs is None or not own.__module__.startswith("allcores.") else getattr(theirs, name, own)

    return property(known_as)
