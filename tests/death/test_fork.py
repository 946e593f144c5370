"""fork() by the user, os._exit() and exec: defined in every process of a program."""

import re
from pathlib import Path

import pytest

from .kit import SCRIPTS, started

CASES = re.findall(r"^def (\w+)\(\) -> None:$", (SCRIPTS / "forks.py").read_text(), re.MULTILINE)
CASES.remove("use_everything")


SLOW = ("one_after_the_other",)


@pytest.mark.parametrize("case", [pytest.param(c, marks=pytest.mark.slow) if c in SLOW else c for c in CASES])
def test_fork(tmp_path: Path, case: str) -> None:
    with started(tmp_path / "stderr", "forks", case) as program:
        out = program.rest()
        assert (program.end(), out, program.stderr()) == (0, "sound\n", "")
