"""Two network namespaces that see each other, as two hosts."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

__all__ = ("two_hosts",)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[tuple[list[str], str], tuple[list[str], str]]]:
    """Of each: what goes in front of a command there, and its address. Skips where that is not allowed."""
    names = tuple(f"allcores-{os.getpid()}-{which}" for which in "ab")
    addresses = ("10.211.7.1", "10.211.7.2")
    if not shutil.which("ip"):
        pytest.skip("needs ip")
    try:
        for name in names:
            try:
                _ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"needs the right to make network namespaces: {error.stderr.decode()}")
        _ip("link", "add", "veth", "netns", names[0], "type", "veth", "peer", "name", "veth", "netns", names[1])
        for name, address in zip(names, addresses, strict=True):
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "veth")
            for link in ("lo", "veth"):
                _ip("-n", name, "link", "set", link, "up")
        first, second = (
            (["ip", "netns", "exec", name], address) for name, address in zip(names, addresses, strict=True)
        )
        yield first, second
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
