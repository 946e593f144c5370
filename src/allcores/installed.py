"""install(): from then on ``multiprocessing`` and ``concurrent.futures.ProcessPoolExecutor`` answer with allcores.

    program, packages ──▶ multiprocessing.Pool ── attribute ──▶ allcores.Pool
                          multiprocessing.queues.Queue(ctx=ours) ── __new__ ──▶ ours.Queue()
                          multiprocessing.connection.Pipe() ── by who calls ──▶ ours.Pipe(), or its own
    the standard's own modules ──────────────────────────────▶ the standard's

Attributes of the standard's modules are replaced, when they are there or as soon as they are imported; no module is.
Its classes of parts stay what they are: others inherit from their insides, and pickle them by name. Its own modules
keep its own functions: a manager, or the executor of loky, works as ever.
"""

from __future__ import annotations

import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

from allcores.onimport import WhenImported

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ("adopt", "install", "is_installed", "surroundings", "uninstall")

_STANDARD = "multiprocessing"
_FUTURES = "concurrent.futures.process"

# Of the standard's modules: names that another object takes, and the module of ours that has it.
_TAKEN = {
    "multiprocessing.pool": (("Pool", "ThreadPool"), "allcores.pool"),
    "multiprocessing.connection": (("wait",), "allcores"),
    "multiprocessing.shared_memory": (("SharedMemory", "ShareableList"), "allcores.shared_memory"),
    "multiprocessing.managers": (("BaseManager", "SyncManager", "SharedMemoryManager"), "allcores.managers"),
    _FUTURES: (("ProcessPoolExecutor",), "allcores.pool.executor"),
}
# Those of ours that are made from the standard's: which are to be imported before their names are taken.
_MADE_FROM = {
    "allcores.shared_memory": "multiprocessing.shared_memory",
    "allcores.managers": "multiprocessing.managers",
}
# Functions that the standard's own modules call too, and must not find changed.
_BY_CALLER = {
    "multiprocessing.connection": ("Pipe",),
    "multiprocessing.sharedctypes": ("Value", "Array", "RawValue", "RawArray"),
}
# Functions of a thing that may be ours.
_BY_ARGUMENT = {"multiprocessing.sharedctypes": ("copy", "synchronized")}
# Classes that are called with a context. One of ours makes its own thing of that name.
_BY_CONTEXT = {
    "multiprocessing.queues": ("Queue", "JoinableQueue", "SimpleQueue"),
    "multiprocessing.synchronize": (
        *("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore"),
    ),
}
_MISSING = object()


# What was done, to be undone: module, name, what it was, what it is now.
_replaced: list[tuple[Any, str, Any, Any]] = []


def install() -> None:
    """Have ``multiprocessing`` and ``concurrent.futures.ProcessPoolExecutor`` answer with allcores, in this program.

    In this process, in those that it starts from now on by allcores, and for packages of others too; not for a module
    that has done ``from multiprocessing import Pool`` before: so call it first. The context is the default one of
    ``allcores``, or the one whose start method a program asks for. Can be called twice. ``allcores run`` calls it.
    """
    if is_installed():
        return
    _watch.watch()
    for name in [name for name in sys.modules if _is_standard(name)]:
        _patch(sys.modules[name])


def uninstall() -> None:
    """Give the standard library its own names back. What was made meanwhile stays as it is. Can be called twice."""
    if is_installed():
        _watch.stop()
    while _replaced:
        module, name, before, now = _replaced.pop()
        if vars(module).get(name) is now:  # else somebody has set it since
            if before is _MISSING:
                delattr(module, name)
            else:
                setattr(module, name, before)


def is_installed() -> bool:
    """Whether the standard library answers with allcores here."""
    return _watch.is_watching()


# Where all processes of the program count what they use; None: nobody has asked for a report.
counts: Any = None


def surroundings() -> tuple[bool, Any]:
    """What a child has to ``adopt``."""
    return is_installed(), counts


def adopt(active: bool, its_counts: Any) -> None:
    """In a child: be as its parent is."""
    if its_counts is not None:
        _import("allcores.record").join(its_counts)
    if active:
        install()
    else:
        uninstall()


def _is_standard(name: str) -> bool:
    return name in (_STANDARD, _FUTURES) or name.startswith(_STANDARD + ".")


def _patch(module: ModuleType) -> None:
    """Replace what is to be replaced in a module of the standard's, which has just been imported or was there."""
    name = module.__name__
    if name == _STANDARD:
        _patch_package(module)
        return
    _keep_its_own(module)
    for each in _BY_CALLER.get(name, ()):
        _replace(module, each, _by_caller(getattr(module, each), each))
    for each in _BY_ARGUMENT.get(name, ()):
        _replace(module, each, _by_argument(getattr(module, each), each))
    for each in _BY_CONTEXT.get(name, ()):
        _ask_the_context(getattr(module, each), each)
    _take_all(module)


def _take_all(module: ModuleType) -> None:
    names, ours = _TAKEN.get(module.__name__, ((), ""))
    for each in names:
        _take(module, each, ours)
    if module.__name__ == _FUTURES:  # which the package above has a copy of once it was asked for it
        package = sys.modules["concurrent.futures"]
        if "ProcessPoolExecutor" in vars(package):
            _take(package, "ProcessPoolExecutor", ours)


def _is_awaited(name: str) -> bool:
    return _is_standard(name) or name in _MADE_FROM


def _patch_imported(name: str) -> None:
    if name in _MADE_FROM:
        _take_all(sys.modules[_MADE_FROM[name]])
    else:
        _patch(sys.modules[name])


_watch = WhenImported(_is_awaited, _patch_imported)


def _take(module: ModuleType, name: str, ours: str) -> None:
    found = vars(_import(ours)).get(name, _MISSING) if ours in _MADE_FROM else getattr(_import(ours), name)
    if found is not _MISSING:  # else it is being imported: then it is taken when that is done
        _replace(module, name, found)


def _replace(module: ModuleType, name: str, now: Any) -> None:
    before = vars(module).get(name, _MISSING)
    if before is not now:
        _replaced.append((module, name, before, now))
        setattr(module, name, now)


def _patch_package(package: ModuleType) -> None:
    context = _contexts().default_context
    for name in package.__all__:
        theirs, ours = getattr(package, name), getattr(context, name, _MISSING)
        is_error = isinstance(theirs, type) and issubclass(theirs, Exception)
        # Its errors are the parents of ours: who catches them, catches both. What is no function or class, is its own.
        if ours is not _MISSING and callable(theirs) and not is_error:
            _replace(package, name, ours)
    _replace(package, "get_context", _or_registered(package.get_context))
    _replace(package, "__getattr__", _submodule)


def _or_registered(ours: Callable[..., Any]) -> Callable[..., Any]:
    """Contexts of others, as that of loky, are registered in the standard's table, beside its own."""
    table = _import("multiprocessing.context")._concrete_contexts

    @wraps(ours)
    def get_context(method: str | None = None) -> Any:
        found = table.get(method)
        if found is not None and type(found).__module__ != "multiprocessing.context":
            return found
        return ours(method)

    return get_context


def _submodule(name: str) -> Any:
    """``multiprocessing.pool`` after ``multiprocessing.Pool()``, which used to import it."""
    if not name.startswith("_"):
        try:
            return _import(f"{_STANDARD}.{name}")
        except ModuleNotFoundError:
            pass
    raise AttributeError(f"module {_STANDARD!r} has no attribute {name!r}")


def _keep_its_own(module: ModuleType) -> None:
    """The standard's own modules have imported from each other what is ours by now: they are to have its own."""
    before = {id(now): was for _module, _name, was, now in _replaced if was is not _MISSING}
    for name, value in list(vars(module).items()):
        if id(value) in before and value is not before[id(value)]:
            setattr(module, name, before[id(value)])


def _by_caller(theirs: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(theirs)
    def answer(*args: Any, ctx: Any = None, **kwargs: Any) -> Any:
        context = _ours(ctx)
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if context is None or _is_standard(caller) or caller.startswith("allcores."):
            return theirs(*args, **kwargs) if ctx is None else theirs(*args, ctx=ctx, **kwargs)
        return getattr(context, name)(*args, **kwargs)

    return answer


def _by_argument(theirs: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(theirs)
    def answer(obj: Any, *args: Any, **kwargs: Any) -> Any:
        # A type of ctypes is of the module that asked for it.
        is_ours = type(obj).__module__.startswith("allcores.") and not hasattr(type(obj), "from_buffer")
        function = getattr(_import("allcores.sharedctypes"), name) if is_ours else theirs
        return function(obj, *args, **kwargs)

    return answer


def _ask_the_context(theirs: Any, name: str) -> None:
    """Have the class itself make what the context that is given makes. One that inherits from it is made of the
    standard's parts, whichever context it is given: its methods are the standard's, and work with those.
    """
    if "__new__" in vars(theirs):  # it stays: to take it away again is not the same as not to have had it
        return

    def new(cls: Any, *args: Any, ctx: Any = None, **kwargs: Any) -> Any:
        context = _ours(ctx) if cls is theirs and ctx is not None and is_installed() else None
        return object.__new__(cls) if context is None else getattr(context, name)(*args, **kwargs)

    begin = theirs.__init__

    @wraps(begin)
    def init(self: Any, *args: Any, ctx: Any = None, **kwargs: Any) -> None:
        if ctx is not None and _ours(ctx) is not None:
            ctx = _import("multiprocessing.context")._concrete_contexts["spawn"]  # whose parts travel to any process
        begin(self, *args, ctx=ctx, **kwargs)

    theirs.__new__, theirs.__init__ = new, init


def _ours(context: Any) -> Any:
    """The context of ours that this is, or that stands for none or for the package; None if it is another's."""
    contexts = _contexts()
    if context is None or context is sys.modules.get(_STANDARD):
        return contexts.default_context
    return context if issubclass(type(context), contexts.Context) else None


def _contexts() -> Any:
    return _import("allcores.context")


def _import(name: str) -> Any:
    """A module that lies far above this one, which is there before anything of ours or theirs is."""
    import importlib

    return importlib.import_module(name)
