"""``allcores run``: a program is what it is under ``python``: its arguments, paths, output, tracebacks and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PATIENCE = 45
RUN = ("-m", "allcores", "run")


def python(*args: str | Path, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, args)]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, env=environment, input=stdin
    )


WHO = """
import os, sys
import beside
main = sys.modules["__main__"]
print(sys.argv, sys.path[0], __name__, __file__, __package__, __spec__ and __spec__.name)
print(main.__dict__ is globals(), type(__loader__).__name__, __builtins__.__name__, __annotations__, __doc__)
print(sorted(name for name in globals() if name.startswith("__")), flush=True)
"""

# What a program does, and whether its standard error is the same too.
PROGRAMS = {
    "who": WHO,
    "returns": "print('done')",
    "exits": "import sys\nsys.exit(3)",
    "exits with words": "import sys\nsys.exit('no more')",
    "raises": "def f():\n    raise ValueError('kaboom')\n\nf()",
    "raises from": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('other') from e",
    "syntax": "x = (1,\nprint(x",
    "has a hook": "import sys\nsys.excepthook = lambda kind, e, tb: print(kind, e, tb.tb_lineno)\n1 / 0",
    "interrupted": "import os, signal\nprint('now', flush=True)\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
    "ends at once": "import os\nprint('now', flush=True)\nos._exit(9)",
    "at exit": "import atexit, sys\natexit.register(lambda: print(sys.modules['__main__'].x))\nx = 5\nsys.exit(4)",
    "a thread": "import threading, time\nthreading.Thread(target=lambda: print(x)).start()\nx = 6",
    "coding": "# -*- coding: latin-1 -*-\nprint(ascii('\xe4'))",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_script_is_as_under_python(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "beside.py").write_text("")
    (folder / "script.py").write_text(PROGRAMS[name], encoding="latin-1")
    args = (Path("there") / "script.py", "--report", "-m", "x y")
    plain, ours = python(*args, cwd=tmp_path), python(*RUN, *args, cwd=tmp_path)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)


@pytest.mark.parametrize("name", ["who", "raises", "interrupted", "exits"])
def test_a_module_is_as_under_python(name: str, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (tmp_path / "beside.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "module.py").write_text(PROGRAMS[name])
    (package / "__main__.py").write_text(PROGRAMS[name])
    for module in ("package", "package.module"):
        args = ("-m", module, "-m", "--help")
        plain, ours = python(*args, cwd=tmp_path), python(*RUN, *args, cwd=tmp_path)
        assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)


HERE = """
import sys
import beside
print(sys.argv, repr(sys.path[0]), __name__, globals().get("__file__"), __package__, __spec__, __loader__)
print(sys.modules["__main__"].__dict__ is globals(), sorted(name for name in globals() if name.startswith("__")))
print(repr(sys.stdin.read()), flush=True)
"""


@pytest.mark.parametrize("way", ["-c", "-"])
@pytest.mark.parametrize("name", ["here", "raises", "syntax", "interrupted", "exits", "at exit", "a thread"])
def test_a_program_without_a_file_is_as_under_python(way: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    program = {"here": HERE, **PROGRAMS}[name]
    args = [way, program, "-m", "x y"] if way == "-c" else [way, "-m", "x y"]
    stdin = "its input" if way == "-c" else program
    plain, ours = python(*args, cwd=tmp_path, stdin=stdin), python(*RUN, *args, cwd=tmp_path, stdin=stdin)
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)


def test_no_such_module_is_as_under_python(tmp_path: Path) -> None:
    for module in ("no_such_module", "no_such.module"):
        plain, ours = python("-m", module, cwd=tmp_path), python(*RUN, "-m", module, cwd=tmp_path)
        assert (ours.stderr, ours.returncode) == (plain.stderr, plain.returncode)


def test_folders_and_archives(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "beside.py").write_text("")
    (folder / "__main__.py").write_text(WHO)
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    for program in ("app", "app.pyz"):
        plain, ours = python(program, "x", cwd=tmp_path), python(*RUN, program, "x", cwd=tmp_path)
        assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, plain.returncode)


def test_a_link_is_followed_for_imports(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "beside.py").write_text("")
    (folder / "script.py").write_text(WHO)
    (tmp_path / "link.py").symlink_to(folder / "script.py")
    plain, ours = python("link.py", cwd=tmp_path), python(*RUN, "link.py", cwd=tmp_path)
    assert (ours.stdout, ours.returncode) == (plain.stdout, 0)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), "no program to run"),
        (("no_such.py",), "no such file"),
        (("--context",), "--context needs the name"),
        (("--context", "nowhere", "script.py"), "no context 'nowhere'"),
        (("--fast", "script.py"), "no option '--fast'"),
        (("-m",), "-m needs the name"),
        (("-c",), "-c needs a program"),
    ],
)
def test_what_the_user_can_mend_is_one_line(args: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("print('ran')")
    done = python(*RUN, *args, cwd=tmp_path)
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert (done.stdout, done.returncode) == ("", 2)


def test_help(tmp_path: Path) -> None:
    done = python(*RUN, "--help", cwd=tmp_path)
    assert done.stdout.startswith("usage: allcores run")
    assert done.returncode == 0
    assert " run " in python("-m", "allcores", "--help", cwd=tmp_path).stdout


def test_the_command_is_there_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nprint(sys.path[0])")
    command = Path(sys.executable).parent / "allcores"
    done = subprocess.run([command, "run", "script.py"], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (f"{tmp_path}\n", "", 0)


def test_nothing_is_imported_that_the_program_does_not_ask_for(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nprint(sorted({m.partition('.')[0] for m in sys.modules}))")
    loaded = python(*RUN, "script.py", cwd=tmp_path).stdout
    for heavy in ("numpy", "matplotlib", "rich", "typer", "cloudpickle", "multiprocessing", "concurrent"):
        assert f"'{heavy}'" not in loaded


# Whole programs of the standard's, without a guard. Each line of output says where it comes from.

UNGUARDED = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import Lock, Process, Queue, Value

class Doubling(Process):
    def __init__(self, queue, n):
        super().__init__(name=f"doubling {n}")
        self.queue, self.n = queue, n
    def run(self):
        self.queue.put((self.name, 2 * self.n))

def job(n):
    import multiprocessing.queues
    inner = multiprocessing.Queue()
    return n * n, type(inner).__module__, __name__, os.getpid() != main

def add(value, n):
    for _ in range(n):
        with value.get_lock():
            value.value += 1

main = os.getpid()
queue = Queue()
workers = [Doubling(queue, n) for n in range(3)]
for worker in workers:
    worker.start()
print(sorted(queue.get() for _ in workers))
for worker in workers:
    worker.join()
print([worker.exitcode for worker in workers], multiprocessing.active_children())
with multiprocessing.Pool(2) as pool:
    print(pool.map(job, range(2)))
with ProcessPoolExecutor(max_workers=2) as executor:
    futures = [executor.submit(job, n) for n in range(2)]
    print(sorted(future.result() for future in as_completed(futures)))
    print(list(executor.map(pow, [2, 3], [5, 6])))
value = Value("i", 0)
adding = [Process(target=add, args=(value, 100)) for _ in range(2)]
for process in adding: process.start()
for process in adding: process.join()
print(value.value, type(Lock()).__module__)
"""
ANSWERED = """
[('doubling 0', 0), ('doubling 1', 2), ('doubling 2', 4)]
[0, 0, 0] []
[(0, 'allcores.queues', '__main__', True), (1, 'allcores.queues', '__main__', True)]
[(0, 'allcores.queues', '__main__', True), (1, 'allcores.queues', '__main__', True)]
[32, 729]
200 allcores.sync
"""


def test_a_program_without_a_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = python(*RUN, "script.py", cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (ANSWERED.lstrip(), "", 0)


def test_a_program_on_the_command_line(tmp_path: Path) -> None:
    program = "import multiprocessing\ndef f(x): return x * k\nk = 3\nprint(multiprocessing.Pool(2).map(f, [1, 2]))"
    for args, stdin in ((("-c", program), None), (("-",), program)):
        done = python(*RUN, *args, cwd=tmp_path, stdin=stdin)
        assert (done.stdout, done.stderr, done.returncode) == ("[3, 6]\n", "", 0)


@pytest.mark.parametrize("context", ["thread", "serial"])
def test_elsewhere(context: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import multiprocessing, os\nwith multiprocessing.Pool(2) as p: print(set(p.map(lambda _: os.getpid(), 'ab')) "
        "== {os.getpid()})\nprint(multiprocessing.get_context().name)"
    )
    done = python(*RUN, "--context", context, "script.py", cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (f"True\n{context}\n", "", 0)


def test_an_error_of_a_job_has_only_its_frames(tmp_path: Path) -> None:
    script = "from multiprocessing import Process\ndef f():\n    1 / 0\np = Process(target=f)\np.start()\np.join()"
    (tmp_path / "script.py").write_text(script)
    done = python(*RUN, "script.py", cwd=tmp_path)
    assert done.stderr.count("File ") == 1
    assert "in f" in done.stderr


def test_ctrl_c_ends_a_program_with_workers(tmp_path: Path) -> None:
    script = "import multiprocessing, threading\ndef f(_):\n    print('on', flush=True)\n    threading.Event().wait()\n"
    (tmp_path / "script.py").write_text(script + "with multiprocessing.Pool(2) as p: p.map(f, range(2))")
    command = [sys.executable, *RUN, "script.py"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "on\n"
        os.killpg(program.pid, signal.SIGINT)
        _out, err = program.communicate(timeout=PATIENCE)
    assert program.returncode == -signal.SIGINT
    assert err.count("KeyboardInterrupt") == 1
