"""``multiprocessing.reduction``: the standard's own. What is registered there, our messages ask for too."""

from __future__ import annotations

from multiprocessing.reduction import *  # noqa: F403
from multiprocessing.reduction import __all__ as _names

from allcores.faces import face

__all__ = tuple(_names)

__getattr__ = face(__name__)
