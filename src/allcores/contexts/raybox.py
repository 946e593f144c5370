"""Questions to workers beside the tasks that they run: an actor of Ray does one thing at a time.

who asks ── put ──▶ Queue of the worker ── a call that waits, and again ──▶ in a thread of Ray: answer
         ◀── get ── Queue of the question ◀── post ──
"""

from __future__ import annotations

import pickle
import queue
import time
from typing import TYPE_CHECKING, Any

from allcores.cluster import parcel
from allcores.cluster.objectqueues import Queue
from allcores.cluster.objects import pack_noted

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from allcores.cluster.link import Origin

__all__ = ("Box", "Question")


def _post(to: Queue, obj: Any) -> None:
    """``put`` that does not wait."""
    data, handles = pack_noted(obj)
    to._link.post(to._oid, "put", (data, len(data), handles))


class Box(Queue):
    """A worker's."""

    def listen(self) -> None:
        """Answer whatever comes, until the worker ends."""
        asked = self._link._ask(self._link.request(self._oid, "get"))
        asked.add_done_callback(self._answer)

    def _answer(self, asked: Future[bytes]) -> None:
        if asked.cancelled() or asked.exception() is not None:
            return  # the cluster is gone
        well, data = pickle.loads(asked.result())
        if well:
            question, node, what, args = parcel.unpack(data)
            question.tell(node, (what(*args),))
            self.listen()


class Question:
    """To several workers at a time."""

    def __init__(self, origin: Origin, what: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._answers = Queue(origin)
        self._what, self._args = what, args
        self._asked: set[str] = set()

    def ask(self, node: str, box: Box) -> None:
        """Ask the worker that is that process of the cluster."""
        self._asked.add(node)
        _post(box, (self, node, self._what, self._args))

    def tell(self, node: str, answer: tuple[Any] | None) -> None:
        """What comes of it; None of one that has ended. Never blocks."""
        _post(self._answers, (node, answer))

    def answers(self, timeout: float | None) -> list[Any]:
        """Those that come in time."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found: list[Any] = []
        while self._asked:
            try:
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                node, answer = self._answers.get(timeout=left)
            except queue.Empty:
                break
            self._asked.discard(node)
            found += answer or ()
        return found
