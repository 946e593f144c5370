"""A dask cluster of this machine, below a process of its own, which is the scheduler.

    program ── stdin: {"workers": n, ...} ──▶ head ── nursery ──▶ workers, a process of one thread each
            ◀── stdout: {"address": ...} ───       └─ one that ends is started again: Keeper
            ◀── {"of": n, "there": n} ─── when they are
            ── {"workers": more} ──▶
            ◀── {"of": more, "there": more} ───
            ── end of stdin: the program has ended, in whatever way ──▶ head, nursery and workers end

Not in the program itself: there the scheduler would share its GIL, the workers would import its ``__main__`` again,
and a killed program could not end them in order. Not dask's Nanny: one whose worker dies while it starts, starts none
again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from allcores.contexts.dasknursery import Nursery
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from allcores.contexts.daskkeeper import Keeper

__all__ = ("Head", "end", "exitcode", "main")

_LOOPBACK = "127.0.0.1"
_CONFIG = {
    # What costs time in each task, and nobody looks at.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 0,
}
# Seconds for the news of a worker's end, which the scheduler has seen already.
_PATIENCE = 1.0
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from allcores.contexts import daskhead as h; h.main()"

# In the head: where its workers come from.
_nursery: Nursery | None = None


class Head:
    """The program's side of it."""

    def __init__(self, workers: int, security: Any) -> None:
        self.workers = self.kept = workers
        self._lock = threading.Lock()  # of orders
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the program
            bufsize=0,
        )
        self._say({"workers": workers, "security": _spelled(security)})
        self.address: str = self._hear()["address"]
        self.pid = self._process.pid

    def _say(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(what).encode() + b"\n")

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ClusterDied("the local dask cluster has ended, or could not be started: see its messages on stderr")
        return json.loads(line)

    def wait(self, workers: int) -> None:
        """Wait until so many workers are there, which it was told to have."""
        told: dict[str, int] = {}
        while told.get("of") != workers:  # else of an earlier order, in whose wait Ctrl-C came
            told = self._hear()
        if told["there"] < workers:
            raise ClusterDied(
                f"of {workers} workers of the local dask cluster only {told['there']} start: see its messages on stderr"
            )

    def grow(self, workers: int) -> None:
        """Have so many workers, or more. Returns when they are there."""
        with self._lock:
            if workers > self.kept:
                self._say({"workers": workers})
                self.wait(workers)
                self.kept = workers

    def close(self) -> None:
        """End it, and wait for that."""
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._process.wait()


def _spelled(security: Any) -> str:
    return base64.b64encode(pickle.dumps(security)).decode()


def _security(spelled: str) -> Any:
    from distributed import Security

    found = pickle.loads(base64.b64decode(spelled))
    return Security() if found is None else found


def main() -> None:
    """The head itself."""
    global _nursery
    told = json.loads(sys.stdin.readline())
    _import()
    security = _security(told["security"])
    _nursery = Nursery(partial(_work, security))
    asyncio.run(_lead(told["workers"], security, _nursery))


def _import() -> None:
    """All that a worker needs, while nothing is going on yet."""
    import dask
    import distributed  # sets the levels of its loggers

    from allcores.cluster import remote  # noqa: F401
    from allcores.contexts import dask as context  # noqa: F401
    from allcores.contexts import daskteam  # noqa: F401

    dask.config.set(_CONFIG)
    logging.getLogger(distributed.__name__).setLevel(logging.ERROR)
    logging.getLogger("distributed.scheduler").setLevel(logging.CRITICAL)  # of deaths the program is told


async def _lead(size: int, security: Any, nursery: Nursery) -> None:
    from distributed import Scheduler

    from allcores.contexts.daskkeeper import Keeper

    # Its own HTTP server cannot be left out; without an address it would be at a port that others want, too.
    scheduler = Scheduler(
        host=_LOOPBACK,
        port=0,
        protocol="tls" if security.require_encryption else "tcp",
        security=security,
        dashboard=False,
        dashboard_address=f"{_LOOPBACK}:0",
    )
    async with scheduler, nursery:
        keeper = Keeper(scheduler.address, nursery)
        scheduler.add_plugin(keeper)
        _tell(address=scheduler.address)
        obeying = asyncio.create_task(_obey(size, keeper))
        await asyncio.wait([obeying, nursery.listening, keeper.given_up], return_when="FIRST_COMPLETED")
        if not obeying.done():
            os._exit(1)  # without a nursery, or workers that start, there is no cluster
        await keeper.end()


async def _obey(size: int, keeper: Keeper) -> None:
    """Have as many workers as the program wants, until that has ended."""
    orders = await _stdin()
    while True:
        settling = asyncio.create_task(_settle(size, keeper))
        line = await orders.readline()
        if not line:
            settling.cancel()
            return
        size = json.loads(line)["workers"]


async def _settle(size: int, keeper: Keeper) -> None:
    keeper.grow(size)
    _tell(of=size, there=await keeper.settled(size))


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def exitcode(pid: int) -> int | None:
    """In the head: how a worker has ended that the scheduler has lost. None: it is none of ours, or has not."""
    return None if _nursery is None else await _nursery.exitcode(pid, _PATIENCE)


async def end(pid: int) -> bool:
    """In the head: kill a worker with all that it has started, and wait for that. False: it is none of ours."""
    return _nursery is not None and await _nursery.end(pid)


def _work(security: Any, name: str, address: str) -> None:
    """One worker."""
    asyncio.run(_serve(security, name, address))


async def _serve(security: Any, name: str, address: str) -> None:
    from distributed import Worker

    worker = Worker(
        address,
        nthreads=1,
        name=name,
        host=_LOOPBACK,
        memory_limit=0,
        security=security,
        dashboard=False,
        dashboard_address=f"{_LOOPBACK}:0",
    )
    async with worker:
        await worker.finished()
    os._exit(0)  # its tasks may go on in threads, for ever
