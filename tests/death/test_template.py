"""The template alone is killed, and all processes with it: who waits learns of it, and the program goes on."""

from pathlib import Path

import pytest

from .kit import started


@pytest.mark.parametrize("way", ["join", "acquire", "pool", "again"])
def test_template_killed(tmp_path: Path, way: str) -> None:
    with started(tmp_path / "stderr", "template_killed", way) as program:
        out = program.rest()
        assert (program.end(), out, program.stderr()) == (0, "sound\n", "")
