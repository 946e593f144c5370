"""Programs for the tests of clusters: each an interpreter of its own, so that it may be killed."""

import subprocess
import sys
import textwrap
from collections.abc import Sequence

__all__ = ("PATIENCE", "begin", "run")

# Seconds within which what must happen has happened.
PATIENCE = 50.0


def _command(script: str, args: Sequence[str], before: Sequence[str]) -> list[str]:
    return [*before, sys.executable, "-c", textwrap.dedent(script), *args]


def run(script: str, *args: str, before: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """Run it to its end.

    Args:
        script: its text.
        args: its arguments.
        before: words of the command line in front of it.
    """
    return subprocess.run(_command(script, args, before), capture_output=True, text=True, timeout=PATIENCE, check=False)


def begin(script: str, *args: str, before: Sequence[str] = ()) -> "subprocess.Popen[str]":
    """Begin it; its output is to be read."""
    return subprocess.Popen(_command(script, args, before), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
