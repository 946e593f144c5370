"""Pipes: two ends that talk to each other, in shared memory.

    a.send(x) --> [ pipe: receivers, senders | ring, ring, ... ] --> b.recv()
    a.recv() <--- [ pipe: receivers, senders | ring, ring, ... ] <-- b.send(x)        only with duplex

Each direction knows who can receive from it and who can send. So the end of the other end, closed or killed, is seen at
once: what was sent before is still received, then comes ``EOFError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self

from allcores import _native, codec, kin
from allcores.faces import face

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Client, Listener

    Pipe: Any
    wait: Any

__all__ = ("Client", "Connection", "Listener", "Pipe", "PipeEnd", "join_ends", "make_pipe", "wait", "write_into")

# Listener and Client, between programs and machines, are the standard's.
__getattr__ = face(__name__, {"Pipe": "allcores Pipe", "wait": "allcores wait"})


class End(Protocol):
    """One side of one direction, in whichever context: what a Connection is made of."""

    def send(self, obj: Any, /) -> None: ...
    def send_bytes(self, buffer: Any) -> None: ...
    def recv(self) -> Any: ...
    def recv_bytes(self) -> bytes: ...
    def recv_bytes_into(self, buffer: Any, offset: int) -> int | bytes: ...
    def poll(self, timeout: float | None = None) -> bool: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def write_into(buffer: Any, offset: int, data: bytes) -> int | bytes:
    """``recv_bytes_into`` of an End that has received these: how many were written, or they where they do not fit."""
    with memoryview(buffer).cast("B") as view:
        if len(data) > len(view) - offset:
            return data
        view[offset : offset + len(data)] = data
    return len(data)


class PipeEnd(_native.PipeEnd):
    """One side of one direction between processes: the native object, which travels by handle."""

    @classmethod
    def _attach(cls, offset: int) -> Self:
        obj = cls.__new__(cls)
        _native.PipeEnd.__init__(obj, offset=offset)
        return obj

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return codec.handle_of(self, self.offset)


def make_pipe() -> tuple[PipeEnd, PipeEnd]:
    """A new direction: who receives, and who sends."""
    receives = PipeEnd()
    return receives, PipeEnd._attach(receives.offset ^ _native.BOTH_SIDES)


def join_ends(make: Callable[[], tuple[End, End]], duplex: bool) -> tuple[Connection, Connection]:
    """What ``Pipe(duplex)`` returns: two connections of one direction, or of two."""
    receives, sends = make()
    if not duplex:
        return Connection(receives, None), Connection(None, sends)
    back, answers = make()
    return Connection(receives, answers), Connection(back, sends)


class Connection:
    """One end of a pipe, as ``multiprocessing.connection.Connection``: made by ``Pipe()``.

    ``send`` never blocks: what is waiting stays in shared memory. Any number of threads and processes may use the same
    end; each item is received once. An end is open as long as any process has it: one that was passed on and is also
    kept here must be closed here too, or the other end waits for ever for more. Processes that end, in whatever way,
    close what they have.
    """

    __class__ = kin.also("multiprocessing.connection", "Connection")

    def __new__(cls, receives: Any, sends: Any = True, writable: bool = True) -> Any:
        """For a file descriptor, a connection of the standard library: ``Connection(handle, readable, writable)``."""
        if isinstance(receives, int):
            from multiprocessing.connection import Connection as Standard

            return Standard(receives, sends, writable)
        return super().__new__(cls)

    def __init__(self, receives: Any, sends: Any = True, writable: bool = True) -> None:
        self._receives: End | None
        self._sends: End | None
        self._receives, self._sends = receives, sends
        self._closed = False
        # The core's own methods, without a call in between.
        if receives is not None:
            self.recv = receives.recv  # type: ignore[method-assign]
        if sends is not None:
            self.send = sends.send  # type: ignore[method-assign]

    def send(self, obj: Any, /) -> None:
        """Send an object. Never blocks.

        Raises:
            BrokenPipeError: nobody can receive it any more: the other end is closed, or its processes have ended.
            UnpicklableError: it cannot travel.
            OSError: this end is closed, or cannot send.
        """
        self._refuse_to_send()

    def recv(self) -> Any:
        """Wait for an object and return it. What came by ``send_bytes`` is unpickled, as the standard does.

        Raises:
            EOFError: nothing is left, and the other end is closed or its processes have ended.
            OSError: this end is closed, or cannot receive.
        """
        self._refuse_to_receive()

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Send bytes, not pickled: ``size`` of them (by default all that follow) from ``offset`` on.

        Raises:
            BrokenPipeError: nobody can receive them any more.
            ValueError: ``offset`` or ``size`` is negative, or there are not so many bytes.
        """
        sends = self._sends or self._refuse_to_send()
        view = memoryview(buf)
        if view.itemsize > 1 or view.ndim != 1:
            view = view.cast("B")
        count = view.nbytes
        if offset < 0:
            raise ValueError(f"offset is negative: {offset}")
        if count < offset:
            raise ValueError(f"buffer length < offset: {count} < {offset}")
        if size is not None and size < 0:
            raise ValueError(f"size is negative: {size}")
        if size is not None and offset + size > count:
            raise ValueError(f"buffer length < offset + size: {count} < {offset} + {size}")
        sends.send_bytes(view[offset : count if size is None else offset + size])

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Wait for what ``send_bytes`` sent. What came by ``send`` is given as its pickle, as the standard does.

        Raises:
            EOFError: nothing is left, and the other end is closed.
            OSError: there are more than ``maxlength``; they are lost, and this end receives no more, as the standard
                says.
        """
        receives = self._receives or self._refuse_to_receive()
        if maxlength is not None and maxlength < 0:
            raise ValueError(f"negative maxlength: {maxlength}")
        data = receives.recv_bytes()
        if maxlength is not None and len(data) > maxlength:
            self._stop_receiving()
            raise OSError(f"bad message length: {len(data)} bytes have come, and maxlength is {maxlength}")
        return data

    def recv_bytes_into(self, buf: Any, offset: int = 0) -> int:
        """Wait for what ``send_bytes`` sent, and write it into a buffer from byte ``offset`` on. How many bytes.

        Raises:
            BufferTooShort: they do not fit; they are its first argument, ``error.args[0]``.
            EOFError: nothing is left, and the other end is closed.
        """
        receives = self._receives or self._refuse_to_receive()
        with memoryview(buf) as view:
            if offset < 0:
                raise ValueError(f"negative offset: {offset}")
            if offset > view.nbytes:
                raise ValueError(f"offset too large: {offset}, and the buffer has {view.nbytes} bytes")
            if view.readonly:
                raise TypeError(f"a writable buffer is needed, not {codec.short_repr(buf)}")
            got = receives.recv_bytes_into(view, offset)
        if isinstance(got, bytes):
            from allcores.errors import BufferTooShort

            raise BufferTooShort(got)
        return got

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether ``recv`` would not wait: something is there, or the end. Waits for that, ``timeout`` seconds.

        With None as long as it takes.
        """
        return (self._receives or self._refuse_to_receive()).poll(timeout)

    def fileno(self) -> int:
        """A file descriptor for ``select`` and its kin: readable while ``recv`` would not wait.

        Made when it is first asked for, and with it a small thread, as long as this connection lives. To be read by
        nobody; closed by ``close()``. In a process that was forked it has to be asked for again.

        Raises:
            OSError: this end is closed, or cannot receive.
        """
        return (self._receives or self._refuse_to_receive()).fileno()

    def close(self) -> None:
        """Let go of this end; may be called twice. A thread that waits in it gets ``OSError``.

        The other end sees it when every process that has this end has closed it, let go of it, or ended.
        """
        self._closed = True
        for end in (self._receives, self._sends):
            if end is not None:
                end.close()

    @property
    def closed(self) -> bool:
        """Whether this end was closed here."""
        return self._closed

    @property
    def readable(self) -> bool:
        """Whether it can receive."""
        return self._receives is not None

    @property
    def writable(self) -> bool:
        """Whether it can send."""
        return self._sends is not None

    def _lend(self) -> Connection:
        """Another connection at the same end of a pipe inside this process: the end is gone when both are closed."""
        if self._closed:
            raise OSError("handle is closed")
        ends: list[Any] = [self._receives, self._sends]
        return type(self)(*(end and end.lend() for end in ends))

    def _is_local(self) -> bool:
        return not isinstance(self._receives or self._sends, _native.PipeEnd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self._closed:
            raise OSError("handle is closed")
        return type(self), (self._receives, self._sends)

    def __repr__(self) -> str:
        can = "duplex" if self.readable and self.writable else "read-only" if self.readable else "write-only"
        return f"<{type(self).__name__} {can}{' closed' if self._closed else ''}>"

    def _refuse_to_send(self) -> NoReturn:
        raise OSError("handle is closed" if self._closed else "connection is read-only")

    def _refuse_to_receive(self) -> NoReturn:
        raise OSError("handle is closed" if self._closed else "connection is write-only")

    def _stop_receiving(self) -> None:
        if self._sends is None:
            self.close()
            return
        assert self._receives is not None
        self._receives.close()
        self._receives = None
        del self.recv  # the class's, which refuses
