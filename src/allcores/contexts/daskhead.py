"""A dask cluster of this machine, below a process of its own, which is the scheduler.

    program ── stdin: {"workers": n, ...} ──▶ head ── nursery ──▶ workers, a process of one thread each
            ◀── stdout: {"address": ...} ───       └─ one that ends is started again
            ── stdin: {"workers": more} ──▶
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
from functools import partial
from typing import Any

from allcores.contexts.dasknursery import Nursery
from allcores.errors import ClusterDied

__all__ = ("NAME", "Head", "end", "exitcode", "main")

# How the names of workers begin that are started again when they end.
NAME = "allcores-local-"
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
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the program
            bufsize=0,
        )
        self.address: str = self._ask({"workers": workers, "security": _spelled(security)})["address"]
        self.pid = self._process.pid

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
        line = self._process.stdout.readline()
        if not line:
            raise ClusterDied("the local dask cluster has ended, or could not be started: see its messages on stderr")
        return json.loads(line)

    def grow(self, workers: int) -> None:
        """Have so many workers, or more. Returns when they are on their way."""
        self._ask({"workers": workers})
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

    # Its own HTTP server cannot be left out; without an address it would be at a port that others want, too.
    scheduler = Scheduler(
        host=_LOOPBACK,
        port=0,
        protocol="tls" if security.require_encryption else "tcp",
        security=security,
        dashboard=False,
        dashboard_address=f"{_LOOPBACK}:0",
    )
    workers: list[asyncio.Task[None]] = []
    orders = await _stdin()
    async with scheduler, nursery:
        while True:
            while len(workers) < size:
                keeping = _keep(f"{NAME}{len(workers)}", scheduler.address, nursery)
                workers.append(asyncio.create_task(keeping))
            print(json.dumps({"address": scheduler.address}), flush=True)
            reading = asyncio.ensure_future(orders.readline())
            await asyncio.wait([reading, nursery.listening], return_when="FIRST_COMPLETED")
            if not reading.done():
                os._exit(1)  # without a nursery there is no cluster: all its workers have died
            if not reading.result():
                break
            size = json.loads(reading.result())["workers"]
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _keep(name: str, address: str, nursery: Nursery) -> None:
    """One worker, and again when it has ended."""
    while True:
        await nursery.run(name, address)


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
