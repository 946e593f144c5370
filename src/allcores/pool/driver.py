"""Callbacks, and maps that nobody waits for: a thread in the background takes the seat for them."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from allcores.pool.waiting import log

if TYPE_CHECKING:
    from allcores.pool.crew import Crew

__all__ = ("Driven", "Waitable")


class Waitable(Protocol):
    """Something that becomes ready by messages of the crew."""

    @property
    def ready_(self) -> bool: ...


class Driven:
    """What an engine has for that."""

    crew: Crew

    def __init__(self) -> None:
        self._driver: threading.Thread | None = None
        self._driving = threading.Lock()
        self._background: deque[Waitable] = deque()

    def wait(self, job: Waitable, timeout: float | None = None) -> bool:
        """The engine's."""
        raise NotImplementedError

    def drive(self, job: Waitable) -> None:
        """Receive in the background until the job is ready; at once where there is nobody but the caller."""
        if self.crew.immediate:
            self.wait(job, 0)
            return
        with self._driving:
            self._background.append(job)
            if self._driver is None:
                driver = threading.Thread(target=self._drive, name="allcores-pool-driver", daemon=True)
                driver.start()
                self._driver = driver

    def drive_once(self, job: Waitable) -> None:
        """Likewise, of a job that is named again and again."""
        if job not in self._background:
            self.drive(job)

    def _drive(self) -> None:
        while True:
            with self._driving:
                while self._background and self._background[0].ready_:
                    self._background.popleft()
                if not self._background:
                    self._driver = None
                    return
                job = self._background[0]
            try:
                self.wait(job)
            except BaseException:  # noqa: BLE001 - it has no caller; whoever waits for the job meets the same
                log("the background thread of a pool failed; results are still there for who asks")
                self._background.popleft()

    def join_driver(self) -> None:
        driver = self._driver
        if driver is not None and driver is not threading.current_thread():
            driver.join()
