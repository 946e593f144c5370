"""``allcores run``: a program as ``python`` would run it, whose ``multiprocessing`` answers with allcores.

The program is ``__main__`` for good, not for a while: what runs at exit, or in a thread, still finds it. Its traceback
begins with its own first line, and however it ends is how this process ends.
"""

from __future__ import annotations

import io
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("USAGE", "run_command")

USAGE = """\
usage: allcores run [--context NAME] [--report] script.py [args ...]
       allcores run [--context NAME] [--report] -m module [args ...]
       allcores run [--context NAME] [--report] -c code [args ...]
       allcores run [--context NAME] [--report] - [args ...]

Run a program as python would, with multiprocessing and concurrent.futures.ProcessPoolExecutor
answered by allcores, in all packages that it uses and in all processes that it starts.

options:
  --context NAME  where the work runs: fork, forkserver, spawn, thread or serial
  --report        say afterwards, on stderr, what was used and how fast it was
  -m, -c, -       the program is a module or package, is given here, or comes from stdin, as with python
  -h, --help      print this and leave
"""


class Order(NamedTuple):
    """What the command line asks for."""

    context: str | None
    report: bool
    kind: str  # "" or "-m", "-c", "-"
    program: str
    args: list[str]


def run_command(argv: Sequence[str]) -> int:
    """Run the program that the command line names. Its exit code, if it comes to its end; else as it ends.

    Args:
        argv: what follows ``allcores run``.
    """
    try:
        order = _read(argv)
        if order is None:
            sys.stdout.write(USAGE)
            return 0
        begin = _PREPARE[order.kind](order)
        _set_up(order)
    except UsageError as error:
        print(f"allcores: {error}", file=sys.stderr)
        return 2
    _run(begin)
    return 0


def _read(argv: Sequence[str]) -> Order | None:
    """The command line; None: it asks for help. Options end where the program begins: what follows is the program's."""
    context, report, words = None, False, list(argv)
    while words:
        word = words.pop(0)
        name, given, value = word.partition("=")
        if word in ("-h", "--help"):
            return None
        if name == "--context":
            if not given and not words:
                raise UsageError("--context needs the name of a context: allcores run --context thread script.py")
            context = value if given else words.pop(0)
        elif word == "--report":
            report = True
        elif word in _NEEDS:
            if not words:
                raise UsageError(f"{word} needs {_NEEDS[word]}")
            return Order(context, report, word, words[0], words[1:])
        elif word == "-":
            return Order(context, report, word, word, words)
        elif word.startswith("-") and word != "--":
            raise UsageError(f"no option {word!r}: options of the program come after its name; see allcores run --help")
        elif word != "--":
            return Order(context, report, "", word, words)
    raise UsageError("no program to run: allcores run script.py, or allcores run -m module")


_NEEDS = {
    "-m": "the name of a module: allcores run -m package.module",
    "-c": "a program: allcores run -c 'print(1)'",
}


def _set_up(order: Order) -> None:
    from allcores import context, installed

    if order.context is not None:
        if order.context not in context.get_all_contexts():
            names = ", ".join(context.get_all_contexts())
            raise UsageError(f"no context {order.context!r}: choose one of {names}")
        os.environ["ALLCORES_CONTEXT"] = order.context
    if order.report:
        from allcores import record

        record.begin()
    installed.install()


def _prepare_script(order: Order) -> Callable[[], object]:
    """What runs a file, or a folder or archive with a ``__main__.py``, and everything as it expects it."""
    path = os.path.abspath(order.program)
    sys.argv[:] = [order.program, *order.args]
    if not os.path.isfile(path) or _is_archive(path):
        if not os.path.exists(path):
            raise UsageError(f"cannot open {order.program}: there is no such file")
        _go_to(path)
        _become_main()
        return lambda: _run_as_main("__main__", False)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise UsageError(f"cannot open {order.program}: {error.strerror}") from error
    _go_to(os.path.dirname(os.path.realpath(path)))
    main = _become_main()
    main.__file__ = path
    main.__dict__["__cached__"] = None
    from importlib.machinery import SourceFileLoader

    main.__loader__ = SourceFileLoader("__main__", path)
    return lambda: exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)


def _prepare_module(order: Order) -> Callable[[], object]:
    sys.argv[:] = ["-m", *order.args]
    _go_to(os.getcwd())
    _become_main()
    return lambda: _run_as_main(order.program, True)


def _prepare_code(order: Order) -> Callable[[], object]:
    if sys.version_info >= (3, 13):  # whose tracebacks show its lines
        import linecache

        linecache.cache["<string>"] = len(order.program), None, order.program.splitlines(True), "<string>"
    return _prepare_text(order, order.program, "<string>")


def _prepare_input(order: Order) -> Callable[[], object]:
    """All of stdin, as where it is no terminal."""
    begin = _prepare_text(order, sys.stdin.buffer.read() if sys.stdin is not None else b"", "<stdin>")
    sys.modules["__main__"].__dict__.update(__file__="<stdin>", __cached__=None)
    return begin


def _prepare_text(order: Order, source: str | bytes, name: str) -> Callable[[], object]:
    from importlib.machinery import BuiltinImporter

    sys.argv[:] = [order.kind, *order.args]
    _go_to("")
    main = _become_main()
    main.__loader__ = BuiltinImporter  # the class itself: so says python
    return lambda: exec(compile(source, name, "exec", dont_inherit=True), main.__dict__)


_PREPARE = {"": _prepare_script, "-m": _prepare_module, "-c": _prepare_code, "-": _prepare_input}


def _run_as_main(name: str, alter_argv: bool) -> None:
    import runpy

    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined] # what python -m itself calls


def _is_archive(path: str) -> bool:
    import zipfile  # only of a file, and there are no quick ones

    return not path.endswith((".py", ".pyw")) and zipfile.is_zipfile(path)


def _go_to(place: str) -> None:
    """The program's place is where imports look first; until now it was the command's."""
    if not sys.flags.safe_path:
        sys.path[0] = place


_command = sys.modules["__main__"]  # held: its frames still run


def _become_main() -> ModuleType:
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=sys.modules["builtins"], __annotations__={})
    sys.modules["__main__"] = main
    return main


def _run(begin: Callable[[], object]) -> None:
    """Run the program. Whatever it raises ends this process, as it would end its own."""
    try:
        begin()
    except SystemExit:
        raise
    except BaseException as error:
        _tell(error)
        raise


def _tell(error: BaseException) -> None:
    """Print the traceback from the program's first frame on; by the program's own hook, if it has one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") == __name__:
        trace = trace.tb_next
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace  # as the interpreter does
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    # The interpreter is to end by it all the same: Ctrl-C is not only an exit code.
    sys.excepthook = _say_nothing


def _say_nothing(*_told: Any) -> None:
    pass
