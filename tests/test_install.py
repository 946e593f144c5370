"""install(): who asks the standard library is answered by allcores, but not its own modules; uninstall() undoes it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PATIENCE = 45


def program(text: str, cwd: Path) -> str:
    """What a program prints that does this. Each is a process of its own: what it does to the library is for good."""
    command = [sys.executable, "-c", textwrap.dedent(text)]
    environ = os.environ | {"ALLCORES_PRELOAD": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=cwd, env=environ)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def test_before_and_after_the_import(tmp_path: Path) -> None:
    for order in ("import multiprocessing; allcores.install()", "allcores.install(); import multiprocessing"):
        text = f"""
            import allcores
            {order}
            import concurrent.futures
            for name in ("Process", "Pool", "Queue", "Value", "active_children", "wait"):
                theirs = getattr(multiprocessing, name, None)
                print(name, theirs == getattr(allcores, name))
            print(concurrent.futures.ProcessPoolExecutor.__module__.partition(".")[0])
            from multiprocessing.connection import wait
            print(wait == allcores.wait)
        """
        names = "Process True\nPool True\nQueue True\nValue True\nactive_children True\nwait False\n"
        assert program(text, tmp_path) == names + "allcores\nTrue\n"


def test_uninstall_gives_everything_back(tmp_path: Path) -> None:
    text = """
        import sys, allcores
        import multiprocessing.pool, multiprocessing.connection, multiprocessing.queues, multiprocessing.sharedctypes
        import multiprocessing.managers, multiprocessing.shared_memory, concurrent.futures.process
        def names():
            found = {}
            for module in list(sys.modules):
                if module.startswith(("multiprocessing", "concurrent.futures")):
                    found |= {(module, name): value for name, value in vars(sys.modules[module]).items()}
            return found
        before, finders = names(), list(sys.meta_path)
        allcores.install()
        allcores.install()
        changed = {key for key, value in names().items() if before.get(key) is not value}
        print(("multiprocessing", "Pool") in changed, len(changed) > 20)
        allcores.uninstall()
        allcores.uninstall()
        print({key for key, value in names().items() if before.get(key) is not value} - set(before) or "none")
        print([key for key, value in before.items() if names()[key] is not value], finders == sys.meta_path)
        import concurrent.futures
        print(type(multiprocessing.Queue()).__module__, concurrent.futures.ProcessPoolExecutor.__module__)
    """
    expected = "True True\nnone\n[] True\nmultiprocessing.queues concurrent.futures.process\n"
    assert program(text, tmp_path) == expected


@pytest.mark.parametrize("first", ["multiprocessing", "allcores"])
def test_what_is_made_from_the_standards(first: str, tmp_path: Path) -> None:
    """Managers and shared memory of ours inherit from the standard's, whichever is imported first."""
    text = f"""
        import allcores
        allcores.install()
        import {first}.managers, {first}.shared_memory
        import multiprocessing, multiprocessing.managers as managers, multiprocessing.shared_memory as shared_memory
        import multiprocessing.sharedctypes as sharedctypes
        print(managers.SyncManager.__module__, shared_memory.SharedMemory.__module__)
        with multiprocessing.Manager() as manager:
            print(isinstance(manager, managers.BaseManager), manager.list([1, 2])[1])
        memory = shared_memory.SharedMemory(create=True, size=8)
        memory.close()
        memory.unlink()
        value = sharedctypes.synchronized(sharedctypes.RawValue("i", 7))
        print(type(value).__module__.partition(".")[0], value.value)
        print(sharedctypes.copy(__import__("ctypes").c_int(8)))
        print(multiprocessing.Array("i", [9], lock=__import__("threading").RLock())[:])
        allcores.uninstall()
        print(managers.SyncManager.__module__, allcores.managers.SyncManager.__module__)
    """
    expected = "allcores.managers allcores.shared_memory\nTrue 2\nallcores 7\nc_int(8)\n[9]\n"
    assert program(text, tmp_path) == expected + "multiprocessing.managers allcores.managers\n"


@pytest.mark.parametrize(
    "lines",
    [
        "import multiprocessing; from multiprocessing.pool import Pool, ThreadPool",
        "import multiprocessing; multiprocessing.Pool; from multiprocessing.pool import Pool, ThreadPool",
    ],
)
def test_pools_are_classes(lines: str, tmp_path: Path) -> None:
    text = f"""
        import allcores
        allcores.install()
        {lines}
        class Plain(multiprocessing.Process):
            daemon = property(lambda self: False, lambda self, value: None)
        class Own(type(multiprocessing.get_context("spawn"))):
            Process = Plain
        class Mine(Pool):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, context=Own(), **kwargs)
        def job(n):
            with multiprocessing.Pool(1) as pool:
                return pool.apply(abs, (n,))
        with Mine(2) as pool, ThreadPool(2) as threads, Pool(2) as plain:
            print(pool.map(job, [-1, -2]), threads.map(abs, [-3]), plain.map(abs, [-4]), isinstance(pool, Pool))
    """
    assert program(text, tmp_path) == "[1, 2] [3] [4] True\n"


def test_what_somebody_has_set_since_is_not_given_back(tmp_path: Path) -> None:
    text = """
        import allcores, multiprocessing
        allcores.install()
        multiprocessing.Pool = mine = object()
        allcores.uninstall()
        print(multiprocessing.Pool is mine)
    """
    assert program(text, tmp_path) == "True\n"


def test_parts_with_a_context_of_ours(tmp_path: Path) -> None:
    text = """
        import allcores, pickle
        allcores.install()
        import multiprocessing.context, multiprocessing.queues as queues, multiprocessing.synchronize as synchronize
        context = multiprocessing.get_context()
        print(type(queues.Queue(5, ctx=context)).__module__, queues.Queue(5, ctx=context).bound)
        print(type(queues.SimpleQueue(ctx=context)).__module__, type(synchronize.Lock(ctx=context)).__module__)
        theirs = multiprocessing.context.SpawnContext()
        queue = theirs.Queue()
        queue.put(1)
        print(type(queue).__module__, type(theirs.Lock()).__module__, queue.get())
        queue.close()
        queue.join_thread()
        class Mine(queues.Queue):
            pass
        print(isinstance(Mine(ctx=theirs), queues.Queue), pickle.loads(pickle.dumps(queues.Queue)) is queues.Queue)
    """
    expected = "allcores.queues 5\nallcores.queues allcores.sync\n"
    assert program(text, tmp_path) == expected + "multiprocessing.queues multiprocessing.synchronize 1\nTrue True\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_classes_made_of_the_standards_parts_with_a_context_of_ours(tmp_path: Path, method: str) -> None:
    text = f"""
        import allcores
        allcores.install()
        import multiprocessing, multiprocessing.queues, multiprocessing.synchronize
        multiprocessing.set_start_method({method!r})
        class Mine(multiprocessing.queues.Queue):
            def __init__(self, ctx):
                super().__init__(ctx=ctx)
                self.extra = 5
        class Guard(multiprocessing.synchronize.Lock):
            pass
        for ctx in (multiprocessing.get_context(), multiprocessing):
            queue, guard = Mine(ctx), Guard(ctx=ctx)
            with guard:
                process = multiprocessing.Process(target=queue.put, args=(1,))
                process.start()
                print(type(queue).__name__, queue.get(), queue.extra)
                process.join()
    """
    assert program(text, tmp_path) == "Mine 1 5\n" * 2


def test_contexts_of_others_are_found(tmp_path: Path) -> None:
    text = """
        import allcores
        allcores.install()
        import multiprocessing, multiprocessing.context
        class Theirs(multiprocessing.context.BaseContext):
            _name = "theirs"
        multiprocessing.context._concrete_contexts["theirs"] = Theirs()
        print(*(type(multiprocessing.get_context(name)).__name__ for name in ("theirs", "spawn", None)))
        try:
            multiprocessing.get_context("nowhere")
        except ValueError as error:
            print(str(error)[:33])
    """
    assert program(text, tmp_path) == "Theirs SpawnContext ProcessContext\ncannot find context for 'nowhere'\n"


def test_functions_answer_by_who_calls(tmp_path: Path) -> None:
    text = """
        import allcores
        allcores.install()
        import multiprocessing.context
        from multiprocessing.connection import Pipe
        from multiprocessing.sharedctypes import RawArray, Value
        theirs = multiprocessing.context.ForkContext()
        for made in (Pipe()[0], Value("i", 1), RawArray("i", 2), Value("i", 3, ctx=theirs), theirs.Value("i", 4)):
            print(type(made).__module__)
        reader, writer = theirs.Pipe()
        writer.send(1)
        print(type(reader).__module__, allcores.wait([reader]) == [reader], reader.recv())
    """
    modules = program(text, tmp_path).split()
    assert [name.partition(".")[0] for name in modules[:3]] == ["allcores"] * 3
    assert modules[3:] == ["multiprocessing.sharedctypes"] * 2 + ["multiprocessing.connection", "True", "1"]


def test_a_submodule_is_there_without_having_been_imported(tmp_path: Path) -> None:
    text = """
        import allcores
        allcores.install()
        import multiprocessing
        print(multiprocessing.pool.ThreadPool(1).apply(abs, (-1,)), hasattr(multiprocessing, "no_such"))
    """
    assert program(text, tmp_path) == "1 False\n"


OURS = "('allcores.queues', 'allcores.pool.executor')\n"
THEIRS = "('multiprocessing.queues', 'concurrent.futures.process')\n"


def test_children_and_theirs_are_as_their_parent(tmp_path: Path) -> None:
    text = """
        import allcores
        def look():
            import multiprocessing, concurrent.futures
            return type(multiprocessing.Queue()).__module__, concurrent.futures.ProcessPoolExecutor.__module__
        def nested():
            p = allcores.Process(target=look)
            p.start()
            return p.result()
        def show():
            for target in (look, nested):
                p = allcores.Process(target=target)
                p.start()
                print(p.result())
            with allcores.Pool(1) as pool:
                print(pool.apply(look))
        show()
        allcores.install()
        show()  # the pool's worker is the one of before
        allcores.uninstall()
        show()
    """
    assert program(text, tmp_path) == THEIRS * 3 + OURS * 3 + THEIRS * 3


def test_large_packages_of_a_template_too(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "large"
    package.mkdir(parents=True)
    for i in range(260):
        (package / f"part{i}.py").write_text("")
    imports = "".join(f"from . import part{i}\n" for i in range(260))
    (package / "__init__.py").write_text("from multiprocessing import Queue\n" + imports)
    text = f"""
        import sys
        sys.path.insert(0, {str(package.parent)!r})
        import allcores
        allcores.install()
        import large
        def look():
            import sys
            return "large.part7" in sys.modules, type(sys.modules["large"].Queue()).__module__
        with allcores.Pool(1) as pool:
            print(pool.apply(look))
    """
    assert program(text, tmp_path) == "(True, 'allcores.queues')\n"


# What a program does with the class, and what it prints.
EXECUTORS = {
    "2": "with ProcessPoolExecutor(2, multiprocessing.get_context('spawn'), str, ('x',)) as e:\n"
    "    print(e.submit(abs, -2).result())",
    "True 3": "class Mine(ProcessPoolExecutor): pass\n"
    "e = Mine(max_workers=1)\n"
    "print(isinstance(e, ProcessPoolExecutor), e.submit(abs, -3).result())",
    "True False": "e = allcores.Executor(1)\n"
    "class Mine(ProcessPoolExecutor): pass\n"
    "print(isinstance(e, ProcessPoolExecutor), isinstance(e, Mine))",
    "ExecutorWorkerDied": "try:\n"
    "    ProcessPoolExecutor(1).submit(os._exit, 3).result()\n"
    "except BrokenProcessPool as error:\n"
    "    print(type(error).__name__)",
    "4": "e = ProcessPoolExecutor(1, max_tasks_per_child=1)\n"
    "print(len({e.submit(os.getpid).result() for _ in range(4)}))",
    "refused": "try:\n    ProcessPoolExecutor(0)\nexcept ValueError:\n    print('refused')",
}


@pytest.mark.parametrize("expected", EXECUTORS)
def test_the_executor_is_a_class(expected: str, tmp_path: Path) -> None:
    imports = (
        "import allcores, multiprocessing, os\nallcores.install()\n"
        "from concurrent.futures import ProcessPoolExecutor\nfrom concurrent.futures.process import BrokenProcessPool\n"
    )
    assert program(imports + EXECUTORS[expected], tmp_path) == expected + "\n"
