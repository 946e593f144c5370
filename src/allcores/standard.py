"""The standard library's ``multiprocessing``, where a program uses it beside this package.

    one key     made once for a program, by whoever of the two is asked first; every child finds it with its job. The
                standard's managers, Listener and Client know each other by it, in all processes alike
    one name    of a process, and its parent, whichever of the two is asked
    reducers    what is registered with the standard's pickler holds for ours
    Spawning    while a Process of ours is pickled: locks, queues, connections and sockets of the standard's may travel,
                and the descriptors of these go with the request to the template
    one main    a worker of the standard's executor, which is sent functions of ``__main__`` by name, finds them as it
                does there: the program's script is run in it under another name
    one logger  that of ``get_logger``: a child's is as its parent's
    one end     of a process: what the standard's exit does, ours does first

Nothing here imports ``multiprocessing`` before it is there, or its key is asked for.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from types import MethodDescriptorType, MethodType, WrapperDescriptorType
from typing import TYPE_CHECKING, Any, Self

from allcores.onimport import WhenImported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = (
    "Inherited",
    "Logger",
    "Spawning",
    "authentication",
    "begin_anew",
    "end",
    "inherit",
    "introduce",
    "key",
    "log_like",
    "logger",
    "main_for",
    "meet_proxy",
    "prepare_main",
    "proxies",
    "reducers",
    "send_descriptor",
    "set_key",
)

_MODULE = "multiprocessing.process"

_key: bytes | None = None
# In a child: its object, which may get another name, and its parent's.
_who: tuple[Any, Any] | None = None


def key() -> bytes:
    """The key of this process for the standard's own connections."""
    global _key
    if _MODULE in sys.modules:
        return bytes(_theirs().authkey)
    if _key is None:
        set_key(os.urandom(32))
    assert _key is not None
    return _key


def set_key(new: bytes) -> None:
    """Have another key from now on, here and in the processes that are started from here."""
    global _key
    _key = new
    _tell_or_watch()


def introduce(process: Any, parent: Any) -> None:
    """In a child: who it is, and who its parent."""
    global _who
    _who = process, parent
    _tell_or_watch()
    if "logging" in sys.modules:
        _name_records()
    elif _MODULE not in sys.modules:
        _logging.watch()


def authentication(plain: bytes) -> bytes:
    """The key as the standard has it: bytes that refuse to be pickled."""
    theirs: Any = importlib.import_module(_MODULE)
    made: bytes = theirs.AuthenticationString(plain)
    return made


def _theirs() -> Any:
    """The standard's object of this process, when the import that may be going on has ended."""
    import multiprocessing.process

    return multiprocessing.process.current_process()


def _tell_or_watch() -> None:
    if _MODULE in sys.modules:
        _tell()
    else:
        _watch.watch()


def _tell(_name: str = _MODULE) -> None:
    module: Any = sys.modules[_MODULE]  # at the end of its import nobody else can have it yet
    theirs = module.current_process()
    if _key is not None:
        theirs.authkey = _key
    if _who is not None:
        theirs.name, module._parent_process = _who[0].name, _who[1]
    _watch.stop()
    _logging.stop()  # it asks there from now on


_watch = WhenImported(_MODULE.__eq__, _tell)


def _name_records(_name: str = "logging") -> None:
    """In a child: log records name it, too. ``logging`` asks the package, and that need not be there."""
    global _names_records
    _logging.stop()
    if _names_records:  # a fork of one that does
        return
    logging: Any = sys.modules["logging"]
    make = logging.getLogRecordFactory()

    @functools.wraps(make, updated=())
    def named(*args: Any, **kwargs: Any) -> Any:
        record = make(*args, **kwargs)
        if record.processName == "MainProcess" and "multiprocessing" not in sys.modules and _who is not None:
            record.processName = _who[0].name
        return record

    logging.setLogRecordFactory(named)
    _names_records = True


_names_records = False
_logging = WhenImported("logging".__eq__, _name_records)


# Objects of the standard's in a Process of ours.


class Inherited:
    """A descriptor of the parent's, as it travels: its place among those that come with the job."""

    def __init__(self, place: int) -> None:
        self._place = place

    def detach(self) -> int:
        """The descriptor, which is the caller's to close. Once only."""
        fd = _inherited[self._place]
        _inherited[self._place] = -1
        return fd


# So many descriptors go with one request at most: the kernel's limit is 253. Others come by a thread of the standard's.
MOST_FDS = 240

# In a child: the descriptors that came with its job.
_inherited: list[int] = []


def inherit(fds: list[int]) -> None:
    """In a child: these came with the job."""
    _inherited[:] = fds


class _Now(threading.local):
    spawning: Spawning | None = None


_now = _Now()


class Spawning:
    """While a Process of ours is pickled, in this thread: what the standard's objects ask for, to be allowed to travel.

    The standard calls it a Popen, and looks for it in ``multiprocessing.context``.
    """

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.met: list[Any] = []  # proxies
        self._outer: Spawning | None = None  # a Process may be started while another is pickled
        self._before: Any = None

    def duplicate_for_child(self, fd: int) -> Any:
        """Have the descriptor sent along; it has to stay open until then, as what is pickled does."""
        if len(self.fds) == MOST_FDS:
            return _by_thread(fd)
        self.fds.append(fd)
        return len(self.fds) - 1

    @staticmethod
    def DupFd(place: Any) -> Any:  # noqa: N802 - the standard's name
        """What stands for it in the pickle."""
        return Inherited(place) if isinstance(place, int) else place

    def __enter__(self) -> Self:
        self._outer, _now.spawning = _now.spawning, self
        context: Any = sys.modules.get("multiprocessing.context")
        if context is not None:
            self._before = context.get_spawning_popen()
            context.set_spawning_popen(self)
        return self

    def __exit__(self, *_exc: object) -> None:
        _now.spawning = self._outer
        context: Any = sys.modules.get("multiprocessing.context")
        if context is not None:
            context.set_spawning_popen(self._before)


def meet_proxy(proxy: Any) -> None:
    """A proxy is being pickled: whoever starts a process with it keeps it until that has ended.

    What no proxy refers to is gone in its manager, and the child's own is made only when it has begun.
    """
    if _now.spawning is not None:
        _now.spawning.met.append(proxy)


def proxies(objects: Iterable[Any]) -> list[Any]:
    """Those among them that are proxies of a manager's objects."""
    managers: Any = sys.modules.get("multiprocessing.managers")
    return [] if managers is None else [each for each in objects if isinstance(each, managers.BaseProxy)]


def send_descriptor(fd: int) -> Any:
    """A descriptor as it travels: what arrives has ``detach()``, which gives that of the receiver."""
    spawning = _now.spawning
    return _by_thread(fd) if spawning is None else spawning.DupFd(spawning.duplicate_for_child(fd))


def _by_thread(fd: int) -> Any:
    """Who receives it asks a thread of the standard's here, which is there from now on."""
    from multiprocessing import resource_sharer

    return resource_sharer.DupFd(fd)


# How what is the standard's, or was registered with its ForkingPickler, is pickled.

# What is pickled well without it: cloudpickle knows more of these, and this package of what torch registers.
_PLAIN = (MethodType, MethodDescriptorType, WrapperDescriptorType, functools.partial)
_TORCH = "torch."

_reducers: dict[type, Callable[[Any], Any]] = {}
_seen: dict[type, Callable[[Any], Any]] = {}


def reducers() -> dict[type, Callable[[Any], Any]]:
    """The reducers of connections, sockets and what else was registered; to be asked where the standard is loaded."""
    global _reducers, _seen
    context: Any = sys.modules["multiprocessing.context"]
    reduction = getattr(context, "reduction", None)  # which may just be being imported
    if reduction is None:
        return {}
    registered = reduction.ForkingPickler._extra_reducers
    if registered != _seen:
        _reducers = {
            kind: reducer
            for kind, reducer in registered.items()
            if kind not in _PLAIN and not reducer.__module__.startswith(_TORCH)
        }
        _seen = dict(registered)
    return _reducers


# The logger, and the end of a process.

# Its level, and whether it writes to stderr.
Logger = tuple[int, bool]

_UTIL = "multiprocessing.util"


def logger() -> Logger | None:
    """How the standard's logger is; None where nobody has asked for it."""
    util: Any = sys.modules.get(_UTIL)
    made = getattr(util, "_logger", None)
    return None if made is None else (made.getEffectiveLevel(), util._log_to_stderr)


def log_like(parent: Logger | None) -> None:
    """In a child: have it as it is in its parent."""
    if parent is None:
        return
    from multiprocessing import util

    level, to_stderr = parent
    if to_stderr and not util._log_to_stderr:  # type: ignore[attr-defined] # else this process has worked before
        util.log_to_stderr()
    util.get_logger().setLevel(level)


def begin_anew() -> None:
    """In a fork: what was to be done at the end of the parent is not this one's, and its proxies are its own."""
    util: Any = sys.modules.get(_UTIL)
    if util is not None:
        util._finalizer_registry.clear()
        util._run_after_forkers()
    theirs: Any = sys.modules.get(_MODULE)
    if theirs is not None:
        theirs._children = set()


def end() -> None:
    """What the standard does at the end of a process: managers shut down, the folder of their sockets is removed."""
    util: Any = sys.modules.get(_UTIL)
    if util is not None:
        util._exit_function()  # of which a second call does nothing


def main_for(target: Any) -> dict[str, str]:
    """Where ``__main__`` is to be had, for a child with this target; nothing if it can do without."""
    if getattr(target, "__module__", None) != "concurrent.futures.process":
        return {}
    from multiprocessing import spawn

    told = spawn.get_preparation_data("")
    return {name: told[name] for name in ("init_main_from_name", "init_main_from_path") if name in told}


def prepare_main(told: dict[str, str]) -> None:
    """In a child: run it as the standard's children do, in which a program that does not look at its name fails."""
    if not told:
        return
    from multiprocessing import process, spawn

    me: Any = process.current_process()
    me._inheriting = True
    try:
        spawn.prepare(told)
    finally:
        del me._inheriting
