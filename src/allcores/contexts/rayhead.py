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
from typing import Any

from allcores.errors import ClusterDied

__all__ = ("Head", "main")

# On one machine Ray then has all that listens listen on the loopback.
_ENVIRON = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
# What the user's environment may say otherwise. Ray gives its workers the lowest priority but a few, where the program,
# and whatever else runs, keeps them waiting: not as workers are elsewhere here.
_BY_DEFAULT = {"RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
_VITAL = ("gcs_server", "raylet")
# Its sockets have long names, below a folder of so many characters.
_LONGEST = 40


class Head:
    """The program's side of it."""

    def __init__(self, workers: int) -> None:
        code = "import sys; sys.path[:] = sys.argv[3:]; from allcores.contexts import rayhead; rayhead.main()"
        self.workers = workers
        self._folder = _folder()
        self._process = subprocess.Popen(
            [sys.executable, "-c", code, str(workers), self._folder, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
            env={**_BY_DEFAULT, **os.environ, **_ENVIRON},
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
        # As long as it is not reaped, no other session can have its number. If it was killed, this has been left to do.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        _end_session(self.pid)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _folder() -> str:
    """For its logs and sockets. Ray would keep them for ever."""
    common = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="allcores-ray-", dir=common if len(common) < _LONGEST else "/tmp")


def main() -> None:
    """The process itself."""
    told = os.dup(1)
    os.dup2(2, 1)  # what Ray prints is no address
    node = _start_node(int(sys.argv[1]), sys.argv[2])
    vital = [os.pidfd_open(pid) for pid in _children() if _name(pid) in _VITAL]
    os.write(told, node.gcs_address.encode() + b"\n")
    os.close(told)
    ready, _, _ = select.select([0, *vital], [], [])
    if ready == [0]:
        node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
    _end_session(os.getpid())
    shutil.rmtree(sys.argv[2], ignore_errors=True)
    os._exit(0)


def _start_node(cpus: int, folder: str) -> Any:
    """What ``ray.init`` starts, less half of it: nobody is connected here, and nobody looks at dashboard and logs."""
    import ray
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    class Lean(Node):  # type: ignore[misc] # it has no types
        def start_api_server(self, **_how: Any) -> None:
            """None."""

    ray._private.ray_logging.setup_logger("ERROR", "%(message)s")
    params = RayParams(
        num_cpus=cpus, temp_dir=folder, include_dashboard=False, include_log_monitor=False, no_monitor=True
    )
    return Lean(params, head=True, shutdown_at_exit=False, spawn_reaper=True, ray_init_cluster=True)


def _end_session(session: int) -> None:
    """End what is left of Ray. Returns when nothing is."""
    while found := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is_of(session, pid)]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _is_of(session: int, pid: int) -> bool:
    if pid in (session, os.getpid()):
        return False
    try:
        state, _parent, _group, its, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(its) == session and state not in "ZX"


def _children() -> list[int]:
    return [int(pid) for each in Path("/proc/self/task").iterdir() for pid in (each / "children").read_text().split()]


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()
