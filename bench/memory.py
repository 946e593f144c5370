"""The most memory that a sample's processes have together: python -m bench.memory, beside it, until its input ends.

Of each process its own memory (`Pss` less `Pss_Shmem`), and all shared memory of the machine (`Shmem`), mapped by
anybody or not: so the machine must be idle. A process of its own looks at them, because a thread of a Python program
sees nothing while another one copies.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select

from bench.run import MARK, marked


def together(pids: Sequence[int]) -> int:
    """Bytes that they have now."""
    total = number_in("/proc/meminfo", "Shmem")
    for pid in pids:
        with suppress(ProcessLookupError, FileNotFoundError):  # it has ended
            total += number_in(f"/proc/{pid}/smaps_rollup", "Pss") - number_in(f"/proc/{pid}/smaps_rollup", "Pss_Shmem")
    return total


def number_in(file: str, name: str) -> int:
    """The bytes that a line of a file of "name: number kB" says."""
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


class Watch:
    """What was found: set when the `watching` block is left."""

    beyond = 0
    """Bytes at the peak, beyond those at the beginning."""


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch this process and all that belong to the same sample, during the block and at its very end."""
    watch = Watch()
    command = [sys.executable, "-m", "bench.memory", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        before = int(watcher.stdout.readline())
        yield watch
        watcher.stdin.close()
        watch.beyond = int(watcher.stdout.readline()) - before


def main() -> None:
    """Print what they have, then look again without a pause until the input ends, and print the most."""
    mark = os.environ.get(MARK)
    pids = [pid for pid in marked(mark) if pid != os.getpid()] if mark else [int(sys.argv[1])]
    most = together(pids)
    print(most, flush=True)
    ended = False
    while not ended:
        ended = bool(select([sys.stdin], [], [], 0)[0])  # before the look: so the last one is after the end
        most = max(most, together(pids))
    print(most, flush=True)


if __name__ == "__main__":
    main()
