"""The jobs of ``allcores demo``: real input that every machine has, and the classic of the tutorials."""

from __future__ import annotations

import os
import sysconfig
import token
import tokenize
from collections import Counter

__all__ = ("CLASSIC_ITEMS", "NOT_TOKENIZED", "classic", "count_tokens", "stdlib_files")

NOT_TOKENIZED = "files that do not tokenize"
CLASSIC_ITEMS = (1_000_000, 1_000_000)

# The tests are left out for time: they are more than half of the text, and some are broken on purpose.
_LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})


def stdlib_files() -> list[str]:
    """The paths of all .py files of the Python standard library but its tests, in a fixed order."""
    found: list[str] = []
    for folder, subfolders, files in os.walk(sysconfig.get_paths()["stdlib"]):
        subfolders[:] = [name for name in subfolders if name not in _LEFT_OUT]
        found += [os.path.join(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def count_tokens(path: str) -> Counter[str]:
    """How many tokens of each kind a Python file has; a file that does not tokenize is counted as that."""
    kinds: Counter[str] = Counter()
    try:
        with open(path, "rb") as file:
            kinds.update(token.tok_name[found.type] for found in tokenize.tokenize(file.readline))
    except (SyntaxError, tokenize.TokenError, UnicodeDecodeError):
        return Counter({NOT_TOKENIZED: 1})
    return kinds


def classic(count: int) -> int:
    """The job of every tutorial: add up i + i**2 + i**3 for ``count`` numbers."""
    total = 0
    for i in range(count):
        total += i + i**2 + i**3
    return total
