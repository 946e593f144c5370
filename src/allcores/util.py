"""``multiprocessing.util``: the standard's own. Its logger is that of ``get_logger()``."""

from __future__ import annotations

from multiprocessing.util import *  # noqa: F403
from multiprocessing.util import __all__ as _names

from allcores.faces import face

__all__ = tuple(_names)

__getattr__ = face(__name__)
