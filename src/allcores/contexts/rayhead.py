"""A Ray cluster of this machine, below a process of its own.

    program ── stdin ──▶ head ── ray.init ──▶ gcs_server, raylet ──▶ workers
            ◀── stdout: its address ──
            ── end of stdin: the program has ended, in whatever way ──▶ all end
    gcs_server or raylet end ──▶ all end, and the program's calls with them

Not below the program itself: Ray ends what it started when the *thread* ends that did so; Ctrl-C would reach it; and
after the death of gcs_server the rest works on for a minute before Ray ends the program.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from allcores.errors import ClusterDied

__all__ = ("Head", "main")

# On one machine Ray then has all that listens listen on the loopback.
_ENVIRON = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_VITAL = ("gcs_server", "raylet")
# Its sockets have long names, below a folder of so many characters.
_LONGEST = 40


class Head:
    """The program's side of it."""

    def __init__(self, workers: int) -> None:
        code = "import sys; sys.path[:] = sys.argv[3:]; from allcores.contexts import rayhead; rayhead.main()"
        self._folder = _folder()
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(workers), self._folder, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
            env={"RAY_AUTH_MODE": "token", **os.environ, **_ENVIRON},
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise ClusterDied("the local Ray cluster could not be started: see its messages on stderr")
        self.address = line.decode().strip()

    def close(self) -> None:
        """End it, and wait for that."""
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)  # if it was killed


def _folder() -> str:
    """For its logs and sockets. Ray would keep them for ever."""
    common = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="allcores-ray-", dir=common if len(common) < _LONGEST else "/tmp")


def main() -> None:
    """The process itself."""
    import ray

    told = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is no address
    ray.init(
        address="local",
        num_cpus=int(sys.argv[1]),
        include_dashboard=False,
        _temp_dir=sys.argv[2],
        logging_level="ERROR",
        log_to_driver=False,
        configure_logging=True,
    )
    vital = [os.pidfd_open(pid) for pid in _children() if _name(pid) in _VITAL]
    os.write(told, ray.get_runtime_context().gcs_address.encode() + b"\n")
    os.close(told)
    ready, _, _ = select.select([0, *vital], [], [])
    if ready == [0]:
        ray.shutdown()
    for pid in _children():  # what is left of Ray
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)


def _children() -> list[int]:
    return [int(pid) for each in Path("/proc/self/task").iterdir() for pid in (each / "children").read_text().split()]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
