"""Count the token kinds of the Python standard library: real input, pieces of very different size.

Run it as a script, or let the command do the comparing (``items()`` below gives the items):

    python examples/tokenize_stdlib.py
    allcores compare examples/tokenize_stdlib.py:job --plot out/tokenize_stdlib.png
"""

import sysconfig
import token
import tokenize
from collections import Counter
from pathlib import Path

import allcores


def job(path: Path) -> Counter[str]:
    try:
        with tokenize.open(path) as file:
            return Counter(token.tok_name[t.type] for t in tokenize.generate_tokens(file.readline))
    except (SyntaxError, tokenize.TokenError):
        return Counter(["did not tokenize"])


def items() -> list[Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"test", "tests", "idle_test", "site-packages"}
    return [path for path in sorted(root.rglob("*.py")) if not skipped.intersection(path.relative_to(root).parts)]


if __name__ == "__main__":
    comparison = allcores.compare(job, items())
    print(comparison)
    print(sum(comparison.results, Counter()).most_common(5))
    comparison.plot("out/tokenize_stdlib.png")
