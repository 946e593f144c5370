"""Large packages of the program: its template imports them too, once, and whatever their import does is harmless."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PATIENCE = 30
MODULES = 260

# What the package does when a template imports it.
IN_TEMPLATE = {
    "nothing": "pass",
    "print": "import os, sys; print('said'); os.write(1, b'said'); os.write(2, b'said')",
    "read": "import sys; assert sys.stdin.read() == ''",
    "raise": "raise SystemExit(3)",
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "exit": "import os; os._exit(0)",
    "hang": "import time; time.sleep(1000)",
    "thread": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
}
# After these, every worker has what is there of the package when it begins.
HARMLESS = ("nothing", "print", "read")

PROGRAM = """
    import sys, time
    import large
    import allcores
    from allcores import start
    from allcores.contexts import process

    def has_it(_):
        import sys
        return "large.part7" in sys.modules, "ours" in sys.modules

    for _ in range(2):
        with allcores.Pool(2, reuse=False) as pool:
            print(sorted(set(pool.map(has_it, range(20), chunksize=1))))
            template = start.template_pid()
    with allcores.Pool(2) as pool:
        pool.map(has_it, range(20))
    print(start.template_pid() == template)
"""


def make_package(folder: Path, name: str, in_template: str) -> Path:
    package = folder / name / "large"
    package.mkdir(parents=True)
    for i in range(MODULES):
        (package / f"part{i}.py").write_text("")
    imports = "".join(f"from . import part{i}\n" for i in range(MODULES))
    guard = f"import sys\nif 'allcores.template' in sys.modules:\n    {in_template}\n"
    (package / "__init__.py").write_text(guard + imports)
    return package.parent


def run(folder: Path, path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    script = folder / "program.py"
    script.write_text(textwrap.dedent(PROGRAM))
    (folder / "ours.py").write_text("raise RuntimeError('imported by somebody else')")
    env = {**os.environ, "PYTHONPATH": str(path), "ALLCORES_PRELOAD": "1", **environ}
    return subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=env,
        input="not for the template",
    )


@pytest.mark.parametrize("what", IN_TEMPLATE)
def test_workers_have_it_or_do_without(tmp_path: Path, what: str) -> None:
    done = run(tmp_path, make_package(tmp_path, "site-packages", IN_TEMPLATE[what]))
    had = what in HARMLESS
    assert (done.stdout, done.stderr, done.returncode) == (f"[({had}, False)]\n" * 2 + "True\n", "", 0)


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    done = run(tmp_path, make_package(tmp_path, "site-packages", "pass"), ALLCORES_PRELOAD="0")
    assert done.stdout == "[(False, False)]\n" * 2 + "True\n", done.stderr


def test_what_is_not_installed_is_never_imported(tmp_path: Path) -> None:
    done = run(tmp_path, make_package(tmp_path, "somewhere", "import os; os.abort()"))
    assert done.stdout == "[(False, False)]\n" * 2 + "True\n", done.stderr


def test_the_program_ends_while_an_import_hangs(tmp_path: Path) -> None:
    """SIGKILL of the program in the middle: nobody stays behind, which the fixture of all tests sees."""
    path = make_package(tmp_path, "site-packages", "import sys; open('begun', 'w').close(); " + IN_TEMPLATE["hang"])
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        env={**os.environ, "PYTHONPATH": str(path), "ALLCORES_PRELOAD": "1"},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    )
    while not (tmp_path / "begun").exists():  # nothing tells of it: a bounded poll
        assert program.poll() is None
    program.kill()
    program.wait(PATIENCE)
