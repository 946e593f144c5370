"""Run tests of the contract on the build of the core with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/crash/sanitize.py build/asan [pytest's arguments]

ThreadSanitizer cannot be had this way: its shadow must be mapped before everything else, so the interpreter itself
would have to be built with it; the core alone runs under it in native/tests. Leaks are not looked for: what a module
or a type holds lives until the process ends.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What moves objects, blocks and messages about. Not those that measure time or the interpreter's own memory.
TESTS = (
    *(f"test_{name}.py" for name in ("queue", "queue_traffic", "passing", "value", "array", "lock", "semaphore_event")),
    *(
        f"test_{name}.py"
        for name in ("lock_death", "pool_death", "pool_map", "pool_errors", "pool_shared", "functions")
    ),
)
# Everything takes some times as long.
SECONDS = 300


def library(name: str) -> str:
    compiler = os.environ.get("CXX", "g++")
    return subprocess.check_output([compiler, f"-print-file-name={name}"], text=True).strip()


def environment(build: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(build.resolve()),
        # The C++ library too: the sanitizer must find the function that throws.
        "LD_PRELOAD": " ".join(library(f"lib{name}.so") for name in ("asan", "ubsan", "stdc++")),
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:handle_segv=0",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
    }


def main(build: Path, *chosen: str) -> int:
    tests = chosen or [str(ROOT / "tests" / "contract" / test) for test in TESTS]
    options = ["-q", "-k", "process", "-o", f"timeout={SECONDS}", "-p", "no:cacheprovider"]
    env = environment(build)
    where = subprocess.check_output(
        [sys.executable, "-c", "import allcores._native as n; print(n.__file__)"], env=env, text=True
    )
    if build.resolve() not in Path(where).parents:
        print(f"the sanitized build is not what is imported: {where}", file=sys.stderr)
        return 1
    return subprocess.run([sys.executable, "-m", "pytest", *options, *tests], env=env, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
