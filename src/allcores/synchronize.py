"""``multiprocessing.synchronize``: locks and their kin, as classes."""

from __future__ import annotations

from allcores.faces import face
from allcores.sync import Barrier, BoundedSemaphore, Condition, Event, Lock, RLock, Semaphore

__all__ = ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore")

__getattr__ = face(__name__)
