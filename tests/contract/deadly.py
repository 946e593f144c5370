"""Jobs that go wrong. A module of its own, imported by name in workers: so it imports little."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from . import jobs

__all__ = (
    "BAD",
    "BrokenText",
    "WithLambda",
    "become_another_program",
    "count_and_die",
    "exit_from_a_thread",
    "leave_at_once",
    "mutter_and_die",
    "throw",
    "touch_and_die",
    "when_bad",
    "write_and_die",
)

# The item that goes wrong.
BAD = 3


def when_bad(do: Callable[[], object]) -> Callable[[Any], Any]:
    """A job that does something at the bad item, and gives the others back."""
    return lambda x: do() if x == BAD else x


def throw(error: BaseException) -> Callable[[], NoReturn]:
    def do() -> NoReturn:
        raise error

    return do


class WithLambda(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.key = lambda: message


class BrokenText(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")


def leave_at_once() -> NoReturn:
    os._exit(0)


def become_another_program() -> NoReturn:
    os.execv("/bin/sh", ["sh", "-c", "exit 0"])


def exit_from_a_thread() -> None:
    threading.Thread(target=lambda: os._exit(5)).start()
    threading.Event().wait(jobs.PATIENCE)


def mutter_and_die(thing: object, how: int = signal.SIGKILL) -> object:
    """Dies of anything but zeros."""
    if thing == [0, 0]:
        return thing
    print("I have", thing, file=sys.stderr)
    print("and cannot go on", file=sys.stderr)
    jobs.die_by_signal(how)
    return None


def count_and_die(lines: int) -> None:
    for i in range(lines):
        print("line", i, file=sys.stderr)
    jobs.die_by_exit()


def write_and_die(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
    jobs.die_by_signal()


def touch_and_die(size: int) -> None:
    """Has had so much memory, and given it back."""
    touched = bytearray(size)
    touched[::4096] = b"x" * len(touched[::4096])
    del touched
    jobs.die_by_signal()
