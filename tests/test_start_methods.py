"""Start methods and the context of a program: what is chosen, when it is asked, and what a child finds."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import allcores
from allcores import chosen
from allcores.context import default_context

METHODS = ("fork", "spawn", "forkserver")


def run(code: str, **environ: str) -> str:
    """What a program of its own prints, in which nothing was chosen yet."""
    env = {**os.environ, "ALLCORES_PRELOAD": "", **environ}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("method", METHODS)
def test_a_context_for_each_method(method: str) -> None:
    ctx = allcores.get_context(method)
    assert ctx.get_start_method() == method
    assert ctx.get_context() is ctx
    assert allcores.get_context(method) is ctx
    assert pickle.loads(pickle.dumps(ctx)) is ctx
    for name in (type(ctx).__name__, ctx.Process.__name__):
        assert name.lower().startswith(method)
    for other in ("spawn", None):
        with pytest.raises(ValueError, match="cannot set the start method"):
            ctx.set_start_method(other)
    assert isinstance(ctx, multiprocessing.context.BaseContext)  # what torch takes


def test_what_there_is() -> None:
    assert allcores.get_all_start_methods() == list(METHODS)
    assert allcores.get_context("process").get_start_method() == "forkserver"
    assert allcores.get_context("thread").get_start_method() == "thread"
    assert allcores.get_context("serial").get_start_method() == "serial"
    assert pickle.loads(pickle.dumps(default_context)) is default_context
    with pytest.raises(ValueError, match=r"'teleport'.*fork, spawn, forkserver"):
        allcores.set_start_method("teleport", force=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_child_has_the_method_that_it_was_started_by(method: str) -> None:
    p = allcores.get_context(method).Process(target=allcores.get_start_method)
    p.start()
    assert p.result() == method
    p.close()


def test_names_that_were_imported_ask_when_they_are_called() -> None:
    assert run(
        "from allcores import Pool, Process, Queue, get_context, get_start_method, set_start_method, Lock\n"
        "Queue(), Lock()\n"
        "assert get_start_method(allow_none=True) is None\n"
        "set_start_method('spawn')\n"
        "p = Process(target=get_start_method); p.start(); print(p.result(), p.name)\n"
        "with Pool(1) as pool: print(pool.apply(get_start_method))\n"
        "print(get_context(), get_context('process'), type(p).__name__)\n"
    ).split("\n")[:-1] == [
        "spawn Process-1",
        "spawn",
        "<spawn context of allcores> <process context of allcores> Process",
    ]


@pytest.mark.parametrize(
    "use", ["get_context()", "get_start_method()", "Pool(1).terminate()", "set_start_method('fork')"]
)
def test_it_is_chosen_once(use: str) -> None:
    assert (
        run(
            f"import allcores as mp; mp.{use}\n"
            "try: mp.set_start_method('spawn')\n"
            "except RuntimeError as error: print(error)\n"
            "mp.set_start_method('spawn', force=True); print(mp.get_start_method())\n"
            "mp.set_start_method(None, force=True)\n"
            "print(mp.get_start_method(allow_none=True), mp.get_start_method())\n"
        )
        == "context has already been set: set_start_method() goes before the first use, or force=True\nspawn\n"
        "None forkserver\n"
    )


@pytest.mark.parametrize("context", ["thread", "serial"])
def test_the_environment_names_a_place_for_all_of_the_program(context: str) -> None:
    assert (
        run(
            "import allcores as mp, os; from allcores import Pool, Process\n"
            "mp.set_start_method('spawn')\n"
            "p = Process(target=os.getpid); p.start(); print(p.result() == os.getpid())\n"
            "with Pool(1) as pool: print(pool.apply(os.getpid) == os.getpid())\n"
            "print(mp.get_start_method(), mp.get_context(), mp.get_context('fork'), mp.get_context('process'))\n",
            ALLCORES_CONTEXT=context,
        )
        == f"True\nTrue\n{context} <{context} context of allcores> <{context} context of allcores> "
        "<process context of allcores>\n"
    )


def test_the_environment_names_a_start_method() -> None:
    code = "import allcores as mp; p = mp.Process(target=mp.get_start_method); p.start(); print(p.result())"
    assert run(code, ALLCORES_CONTEXT="spawn") == "spawn\n"


def test_a_context_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLCORES_CONTEXT", "moon")
    monkeypatch.setattr(chosen, "_name", None)
    with pytest.raises(
        allcores.UsageError, match=r"cannot find context for 'moon' in ALLCORES_CONTEXT: choose one of process, "
    ):
        default_context.Queue()


def test_the_errors_of_the_standard() -> None:
    ctx = allcores.get_context("spawn")
    for name in ("ProcessError", "AuthenticationError"):
        assert getattr(allcores, name) is getattr(ctx, name) is getattr(multiprocessing, name)
    for name in ("TimeoutError", "BufferTooShort"):
        assert getattr(allcores, name) is getattr(ctx, name)
        assert issubclass(getattr(ctx, name), multiprocessing.ProcessError)


def test_what_does_nothing_is_there() -> None:
    allcores.freeze_support()
    allcores.allow_connection_pickling()
    assert allcores.reducer is multiprocessing.reducer


def test_names_and_numbers_of_descendants() -> None:
    def describe(depth: int) -> list[Any]:
        me = allcores.current_process()
        said = [(me.name, me._identity)]
        if depth:
            p = allcores.Process(target=describe, args=(depth - 1,))
            p.start()
            said += p.result()
        return said

    first = allcores.Process(target=describe, args=(2,))
    first.start()
    n = first._identity[0]
    assert first.result() == [(f"Process-{n}{':1' * i}", (n,) + (1,) * i) for i in range(3)]


@pytest.mark.parametrize("kind", ["Pool", "Process"])
def test_modules_that_were_asked_for_are_there(tmp_path: Path, kind: str) -> None:
    (tmp_path / "useful.py").write_text("import os\npid = os.getpid()\n")
    (tmp_path / "hasty.py").write_text("import allcores\nlock = allcores.Lock()\n")
    code = (
        f"import sys, os, allcores as mp; sys.path.insert(0, {str(tmp_path)!r})\n"
        "ctx = mp.get_context('forkserver')\n"
        "ctx.set_forkserver_preload(['useful', 'hasty', 'missing', '__main__'])\n"
        "def there():\n"
        "    found = 'useful' in sys.modules, 'hasty' in sys.modules\n"
        "    import hasty, useful\n"
        "    return *found, useful.pid == os.getppid(), hasty.lock.acquire()\n"
        f"if {kind!r} == 'Pool':\n"
        "    with ctx.Pool(1) as pool: print(pool.apply(there))\n"
        "else:\n"
        "    p = ctx.Process(target=there); p.start(); print(p.result())\n"
    )
    assert run(code) == "(True, False, True, True)\n"


@pytest.mark.parametrize("names", [[1, 2], "numpy", [b"numpy"]])
def test_what_is_asked_for_are_names(names: Any) -> None:
    with pytest.raises(TypeError, match="module_names must be a list of strings"):
        allcores.set_forkserver_preload(names)


def test_another_interpreter(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.symlink_to(sys.executable)
    assert (
        run(
            "import sys, pathlib, allcores as mp\n"
            "def which():\n"
            "    p = mp.Process(target=lambda: sys.executable); p.start(); p.join(); return p.result()\n"
            f"for path in ({str(other)!r}, sys.executable.encode(), pathlib.Path({str(other)!r}), None):\n"
            "    mp.set_executable(path); print(which())\n"
        )
        == f"{other}\n{sys.executable}\n{other}\n{sys.executable}\n"
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_default_timeout_of_sockets_is_the_programs(method: str) -> None:
    """Ours wait as long as it takes."""
    assert (
        run(
            "import socket, allcores as mp\n"
            "socket.setdefaulttimeout(1e-6)\n"
            f"ctx = mp.get_context({method!r})\n"
            "def start(depth):\n"
            "    socket.setdefaulttimeout(1e-6)\n"
            "    p = ctx.Process(target=start, args=(depth - 1,)) if depth else None\n"
            "    if p: p.start(); p.result()\n"
            "    with ctx.Pool(1) as pool: return pool.apply(abs, (-depth,))\n"
            "print(start(2))\n"
        )
        == "2\n"
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_program_that_ignores_the_deaths_of_its_children(method: str) -> None:
    """Then the kernel does not keep how they ended; but the template is told of its own."""
    code = (
        "import os, signal, allcores as mp\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        f"ctx = mp.get_context({method!r})\n"
        "p = ctx.Process(target=abs, args=(-3,)); p.start(); print(p.result())\n"
        "p = ctx.Process(target=os._exit, args=(7,)); p.start(); p.join(); print(p.exitcode)\n"
        "with ctx.Pool(2) as pool: print(pool.map(abs, [-1, -2]))\n"
    )
    assert run(code) == f"3\n{255 if method == 'fork' else 7}\n[1, 2]\n"


FROZEN = """#!{python}
import sys
sys.frozen, sys.executable = True, __file__
import allcores as mp
{guard}
def job():
    return sys.argv, "job done"
if __name__ == "__main__":
    p = mp.Process(target=job)
    p.start()
    print(p.result())
"""


def frozen(folder: Path, guard: str) -> "subprocess.CompletedProcess[str]":
    """Run a program that is its own interpreter, as those that were frozen into an executable are."""
    program = folder / "program"
    program.write_text(FROZEN.format(python=sys.executable, guard=guard))
    program.chmod(0o755)
    return subprocess.run([str(program), "-x"], capture_output=True, text=True, timeout=50)


def test_a_frozen_program(tmp_path: Path) -> None:
    done = frozen(tmp_path, "mp.freeze_support()")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"({[str(tmp_path / 'program'), '-x']!r}, 'job done')\n"


def test_a_frozen_program_that_forgets_to_say_so_ends(tmp_path: Path) -> None:
    done = frozen(tmp_path, "")
    assert done.returncode == 1
    assert "has to call allcores.freeze_support() first" in done.stderr


def test_no_interpreter_is_known() -> None:
    code = (
        "import sys; sys.executable = None\n"
        "import allcores as mp\n"
        "try: mp.Process(target=int).start()\n"
        "except RuntimeError as error: print(error)\n"
    )
    assert run(code) == "sys.executable names no interpreter for processes: call allcores.set_executable(path)\n"
