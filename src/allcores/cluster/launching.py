"""Where the processes of a cluster run: each is a process of its own beside a worker, which speaks for it.

    program ── Fleet.launch ──▶ worker: launch() ── allcores.Process ──▶ live(): the user's function
    hosts ◀── Link of the worker ◀── pipe ── Relay: the Link of the process
          ── orders (signals) ──▶ worker ──▶ the process
          ◀── gone, end ── worker, which sees it end

So a process needs no connection of its own, and starts as fast as any of that machine. It ends with its worker, and
with the process that started it.
"""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from allcores import codec, start
from allcores.cluster import link as links
from allcores.cluster import parcel
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from allcores.cluster.link import Link, Origin

__all__ = ("Relay", "launch")

_numbers = itertools.count(1)


class Relay(links.Link):
    """The Link of a process beside a worker: by a pipe to that, which carries requests on."""

    def __init__(self, cluster: str, node: str, pipe: Any) -> None:
        super().__init__(cluster, node)
        self._pipe = pipe
        self._asked: dict[int, Future[bytes]] = {}
        self._requests = itertools.count(1)
        threading.Thread(target=self._read, name="allcores-relay", daemon=True).start()

    def _ask(self, request: bytes) -> Future[bytes]:
        number = next(self._requests)
        reply = self._asked[number] = Future()
        self._send(number, request)
        return reply

    def _tell(self, request: bytes) -> None:
        self._send(0, request)

    def _send(self, number: int, request: bytes) -> None:
        try:
            self._pipe.send((number, request))
        except OSError as error:
            reply = self._asked.pop(number, None)
            if reply is not None:
                reply.set_exception(ClusterDied(f"the worker beside this process has ended: {error}"))

    def _read(self) -> None:
        while True:
            try:
                number, well, reply = self._pipe.recv()
            except (EOFError, OSError):
                for asked in list(self._asked.values()):
                    asked.set_exception(ClusterDied("the worker beside this process has ended"))
                return
            asked = self._asked.pop(number)
            if well:
                asked.set_result(reply)
            else:
                asked.set_exception(reply)


def live(pipe: Any, origin: Origin, secrets: dict[str, Any], node: str, path: list[str], made: bytes) -> bytes:
    """What runs in the process: the user's ``run()``, and what it returns, packed."""
    links.register(Relay(origin[0], node, pipe), origin[1], origin[2], secrets)
    sys.path.extend(each for each in path if each not in sys.path)
    me = parcel.unpack(made)
    _given.append(me)
    return parcel.pack_small(me.run())


# What a process was given it has until its very end: it has failed with it, if it fails.
_given: list[Any] = []


def launch(origin: Origin, ending: int, name: str, path: list[str], made: bytes) -> int:
    """Start a process beside this worker; its pid. Blocks until it has one."""
    from allcores import process
    from allcores.connection import join_ends, make_pipe

    link = links.find(origin)
    node = f"{link.node}/{os.getpid()}-{next(_numbers)}"
    link.call(ending, "placed")
    ours, theirs = join_ends(make_pipe, True)
    args = (theirs, origin, links.secrets(origin[1]), node, path, made)
    child = process.ForkServerProcess(target=live, args=args, name=name, daemon=True)
    child.start()
    theirs.close()
    assert child.pid is not None
    threading.Thread(target=_Beside(link, ending, node, child, ours).serve, name="allcores-beside", daemon=True).start()
    return child.pid


class _Beside:
    """A process, seen from the worker beside it."""

    def __init__(self, link: Link, ending: int, node: str, child: Any, pipe: Any) -> None:
        self._link, self._ending, self._node, self._child, self._pipe = link, ending, node, child, pipe
        self._sending = threading.Lock()
        self._pid, self._life = child.pid, child._life

    def serve(self) -> None:
        """Carry requests on, and see it end."""
        from allcores import several

        self._await_orders()
        ready: list[Any] = []
        while self._child not in ready or self._pipe in ready:
            ready = several.wait([self._pipe, self._child])
            if self._pipe in ready and not self._carry_on():
                break
        self._child.join()
        self._settle()

    def _carry_on(self) -> bool:
        """One request; False: the process has closed its end."""
        try:
            number, request = self._pipe.recv()
        except EOFError:
            return False
        if number == 0:
            self._link._tell(request)
        else:
            self._link._ask(request).add_done_callback(lambda reply: self._answer(number, reply))
        return True

    def _answer(self, number: int, reply: Future[bytes]) -> None:
        if reply.cancelled():
            return
        error = reply.exception()
        with self._sending:
            try:
                self._pipe.send((number, error is None, reply.result() if error is None else error))
            except OSError:
                return  # it has ended

    # Orders come by a call that waits, and again: in the engine's thread, without one of ours.

    def _await_orders(self) -> None:
        request = self._link.request(self._ending, "orders")
        self._link._ask(request).add_done_callback(self._ordered)

    def _ordered(self, reply: Future[bytes]) -> None:
        order: int | None = None
        if not reply.cancelled() and reply.exception() is None:
            well, value = pickle.loads(reply.result())
            order = value if well else None
        # None: nobody needs it any more, or it has ended; an error: the cluster is gone.
        start.send_signal(self._pid, signal.SIGKILL if order is None else order, self._life)
        if order is not None:
            self._await_orders()

    def _settle(self) -> None:
        child = self._child
        code = child.exitcode
        told = None if child._outcome is None else _told(*child._outcome)
        why = "" if code == 0 else f"process {child.pid} ({child.name})"
        stderr = "" if child._death is None else child._death.stderr
        self._pipe.close()
        child.close()
        try:
            self._link.call(0, "gone", (self._node, why))
            self._link.call(self._ending, "end", (code, told, stderr))
        except Exception:  # noqa: BLE001 - the cluster, or all that could ask, is gone
            return


def _told(kind: int, body: Any) -> bytes:
    """What it said, for whoever started it: whether it returned, and the packed value or error."""
    from allcores import process

    if kind == process.RETURNED:
        return pickle.dumps((True, body))
    return pickle.dumps((False, codec.pack_error(body) if isinstance(body, BaseException) else body))
