"""Where the workers of a local dask cluster come from: a fork of the head that has all imported, and forks for each.

    head ── {"name": ..., "address": ...} ──▶ nursery ── fork ──▶ worker
         ◀── {"name": ..., "pid": ...} ──────         ◀── ends ──
         ◀── {"pid": ..., "code": ...} ──────
         ── {"end": pid} ──────────────────▶         ── kill ──▶ worker, and all that it has started
    the head ends ──▶ nursery, in whatever way ──▶ all workers, whatever they do

A worker that begins with an interpreter of its own spends most of its start on imports; and those whose worker died
wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import socket
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from allcores import _native, lineage, seeds
from allcores.family import end_family

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Nursery",)


class Nursery:
    """The head's side of it. To be made while that has one thread, and nothing open that a worker must not have.

    Args:
        work: what a worker does: called with its name and the address of its scheduler.
    """

    def __init__(self, work: Callable[[str, str], None]) -> None:
        self._socket, theirs = socket.socketpair()
        head = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _run(lambda: self._nurse(head, theirs, work))
        theirs.close()
        self._born: dict[str, asyncio.Future[int]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}

    def _nurse(self, head: int, orders: socket.socket, work: Callable[[str, str], None]) -> None:
        _native.die_with(head)
        self._socket.close()
        _leave_standard_streams()
        _Nurse(orders, work).serve()

    async def __aenter__(self) -> Nursery:
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self.listening = asyncio.create_task(self._listen(reader))
        return self

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            told = json.loads(line)
            if "name" in told:
                self._ends[told["pid"]] = asyncio.get_running_loop().create_future()
                self._born.pop(told["name"]).set_result(told["pid"])
            else:
                self._ends[told["pid"]].set_result(told["code"])

    async def run(self, name: str, address: str) -> int:
        """One worker; returns its exit code when it has ended."""
        born = self._born[name] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"name": name, "address": address}).encode() + b"\n")
        end = self._ends[await born]
        await asyncio.wait([end])  # which whoever is broken off here leaves as it is
        return end.result()

    async def exitcode(self, pid: int, patience: float) -> int | None:
        """How a worker has ended. None: it is none of these, or has not after so many seconds."""
        end = self._ends.get(pid)
        if end is None:
            return None
        await asyncio.wait([end], timeout=patience)
        return end.result() if end.done() else None

    async def end(self, pid: int) -> bool:
        """Kill a worker with all that it has started, and wait for that. False: it is none of these."""
        end = self._ends.get(pid)
        if end is None:
            return False
        if not end.done():
            self._writer.write(json.dumps({"end": pid}).encode() + b"\n")
            await asyncio.wait([end])
        return True

    async def __aexit__(self, *_exc: object) -> None:
        """End them all, and wait for that."""
        self._writer.close()
        await self._writer.wait_closed()
        os.waitpid(self._pid, 0)
        self.listening.cancel()


class _Nurse:
    """The nursery itself, in the fork."""

    def __init__(self, orders: socket.socket, work: Callable[[str, str], None]) -> None:
        self._orders, self._work = orders, work
        self._events = selectors.DefaultSelector()
        self._events.register(orders, selectors.EVENT_READ)
        self._children: dict[int, int] = {}  # pid of each, by the descriptor that tells of its end

    def serve(self) -> None:
        """Do what the head says, until its end."""
        lines = b""
        while True:
            for key, _ in self._events.select():
                if key.fd in self._children:
                    self._bury(key.fd)
                    continue
                more = b""
                with contextlib.suppress(ConnectionResetError):  # it has ended with something from here unread
                    more = self._orders.recv(4096)
                if not more:
                    self._end()
                    return
                *whole, lines = (lines + more).split(b"\n")
                for line in whole:
                    told = json.loads(line)
                    if "end" not in told:
                        self._bear(**told)
                    elif told["end"] in self._children.values():
                        end_family([told["end"]])

    def _tell(self, **what: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the head has ended: the next look says so
            self._orders.sendall(json.dumps(what).encode() + b"\n")

    def _bear(self, name: str, address: str) -> None:
        nurse = os.getpid()
        pid = os.fork()
        if pid == 0:
            _run(lambda: self._grow_up(nurse, name, address))
        fd = os.pidfd_open(pid)
        self._children[fd] = pid
        self._events.register(fd, selectors.EVENT_READ)
        self._tell(name=name, pid=pid)

    def _grow_up(self, nurse: int, name: str, address: str) -> None:
        _native.die_with(nurse)
        self._events.close()
        self._orders.close()
        for fd in self._children:
            os.close(fd)
        lineage.leave()
        seeds.draw_own()
        self._work(name, address)

    def _bury(self, fd: int) -> None:
        pid = self._children.pop(fd)
        self._events.unregister(fd)
        os.close(fd)
        self._tell(pid=pid, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def _end(self) -> None:
        end_family(self._children.values())
        for pid in self._children.values():
            os.waitpid(pid, 0)


def _leave_standard_streams() -> None:
    """Those are between the program and the head. What is printed goes to stderr."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)


def _run(what: Callable[[], object]) -> NoReturn:
    """In a fork: do this and nothing else, and end."""
    code = 1
    try:
        what()
        code = 0
    except BaseException:  # noqa: BLE001 - it is the whole program here
        traceback.print_exc()
    finally:
        os._exit(code)
