"""The public face: what it costs to import, that names and errors are what they say."""

import importlib
import inspect
import pickle
import pkgutil
import queue
import subprocess
import sys

import pytest

import allcores
from allcores import _native, errors


def test_import_brings_nothing_heavy() -> None:
    code = "import sys, allcores; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("numpy", "matplotlib", "rich", "typer", "psutil", "cloudpickle", "multiprocessing"):
        assert f"'{heavy}'" not in loaded


def test_the_process_context_needs_no_numpy() -> None:
    code = "import sys, allcores; allcores.Pool(1).terminate(); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", [m.name for m in pkgutil.walk_packages(allcores.__path__, "allcores.")])
def test_all_is_true(name: str) -> None:
    if name.startswith("allcores.integrations."):
        pytest.importorskip(name, exc_type=ImportError)  # it needs the library that it is for
    for part, engine in (("dask", "distributed"), ("ray", "ray")):
        if name.startswith(f"allcores.contexts.{part}"):
            pytest.importorskip(engine)
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public}"


EXAMPLES: list[Exception] = [
    errors.UsageError("say it so"),
    errors.NotSupported("not here"),
    errors.WouldBlockForever("get() on an empty queue"),
    errors.ClusterDied("the scheduler cannot be reached any more"),
    errors.UnpicklableError("cannot send it"),
    errors.WorkerDied(17, -9, 3, "'item'", 1 << 30, True, "the last line", 2, 3.5),
    errors.OwnerDied(17, "Process-3", 1_000_000.5, "Lock-4"),
    errors.ConsumerDied([(17, "Process-3", 2), (18, "", 1)]),
    errors.DeadlockError([(17, "A", 17, "Lock-1", "a.py:1", "b.py:2"), (18, "B", 19, "Lock-2", "", "")]),
    errors.InitializerFailed("the initializer raised"),
    errors.ExecutorWorkerDied(17, -9, None, "'item'"),
    errors.ExecutorBroken("the initializer raised"),
    errors.PoolTerminated("too late"),
    errors.CheckpointError("run.db", "is damaged"),
    errors.CheckpointMismatch("run.db", "the function is another one now"),
    errors.RemoteTraceback("Traceback ..."),
    errors.TimeoutError("not in time"),
    errors.TaskTimeout(0.5, 0.6, 7, "'item'", 17, 2),
    errors.BufferTooShort(b"the bytes"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)
def test_errors_travel_with_their_fields(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_error_has_an_example() -> None:
    named = [getattr(errors, name) for name in errors.__all__]
    defined = {cls for cls in named if issubclass(cls, Exception)}
    assert defined == {type(e) for e in EXAMPLES}
    assert all(inspect.getdoc(cls) for cls in named)


def test_parents_are_what_existing_code_catches() -> None:
    import concurrent.futures.process
    import multiprocessing

    assert issubclass(allcores.TimeoutError, multiprocessing.TimeoutError)
    assert issubclass(allcores.TimeoutError, TimeoutError)
    assert issubclass(allcores.TaskTimeout, allcores.TimeoutError)
    assert issubclass(allcores.BufferTooShort, multiprocessing.BufferTooShort)
    for error in (allcores.ExecutorWorkerDied, allcores.ExecutorBroken):
        assert issubclass(error, concurrent.futures.process.BrokenProcessPool)
    with pytest.raises(queue.Empty):
        allcores.Queue().get_nowait()


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [(-9, "SIGKILL"), (-11, "SIGSEGV"), (3, "exit code 3"), (None, "unknown"), (-200, "signal 200")],
)
def test_worker_died_says_how(exitcode: int | None, words: str) -> None:
    assert words in str(errors.WorkerDied(1, exitcode))


def test_the_stub_names_what_the_core_has() -> None:
    import ast
    from pathlib import Path

    tree = ast.parse((Path(allcores.__file__).parent / "_native.pyi").read_text())
    stub: dict[str, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            members = {m.name for m in node.body if isinstance(m, ast.FunctionDef)}
            members |= {
                m.target.id for m in node.body if isinstance(m, ast.AnnAssign) and isinstance(m.target, ast.Name)
            }
            stub[node.name] = {m for m in members if not m.startswith("__")}
        elif isinstance(node, ast.FunctionDef):
            stub[node.name] = set()
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            stub[node.target.id] = set()
    real = {name: value for name, value in vars(_native).items() if not name.startswith("__")}
    assert set(stub) == set(real)
    for name, value in real.items():
        if isinstance(value, type):
            assert stub[name] == {m for m in vars(value) if not m.startswith("__")}, name
