"""Starts whole programs in sessions of their own, and looks what becomes of them and of all their processes."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

__all__ = ("PATIENCE", "PROMPT", "SCRIPTS", "Program", "gone", "started")

SCRIPTS = Path(__file__).parent / "scripts"
# Seconds within which what must happen has happened.
PATIENCE = 30.0
# Seconds that are promised for the end of all processes, and for KeyboardInterrupt. Where many times as many processes
# want to run as there are CPUs, each step of an ending waits for its turn.
PROMPT = max(1.0, 2 * os.getloadavg()[0] / len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True)
class Program:
    """A script that runs in a session of its own: what a terminal would send to all, `interrupt` sends."""

    process: subprocess.Popen[str]
    errors: IO[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line of its output; waits for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def expect(self, *lines: str) -> None:
        for line in lines:
            got = self.line()
            assert got == line, f"{got!r} instead of {line!r}; on stderr: {self.stderr()}"

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to every process of the foreground group."""
        os.killpg(self.pid, signal.SIGINT)

    def family(self) -> list[psutil.Process]:
        """The template and every process of the program."""
        return psutil.Process(self.pid).children(recursive=True)

    def end(self) -> int:
        """Its exit code, as `Popen.returncode`; waits for it."""
        return self.process.wait(PATIENCE)

    def rest(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def stderr(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def until_asleep(self, pid: int | None = None) -> None:
        """Wait until the process sleeps, in the wait that it has announced. Nothing tells of that: a bounded poll."""
        process = psutil.Process(pid or self.pid)
        deadline = time.monotonic() + PATIENCE
        while process.status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < deadline
            threading.Event().wait(0.001)


@contextlib.contextmanager
def started(errors: Path, script: str, *args: object, text: str | None = None) -> Iterator[Program]:
    """The script of that name, running; stderr goes to the file `errors`. What is left of it at the end is killed."""
    what = ["-c", text] if text is not None else [str(SCRIPTS / f"{script}.py")]
    with errors.open("a+") as stderr:  # to append: reading moves the position that is shared with the program
        process = subprocess.Popen(
            [sys.executable, *what, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        with process:
            try:
                yield Program(process, stderr)
            finally:
                for pid in psutil.pids():
                    with contextlib.suppress(ProcessLookupError):
                        if os.getsid(pid) == process.pid:
                            os.kill(pid, signal.SIGKILL)


def gone(processes: list[psutil.Process], within: float = PROMPT) -> bool:
    """Whether all have ended, at the latest after so many seconds. Those that have not are killed."""
    _, alive = psutil.wait_procs(processes, timeout=within)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return not alive
