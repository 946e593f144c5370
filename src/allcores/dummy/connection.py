"""``multiprocessing.dummy.connection``: pipes between threads, of the standard."""

from __future__ import annotations

from multiprocessing.dummy.connection import *  # noqa: F403
from multiprocessing.dummy.connection import __all__ as _names

from allcores.faces import face

__all__ = tuple(_names)

__getattr__ = face(__name__)
