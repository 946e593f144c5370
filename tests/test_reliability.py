"""docs/reliability.md says which test shows what: they are there."""

import re
from pathlib import Path

TABLE = re.compile(r"`((?:\w+/)*test_\w+\.py)(?:::(test_\w+))?`")


def test_every_test_that_is_named_is_there(root: Path) -> None:
    named = TABLE.findall((root / "docs" / "reliability.md").read_text())
    assert len(named) > 30
    for file, test in named:
        path = root / "tests" / file
        assert path.exists(), file
        assert not test or f"def {test}(" in path.read_text(), f"{file}::{test}"
