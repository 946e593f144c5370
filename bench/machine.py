"""What the figures were taken on."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.peers import Peer


def _field(path: str, name: str) -> str:
    """The first value of `name: value` in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def machine() -> dict[str, Any]:
    """Processor, cores that this program may use, memory, kernel, and how busy it was."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "load_average": os.getloadavg()[0],
    }


def python() -> dict[str, str]:
    """The interpreter, and how it was built."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "executable": sys.executable,
    }


def packages(peers: Sequence[Peer]) -> dict[str, str]:
    """The versions of what was measured, and of numpy, the arrays' maker."""
    names = {peer.distribution.partition("[")[0] for peer in peers if peer.distribution} | {"numpy"}
    found = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def commit(root: Path) -> dict[str, Any] | None:
    """The commit measured, and whether the work tree differs from it; None outside a repository."""
    with suppress(OSError, subprocess.CalledProcessError):  # no git, no repository, no commit yet
        head = _git(root, "rev-parse", "HEAD")
        return {"commit": head, "changed": bool(_git(root, "status", "--porcelain"))}
    return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()
