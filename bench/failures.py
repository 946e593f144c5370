"""The ordinary failures, library by library: python -m bench.failures [--timeout S] [--markdown PATH]

Each in a program of its own that is ended when it hangs. Prints a table in Markdown and writes it to docs/failures.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import faults, machine
from bench.run import MARK, ROOT, sweep, wait_all

HANG = "**HANG**"
INTRODUCTION = """# Ordinary failures

Made by `python -m bench.failures`. A pool of two workers gets eight calls, one by one (`apply_async`, `submit`,
`schedule`); the fourth goes wrong as the row says. joblib is not among them: its calls fail or succeed as a whole; its
workers are loky's.

- **only it: X** the fourth call raised X, the other seven gave their results, and the pool took the next call.
- **n of 7 others lost** did not give their results, though nothing was wrong with them.
- **pool broken** takes no more calls.
- **told: X** nothing could work, and every call said so with X.
- **not its own** the error is of another kind than the one that happened.
- **HANG** no answer within {timeout:g} s, and the program had to be killed.
"""


def run_one(library: str, mode: str, timeout: float) -> str:
    """The cell of the table."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        answer = Path(folder, "answer")
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.faults", library, mode, str(answer)],
            cwd=ROOT,
            env=os.environ | {MARK: mark, "TMPDIR": folder, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            ended = wait_all([process.pid], timeout)
        finally:
            sweep(process, mark)
        return cell(mode, json.loads(answer.read_text()) if answer.exists() else None, ended)


def cell(mode: str, found: dict[str, Any] | None, ended: bool) -> str:
    """What became of it, in words."""
    if found is None:
        return HANG if not ended else "the program ended without an answer"
    bad = found["outcomes"].pop(faults.BAD)
    lost = sum(one[0] == "error" for one in found["outcomes"])
    name = bad[1] if bad[0] == "error" else f"no error, but {bad[1]}"
    if mode == faults.INITIALIZER:
        text = f"told: {name}" if bad[0] == "error" and lost == len(found["outcomes"]) else f"not told: {name}"
    elif found.get("afterwards") != ["value", 42]:
        text = f"pool broken: {name}" + (f", {lost} of 7 others lost" if lost else "")
    elif lost:
        text = f"{lost} of 7 others lost: {name}"
    else:
        text = f"only it: {name}"
    own = faults.MODES[mode][1]
    if bad[0] == "error" and bad[1] not in own:
        text += " (not its own)"
    return f"{text}, then {HANG} at its end" if not ended else text


def table(libraries: Sequence[str], timeout: float) -> str:
    lines = ["| mode | " + " | ".join(libraries) + " |", "|---" * (len(libraries) + 1) + "|"]
    hangs = dict.fromkeys(libraries, 0)
    whole = dict.fromkeys(libraries, 0)
    for mode in faults.MODES:
        cells = []
        for library in libraries:
            print(f"{mode}: {library}", file=sys.stderr, flush=True)
            text = run_one(library, mode, timeout)
            hangs[library] += HANG in text
            whole[library] += text.startswith(("only it", "told")) and not text.endswith(("own)", "end"))
            cells.append(text)
        lines.append(f"| {mode} | " + " | ".join(cells) + " |")
    count = len(faults.MODES)
    lines.append("| **as it should be** | " + " | ".join(f"**{whole[x]} of {count}**" for x in libraries) + " |")
    lines.append("| **hangs** | " + " | ".join(f"**{hangs[x]}**" for x in libraries) + " |")
    return "\n".join(lines) + "\n"


def heading(libraries: Sequence[str]) -> str:
    about, git = machine.machine(), machine.commit(ROOT)
    versions = []
    for library in libraries:
        try:
            versions.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            versions.append(library)
    commit = f"commit {git['commit'][:10]}{', changed' if git['changed'] else ''}; " if git else ""
    return (
        f"\nRun on {datetime.now(UTC):%Y-%m-%d}: {about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, "
        f"{about['kernel']}; Python {sys.version.split()[0]}; {commit}{', '.join(versions)}.\n\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.failures", description="How libraries fail.")
    parser.add_argument("--timeout", type=float, default=15.0, help="seconds after which it is a hang")
    parser.add_argument("--markdown", type=Path, default=ROOT / "docs/failures.md", help="where the table goes")
    parser.add_argument("--only", default="", metavar="LIST", help="only these libraries, separated by commas")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name] or list(faults.LIBRARIES)
    libraries = [name for name in wanted if find_spec(faults.LIBRARIES[name][0]) is not None]
    text = INTRODUCTION.format(timeout=options.timeout) + heading(libraries) + table(libraries, options.timeout)
    options.markdown.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
