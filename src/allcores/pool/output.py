"""What workers print and log, which appears where the pool was made.

    worker   print ──▶ sys.stdout, sys.stderr ── bytes ──┐
             logging ───────────────────────── records ──┤
                                                         ▼
                                              a channel with max_bytes
                                                         │   told by a message of news, at once,
                                                         ▼   and by one before the answer of a task that printed
    parent   who waits for results, else the driver ──▶ whole lines to sys.stdout, sys.stderr; records to their loggers

The lines are written outside the engine's seat: streams and handlers are the user's. What a worker has sent is in
shared memory, and appears also if it is killed. Too much of it, and the worker waits in ``print``, as at a full pipe.
What C code and other programs write to the descriptors 1 and 2 goes there.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from allcores import logs
from allcores.queues import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Output", "Voice", "speak")

# What a message is: in its low byte; the sender's pid above. A kind of stream is the number of its descriptor.
_STDOUT, _STDERR, _RECORD, _TASK_DONE = 1, 2, 3, 4
# So much may wait to be shown before workers wait. Less would make them wait for a terminal that is slow for a moment.
_MOST_BYTES = 4 << 20
# A line that is longer is shown in pieces, and what is printed without its end is sent at the latest then.
_LONGEST = 1 << 16
_WARNING = 30  # of logging, which may never be imported

How = tuple[Queue, "logs.Levels | None", bool]


class Output:
    """In the parent: shows what the workers of a pool print and log. Thread-safe."""

    def __init__(self, named: bool) -> None:
        self._channel = Queue(max_bytes=_MOST_BYTES)
        self.how: How = (self._channel, logs.levels(), named)  # for the workers
        # A signal handler, or a handler of logging, may use the pool in the middle of its output.
        self._showing = threading.RLock()
        self._inside = self._again = False
        self._taken: list[tuple[int, int, Any]] = []
        self._begun: dict[tuple[int, int], bytes] = {}  # lines without their end, by sender and stream
        self._ended: deque[int] = deque()  # senders that will end no line any more
        self._failed = False

    def ended(self, pid: int) -> None:
        """This worker has ended; all that it sent has been sent."""
        self._ended.append(pid)

    def waits(self) -> bool:
        """Whether something was sent that nobody is showing yet."""
        return not self._channel.empty()

    def show(self) -> None:
        """Show what is there now. Waits for another thread that is at it: what that shows comes first.

        No more than that: a worker that prints for ever must not keep the caller from its result.
        """
        with self._showing:
            if self._inside:
                self._again = True
                return
            try:
                self._inside = self._again = True
                while self._again:
                    self._again = False
                    self._show(self._channel.qsize() + len(self._taken))
            finally:
                self._inside = False

    def show_all(self) -> None:
        """Show the rest. After the workers have ended."""
        with self._showing:
            while self._channel.qsize() or self._taken:
                self._show(self._channel.qsize() + len(self._taken))
            self._ended.extend(pid for pid, _ in self._begun)
            self._show(0)

    def _show(self, most: int) -> None:
        ended = len(self._ended)
        for _ in range(most):
            # Ctrl-C may come between any two lines: then this is shown again rather than not at all.
            if not self._taken and not self._channel.receive_into(self._taken, 0):
                break
            _bytes, what, body = self._taken[0]
            self._guarded(self._appear, what >> 8, what & 0xFF, body)
            del self._taken[0]
        for _ in range(ended):
            self._guarded(self._end_lines, self._ended[0])
            self._ended.popleft()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                self._guarded(stream.flush)

    def _guarded(self, act: Callable[..., object], *args: Any) -> None:
        try:
            act(*args)
        except Exception:  # noqa: BLE001 - a stream or handler of the user's; it is no error of who waits for a result
            if not self._failed:
                self._failed = True
                from allcores.pool.waiting import log

                log("what workers print or log cannot be shown")

    def _appear(self, pid: int, kind: int, body: Any) -> None:
        if kind == _RECORD:
            logs.handle(body)
        elif kind == _TASK_DONE:
            self._end_lines(pid)
        else:
            data = self._begun.pop((pid, kind), b"") + body
            # A progress bar ends its lines by \r.
            end = len(data) if len(data) > _LONGEST else max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
            if end < len(data):
                self._begun[pid, kind] = data[end:]
            if end:
                _write(kind, data[:end])

    def _end_lines(self, pid: int) -> None:
        for kind in (_STDOUT, _STDERR):
            data = self._begun.pop((pid, kind), b"")
            if data:
                _write(kind, data)


def _write(kind: int, data: bytes) -> None:
    stream = sys.stdout if kind == _STDOUT else sys.stderr
    if stream is None:
        return
    try:
        text = data.decode()
    except UnicodeDecodeError:  # somebody wrote bytes
        if hasattr(stream, "buffer"):
            stream.flush()
            stream.buffer.write(data)
            return
        text = data.decode(errors="backslashreplace")
    try:
        stream.write(text)
    except UnicodeEncodeError:  # the stream has no such letters
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))


class Voice:
    """In a worker: sends to the pool what is printed and logged."""

    def __init__(self, channel: Queue, named: str | None, nudge: Callable[[], object]) -> None:
        self.said = False  # something, since the last task ended
        self._channel = channel
        self._prefix = f"[{named}] ".encode() if named else b""
        self._nudge = nudge
        self._streams = [s for s in (_Lines(self, _STDOUT), _Lines(self, _STDERR)) if s.take_place()]
        self._remember = next((s.remember for s in self._streams if s.remember is not None), None)
        self._open: dict[int, bool] = {}  # stream -> in the middle of a line

    def send(self, kind: int, body: Any) -> None:
        """Send something. Waits while too much is on its way."""
        if kind != _RECORD:
            body = self._prefixed(kind, body)
        self._channel.send(0, os.getpid() << 8 | kind, body)
        self._nudge()

    def _prefixed(self, kind: int, data: bytes) -> bytes:
        inside, self._open[kind] = self._open.get(kind, False), not data.endswith((b"\n", b"\r"))
        if not self._prefix:
            return data
        lines = data.splitlines(keepends=True)
        return b"".join(line if inside and i == 0 else self._prefix + line for i, line in enumerate(lines))

    def log(self, sent: logs.Sent) -> None:
        """Send a log record. As without a handler it would be on stderr, so it is among the last words."""
        self.said = True
        if sent.levelno >= _WARNING and self._remember is not None:
            self._remember("\n".join((sent.message, sent.exc_text or "", "")).encode(errors="replace"))
        self.send(_RECORD, tuple(sent))

    def finish_task(self) -> None:
        """Before the answer of a task: all that it printed is on its way."""
        self.said = False  # other threads may go on
        for stream in self._streams:
            stream.flush()
        if any(self._open.values()):
            self._open.clear()
            self._channel.send(0, os.getpid() << 8 | _TASK_DONE, None)

    def fall_silent(self) -> None:
        """The worker's pool has ended: what is printed and logged from now on stays here."""
        for stream in self._streams:
            stream.give_place()
        logs.forget()


class _Lines(io.BufferedIOBase):
    """The binary stream under a worker's ``sys.stdout`` or ``sys.stderr``: flushed at each end of a line by that."""

    def __init__(self, voice: Voice, kind: int) -> None:
        self._voice = voice
        self._kind = kind
        self._pieces: deque[bytes] = deque()
        self._bytes = 0
        self.name = "<stdout>" if kind == _STDOUT else "<stderr>"
        self.mode = "wb"

    def take_place(self) -> bool:
        """Become what ``print`` writes to, if there was anything."""
        attribute = self.name.strip("<>")
        before = getattr(sys, attribute)
        if before is None:
            return False
        before.flush()
        self._before = before
        # In a fork it may be whatever the program has put there.
        buffer = getattr(before, "buffer", None)
        self.remember = getattr(getattr(buffer, "raw", buffer), "remember", None)
        errors = getattr(before, "errors", None)
        text = io.TextIOWrapper(self, "utf-8", errors, "\n", line_buffering=True, write_through=True)
        text.mode = "w"  # type: ignore[misc] # as the interpreter sets it
        setattr(sys, attribute, text)
        setattr(sys, f"__{attribute}__", text)
        return True

    def give_place(self) -> None:
        """The stream that was there before is there again, unless the user's is."""
        attribute = self.name.strip("<>")
        for name in (attribute, f"__{attribute}__"):
            if getattr(getattr(sys, name), "buffer", None) is self:
                setattr(sys, name, self._before)

    def write(self, data: Any, /) -> int:
        self._voice.said = True  # though it is only sent at the end of the line, or of the task
        self._pieces.append(bytes(data))
        self._bytes += len(self._pieces[-1])
        if self._bytes > _LONGEST:
            self.flush()
        return len(data)

    def flush(self) -> None:
        pieces, data, self._bytes = self._pieces, b"", 0
        while pieces:
            data += pieces.popleft()
        if not data:
            return
        if self.remember is not None:
            self.remember(data)
        self._voice.send(self._kind, data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._kind

    def isatty(self) -> bool:
        return os.isatty(self._kind)


def speak(how: How, name: str, nudge: Callable[[], object]) -> Voice:
    """In a worker: from now on what is printed and logged here goes to the pool.

    Args:
        how: the ``Output.how`` of the pool.
        name: of this worker.
        nudge: has the pool look at the channel.
    """
    channel, levels, named = how
    voice = Voice(channel, name if named else None, nudge)
    logs.forward(levels, name, voice.log)
    return voice
