"""Messages and tasks for hours: the memory of this process, the segment's, and the file descriptors stay as they are.

python -m crash.soak MESSAGES TASKS
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import psutil

import allcores
from allcores import _native

# Looked at so often; the first looks are of a program that is still warming up.
LOOKS = 10
SOME = 500  # on their way between two processes
ITEMS: list[Any] = [1, "two", {"three": [4.0] * 5}, b"x" * 1000]


def echo(there: Any, back: Any) -> None:
    while (batch := there.get()) is not None:
        back.put(batch)


def look() -> dict[str, int]:
    gc.collect()
    blocks, _bytes, _free = _native.usage()
    return {
        "own": psutil.Process().memory_info().rss - psutil.Process().memory_info().shared,
        "segment": os.fstat(_native.segment_fd()).st_blocks * 512,
        "blocks": blocks,
        "files": len(os.listdir("/proc/self/fd")),
    }


def send(n: int, there: Any, back: Any) -> None:
    """All of n go there and come back, in order."""
    sent = 0
    for got in range(n):
        while sent < n and sent - got < SOME:
            there.put(ITEMS[sent % len(ITEMS)])
            sent += 1
        assert back.get() == ITEMS[got % len(ITEMS)]


def soak(messages: int, tasks: int) -> Iterator[dict[str, int]]:
    there, back = allcores.Queue(), allcores.Queue(2 * SOME)
    process = allcores.Process(target=echo, args=(there, back))
    process.start()
    with allcores.Pool(2) as pool:
        for _ in range(LOOKS):
            send(messages // LOOKS, there, back)
            for x, y in enumerate(pool.imap(abs, range(tasks // LOOKS), 1)):
                assert x == y
            yield look()
    there.put(None)
    process.join()


def main(messages: int, tasks: int) -> None:
    faulthandler.enable()
    for seen in soak(messages, tasks):
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
