"""How the errors of tasks arrive: unpacked, counted, and with what is known of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from allcores import codec
from allcores.failure import Failure
from allcores.pool.doing import TookTooLong

if TYPE_CHECKING:
    from allcores.pool.chunktask import Told
    from allcores.pool.crew import Crew
    from allcores.pool.statistics import Tally

__all__ = ("TakesErrors",)


class TakesErrors:
    """The part of the engine that makes errors of what workers say."""

    crew: Crew
    tally: Tally

    def _error(self, body: Any) -> BaseException:
        error: BaseException = body if self.crew.local else codec.unpack_error(body)
        if isinstance(error, TookTooLong):
            self.tally.timeouts += 1
        return error

    def _of_item(self, i: int, body: Any, ns: int, pid: int = 0) -> Told:
        return i, self._error(body), ns, pid or os.getpid()

    def _raised(self, body: Any, ns: int) -> BaseException:
        """What a single call raised, with what is known of that; who made the call knows what was called."""
        error, pid = (self._error(body), os.getpid()) if self.crew.local else (self._error(body[0]), body[1])
        Failure(None, "", error, pid, ns / 1e9 if ns else None).carried()
        return error
