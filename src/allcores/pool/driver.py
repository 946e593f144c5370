"""Callbacks, and maps that nobody waits for: a thread in the background takes the seat for them.

It is started when there is first something to drive, and then sleeps between jobs as long as the engine lives, which it
does not keep alive: a thread that is new gets a CPU later than one that is woken, where the machine is busy.
"""

from __future__ import annotations

import queue
import threading
import weakref
from typing import Protocol

from allcores.errors import WouldBlockForever
from allcores.pool.waiting import log

__all__ = ("Driven", "Waitable")


class Waitable(Protocol):
    """Something that becomes ready by messages of the crew."""

    @property
    def ready_(self) -> bool: ...


class Driven:
    """What an engine has for that."""

    def __init__(self) -> None:
        self._driver: threading.Thread | None = None
        self._starting = threading.Lock()
        self._once: set[Waitable] = set()
        self._background: queue.SimpleQueue[Waitable | None] = queue.SimpleQueue()
        weakref.finalize(self, self._background.put, None).atexit = False

    def wait(self, job: Waitable, timeout: float | None = None) -> bool:
        """The engine's."""
        raise NotImplementedError

    def drive(self, job: Waitable) -> None:
        """Receive in the background until the job is ready."""
        self._background.put(job)
        if self._driver is None:
            with self._starting:
                if self._driver is None:
                    args = weakref.ref(self), self._background
                    driver = threading.Thread(target=_drive, args=args, name="allcores-pool-driver", daemon=True)
                    driver.start()
                    self._driver = driver

    def drive_once(self, job: Waitable) -> None:
        """Likewise, of a job that is named again and again."""
        if job not in self._once:
            self._once.add(job)
            self.drive(job)

    def join_driver(self) -> None:
        """Wait until what was to be driven is ready."""
        driver = self._driver
        if driver is not None and driver is not threading.current_thread():
            self._background.put(None)
            driver.join()
            self._driver = None


def _drive(driven: weakref.ref[Driven], jobs: queue.SimpleQueue[Waitable | None]) -> None:
    while (job := jobs.get()) is not None:
        engine = driven()
        if engine is None:
            return
        engine._once.discard(job)  # before the wait: if it is named from now on, it is looked at again
        try:
            engine.wait(job)
        except BaseException as error:  # noqa: BLE001 - it has no caller; whoever waits for the job meets the same
            # In the serial context, nothing is to come: then another thread is running its callback just now.
            if not isinstance(error, WouldBlockForever):
                log("the background thread of a pool failed; results are still there for who asks")
        del engine, job  # while it sleeps, it keeps nothing
