"""The command ``allcores``, and ``python -m allcores``. To run a program does not take what the other commands do."""

from __future__ import annotations

import sys

__all__ = ("main",)


def main() -> int:
    """Run the command of this process's arguments, and return its exit code."""
    if sys.argv[1:2] == ["run"]:
        from allcores.program import run_command

        return run_command(sys.argv[2:])
    from allcores import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
