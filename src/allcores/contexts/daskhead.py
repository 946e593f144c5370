"""A dask cluster of this machine, in a process of its own: the scheduler, which is the parent of its workers.

    program ── stdin: {"workers": n, ...} ──▶ head ── stdin ──▶ workers, a process of one thread each
            ◀── stdout: {"address": ...} ───       └─ one that ends is started again
            ── stdin: {"workers": more} ──▶
            ── end of stdin: the program has ended, in whatever way ──▶ head ── likewise ──▶ workers

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
from typing import Any

from allcores.errors import ClusterDied

__all__ = ("NAME", "Head", "exitcode", "main", "work")

# How the names of workers begin that are started again when they end.
NAME = "allcores-local-"
_LOOPBACK = "127.0.0.1"
_CONFIG = {
    # What costs time in each task, and nobody looks at.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 0,
}
_CODE = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from allcores.contexts import daskhead as h; h."


class Head:
    """The program's side of it."""

    def __init__(self, workers: int, security: Any) -> None:
        self._process = subprocess.Popen(
            _command("main"),
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

    def close(self) -> None:
        """End it, and wait for that."""
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._process.wait()


def _command(what: str, *args: str) -> list[str]:
    return [sys.executable, "-c", f"{_CODE}{what}()", json.dumps(sys.path), *args]


def _spelled(security: Any) -> str:
    return base64.b64encode(pickle.dumps(security)).decode()


def _security(spelled: str) -> Any:
    from distributed import Security

    found = pickle.loads(base64.b64decode(spelled))
    return Security() if found is None else found


def _settle() -> None:
    """What dask is to be like in these processes."""
    import dask
    import distributed  # sets the levels of its loggers

    dask.config.set(_CONFIG)
    logging.getLogger(distributed.__name__).setLevel(logging.ERROR)
    logging.getLogger("distributed.scheduler").setLevel(logging.CRITICAL)  # of deaths the program is told


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def main() -> None:
    """The head itself."""
    asyncio.run(_lead())


async def _lead() -> None:
    from distributed import Scheduler

    _settle()
    orders = await _stdin()
    told = json.loads(await orders.readline())
    # Its own HTTP server cannot be left out; without an address it would be at a port that others want, too.
    scheduler = Scheduler(
        host=_LOOPBACK,
        port=0,
        protocol="tls" if _security(told["security"]).require_encryption else "tcp",
        security=_security(told["security"]),
        dashboard=False,
        dashboard_address=f"{_LOOPBACK}:0",
    )
    workers: list[asyncio.Task[None]] = []
    async with scheduler:
        while True:
            while len(workers) < told["workers"]:
                keeping = _keep(f"{NAME}{len(workers)}", scheduler.address, orders, told["security"])
                workers.append(asyncio.create_task(keeping))
            print(json.dumps({"address": scheduler.address}), flush=True)
            line = await orders.readline()
            if not line:
                break
            told["workers"] = json.loads(line)["workers"]
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _keep(name: str, address: str, orders: asyncio.StreamReader, security: str) -> None:
    """One worker, and again when it has ended."""
    while not orders.at_eof():
        process = await asyncio.create_subprocess_exec(
            *_command("work", name, address), stdin=asyncio.subprocess.PIPE, stdout=2
        )
        assert process.stdin is not None
        _workers[process.pid] = process
        try:
            process.stdin.write(security.encode() + b"\n")  # not as an argument: those are for all to see
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise


# Those of this head, by pid. Who asks how one has ended has just heard of it.
_workers: dict[int, Any] = {}


async def exitcode(pid: int) -> int | None:
    """In the head: how a worker has ended that the scheduler has lost. None: it is none of ours, or has not."""
    process = _workers.get(pid)
    if process is None:
        return None
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), 1)
    code: int | None = process.returncode
    return code


def work() -> None:
    """One worker."""
    asyncio.run(_work(*sys.argv[2:]))


async def _work(name: str, address: str) -> None:
    from distributed import Worker

    _settle()
    told = await _stdin()
    security = _security((await told.readline()).decode())
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
        ended = asyncio.create_task(told.read())
        await asyncio.wait([ended, asyncio.create_task(worker.finished())], return_when="FIRST_COMPLETED")
    # Its tasks may go on in threads, for ever.
    os._exit(0)
