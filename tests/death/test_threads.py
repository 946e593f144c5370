"""A thread that dies while it waits harms nobody, and a daemon thread that waits does not hold up the end."""

from pathlib import Path

import pytest

from .kit import started


@pytest.mark.parametrize("case", ["killed_in_a_wait", "asleep_at_the_end", "awake_at_the_end"])
def test_threads(tmp_path: Path, case: str) -> None:
    with started(tmp_path / "stderr", "threads", case) as program:
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")
