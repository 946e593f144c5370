"""Queues between processes, in shared memory: a put never depends on a reader, nor on a helper thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from allcores import _native, codec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Queue",)


class Queue(_native.Channel):
    """A first-in, first-out queue for any number of producers and consumers, as ``multiprocessing.Queue``.

    What was put before a process ends, or is killed, arrives. With ``maxsize`` 0 (or less) ``put`` never blocks: what
    is waiting stays in shared memory. NumPy arrays and other buffers of 4 KiB and more take one copy in and none out;
    the receiver's array is writable and its own.

    ``get(block=True, timeout=None)`` and ``put(obj, block=True, timeout=None)`` take a timeout in seconds, and raise
    ``queue.Empty`` and ``queue.Full``. ``put`` raises ``UnpicklableError`` at once for what cannot travel.

    Args:
        maxsize: how many items may wait before ``put`` blocks; 0 for no limit.
    """

    def __init__(self, maxsize: int = 0) -> None:
        if not isinstance(maxsize, int):
            raise TypeError(f"maxsize must be an int, the number of items that may wait, not {maxsize!r}")
        super().__init__(bound=max(maxsize, 0))

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        _native.Channel.__init__(obj, offset=offset)
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset)

    def put_nowait(self, obj: Any) -> None:
        """Put without waiting; ``queue.Full`` if there is no room."""
        self.put(obj, block=False)

    def get_nowait(self) -> Any:
        """Get without waiting; ``queue.Empty`` if there is nothing."""
        return self.get(block=False)

    def join_thread(self) -> None:
        """Return at once: there is no helper thread to wait for. After ``close`` only, as the standard says."""
        if not self.closed:
            raise ValueError("join_thread() before close(): close the queue first")

    def cancel_join_thread(self) -> None:
        """Do nothing: a process never waits for its queues at exit, and what it put is not lost."""

    def __repr__(self) -> str:
        return f"<Queue {'closed' if self.closed else f'holding {self.qsize()}'}>"
