"""A dask cluster of this machine, in a process of its own: the scheduler, and the nannies of its workers.

    program ── stdin: {"workers": n, ...} ──▶ head ── stdout: {"address": ...} ──▶ program
            ── stdin: {"workers": more} ──▶
            ── end of stdin: the program has ended, in whatever way ──▶ head and workers end

Not in the program itself: there the scheduler would share its GIL, the workers would import its ``__main__`` again,
and a killed program could not end them in order.
"""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import subprocess
import sys
from typing import Any

__all__ = ("Head", "main")

_CONFIG = {
    # What costs time in each task, and nobody looks at.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.low-level-log-length": 0,
}


class Head:
    """The program's side of it."""

    def __init__(self, workers: int, security: Any) -> None:
        code = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from allcores.contexts import daskhead as h"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; h.main()", json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the program
            bufsize=0,
        )
        told = base64.b64encode(pickle.dumps(security)).decode()
        self.address: str = self._ask({"workers": workers, "security": told})["address"]
        self.pid = self._process.pid

    def _ask(self, what: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
        except BrokenPipeError:
            return {}
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the local dask cluster could not be started: see its messages on stderr")
        return json.loads(line)

    def grow(self, workers: int) -> None:
        """Have so many workers. Returns when they are on their way."""
        self._ask({"workers": workers})

    def close(self) -> None:
        """End it, and wait for that."""
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._process.wait()


def main() -> None:
    """The process itself."""
    asyncio.run(_serve())


async def _serve() -> None:
    import dask
    from distributed import LocalCluster

    dask.config.set(_CONFIG)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    told = json.loads(await orders.readline())
    async with LocalCluster(
        n_workers=told["workers"],
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address=None,
        host="127.0.0.1",
        security=pickle.loads(base64.b64decode(told["security"])),
        asynchronous=True,
        silence_logs=40,
    ) as cluster:
        while True:
            print(json.dumps({"address": cluster.scheduler_address}), flush=True)
            line = await orders.readline()
            if not line:
                return
            cluster.scale(json.loads(line)["workers"])
