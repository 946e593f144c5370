"""The tests of the C++ core, as they are; `make native-test` runs them under the sanitizers too."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.mark.timeout(95)  # `make test` has compiled them; else that takes a minute where the machine is busy
def test_native(root: Path) -> None:
    compiler = os.environ.get("CXX", "g++")
    for tool in ("make", shlex.split(compiler)[0]):
        if shutil.which(tool) is None:
            pytest.skip(f"the tests of the core need a C++ compiler and make: there is no {tool} here")
    made = subprocess.run(
        ["make", "-C", root / "native" / "tests", "plain", "-j2", f"CXX={compiler}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert made.returncode == 0, made.stdout
    assert made.stdout.count("plain ") >= len(list((root / "native" / "tests").glob("*.cpp"))), made.stdout
