"""From what was typed on the command line to functions, items and arguments."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from allcores.comparison.units import short_repr
from allcores.errors import UsageError

__all__ = ("find_function", "find_items", "literal_or_text")

_files: dict[Path, ModuleType] = {}  # a file named twice, for the function and for its items, runs once


def find_function(target: str) -> tuple[Callable[..., Any], ModuleType]:
    """The function that ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION`` names, and the module it was found in.

    Runs the module's or file's top level, not as ``__main__``.

    Raises:
        UsageError: there is no such thing; the message says which part of the target is wrong.
    """
    found, module = _find(target, "MODULE:FUNCTION or FILE.py:FUNCTION")
    if not callable(found):
        raise UsageError(f"{target} is not a function but {short_repr(found)}")
    return found, module


def find_items(over: str | None, count: int | None, module: ModuleType) -> list[Any]:
    """The items that were asked for: ``--over``, ``--items``, or what ``items()`` beside the function gives.

    Raises:
        UsageError: both or none were given, or what was given is nothing to go over.
    """
    if over is not None and count is not None:
        raise UsageError("--items and --over were both given: --items N means range(N), --over names the items")
    if count is not None:
        return list(range(count))
    if over is not None:
        return _listed(_evaluate(over), f"--over {over}")
    if not hasattr(module, "items"):
        raise UsageError(
            "the job has no items: give --items N for range(N) or --over ITERABLE, "
            "or define items() beside the function"
        )
    return _listed(module.items, "items() beside the function")


def literal_or_text(text: str) -> Any:
    """The Python literal that ``text`` is, else the text itself: 3, 'a', [1, 2], but also plain words."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _evaluate(over: str) -> Any:
    if (span := _range(over)) is not None:
        return span
    try:
        return ast.literal_eval(over)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        expected = "range(N), a Python literal, MODULE:NAME or FILE.py:NAME"
        return _find(over, expected, option="--over ")[0]


def _range(text: str) -> range | None:
    """The range that ``text`` spells, with whole numbers only: nothing else that is typed gets evaluated."""
    if not text.strip().startswith("range("):
        return None
    cure = "write range(stop), range(start, stop) or range(start, stop, step) with whole numbers"
    try:
        call = ast.parse(text.strip(), mode="eval").body
        plain = isinstance(call, ast.Call) and not call.keywords and ast.unparse(call.func) == "range"
        numbers = [ast.literal_eval(argument) for argument in call.args] if isinstance(call, ast.Call) else []
    except (ValueError, SyntaxError):
        plain = False
    if not plain:
        raise UsageError(f"--over {text} is no plain range: {cure}")
    try:
        return range(*numbers)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--over {text} is no range: {error}; {cure}") from error


def _listed(value: Any, what: str) -> list[Any]:
    try:
        if callable(value):
            value = value()
        if not isinstance(value, Iterable):
            raise UsageError(f"{what} is not iterable: it gave {short_repr(value)}")
        return list(value)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what} failed: {_line(error)}") from error


def _find(target: str, expected: str, option: str = "") -> tuple[Any, ModuleType]:
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise UsageError(f"{option}{target} names nothing: write {expected}")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UsageError(f"{place} has no {name!r}: {_offer(module)}") from None
    return found, module


def _load_module(name: str) -> ModuleType:
    # As ``python -m`` does: the console script has its own folder in sys.path instead.
    _add_to_path(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(f"there is no module {name!r}: for a file write FILE.py:FUNCTION") from error
        raise UsageError(f"{name} could not be imported: {_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name} could not be imported: {_line(error)}") from error


def _load_file(path: Path) -> ModuleType:
    """Run a file as a module that no import can find: what it defines then travels to the workers by value.

    Were it registered in sys.modules, pickle would send a name that the workers cannot import.
    """
    path = path.resolve()
    if path in _files:
        return _files[path]
    module = ModuleType(f"<{path.stem}>")
    module.__file__ = str(path)
    code = _compile(path)
    _add_to_path(str(path.parent))
    sys.modules[module.__name__] = module  # dataclasses look themselves up while they are being defined
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} could not be loaded: {_line(error)}") from error
    finally:
        del sys.modules[module.__name__]
    _files[path] = module
    return module


def _compile(path: Path) -> CodeType:
    try:
        return compile(path.read_bytes(), str(path), "exec")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{path} could not be read: {_line(error)}") from error


def _add_to_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _offer(module: ModuleType) -> str:
    """What a user may have meant: the functions that the module itself defines."""
    names = [
        name
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return f"it has {', '.join(sorted(names)[:10])}" if names else "it defines no functions"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
