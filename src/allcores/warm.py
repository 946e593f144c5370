"""Workers that outlive their pool: whether one is fit for another, and how it waits for it.

    pool's job done ─▶ fit? ─no─▶ ends
                        │ yes
                        ▼
    forgets what was the job's ─▶ PARK ─▶ asleep (the template has it in its lot) ─▶ JOB: the next pool's

What can be compared with how the process began, is: threads, children, descriptors, handlers of signals, and so on. Who
is not as it began, ends. What was the job's is forgotten: functions by value and their globals, shared objects, modules
of the user's own, which are imported again. What stays: packages that were imported, with what the job has set in them.
"""

from __future__ import annotations

import _imp
import _signal  # type: ignore[import-not-found] # signal's own words cost ten times as much
import atexit
import gc
import os
import sys
import threading
import weakref
from typing import Any

from allcores import _native, base, lastwords, logs, process, start
from allcores.sharing import registry

__all__ = ("begin", "can_stay", "private_bytes", "stay", "wait_for_job")

# How this process was when its pool's job began, and the modules that it had when its first one did.
_began: tuple[Any, ...] = ()
_modules: frozenset[str] = frozenset()
_wanted = False

# Where packages and the standard library are. What is elsewhere is the user's own.
_INSTALLED = ("site-packages", "dist-packages")
_LIBRARY = os.path.dirname(os.__file__)


def begin() -> None:
    """In a worker of a pool whose workers may stay: its job begins."""
    global _began, _modules, _wanted
    _wanted = False
    _modules = _modules or frozenset(sys.modules)
    _began = _traits()


def stay() -> None:
    """The job has ended well: this worker would do for another pool."""
    global _wanted
    _wanted = True


def _traits() -> tuple[Any, ...]:
    """What a job may change of the process itself, and another must not meet."""
    umask = os.umask(0)
    os.umask(umask)
    return (
        umask,
        os.getpriority(os.PRIO_PROCESS, 0),
        os.sched_getaffinity(0),
        sorted(os.listdir("/proc/self/fd")),
        [_signal.getsignal(n) for n in range(1, _signal.NSIG)],
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ()),
        [_signal.getitimer(n) for n in (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)],
        (sys.stdout, sys.stderr, sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        (sys.gettrace(), sys.getprofile(), sys.getrecursionlimit(), sys.getswitchinterval()),
        (gc.isenabled(), gc.get_threshold()),
        logs.handlers(),
        _exit_functions(),
        _limits(),
    )


def _exit_functions() -> tuple[int, int]:
    """How many functions are to run at the end of this process: they are to run at the end of their pool.

    Without two of the standard library's: that of logging, whose handlers are looked at, and that of the finalizers,
    which are counted themselves.
    """
    finalize: Any = weakref.finalize
    its_own = ("logging" in sys.modules) + finalize._registered_with_atexit
    return atexit._ncallbacks() - its_own, len(finalize._registry)


def _limits() -> list[tuple[int, int]]:
    import resource  # the template has it; the program itself need not

    names = ("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "STACK")
    return [resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in names]


def can_stay(me: base.BaseProcess) -> bool:
    """Whether this worker, whose job has ended, is fit for another. Its job is forgotten then."""
    if not _wanted or threading.active_count() != 1 or _has_children() or not _forget_modules():
        return False
    del me._target, me._args, me._kwargs
    if "allcores.byvalue" in sys.modules:
        sys.modules["allcores.byvalue"].forget()
    registry.forget()
    gc.collect()  # what is in cycles may hold what is shared, or open files
    if _traits() != _began or getattr(sys.modules.get("multiprocessing.util"), "_finalizer_registry", None):
        return False
    gc.freeze()  # the next look need not look at this again
    return True


def _has_children() -> bool:
    """Of either kind: what the template has forked for this process, or what the job has."""
    if process.active_children():
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _forget_modules() -> bool:
    """Have modules of the user's own imported anew, as they are by then. False: there is one that cannot be."""
    own = [name for name, module in sys.modules.items() if name not in _modules and _is_users(module)]
    for name in own:
        if _origin(sys.modules[name]).endswith(tuple(_imp.extension_suffixes())):
            return False
    for name in own:
        del sys.modules[name]
    sys.path_importer_cache.clear()
    return True


def _origin(module: Any) -> str:
    """The file or folder that a module is from; nothing for one that was made by hand or is built in."""
    spec = getattr(module, "__spec__", None)
    if spec is None:
        return ""
    return (spec.origin if spec.has_location else next(iter(spec.submodule_search_locations or ()), "")) or ""


def _is_users(module: Any) -> bool:
    origin = _origin(module)
    return (
        bool(origin)
        and not any(f"{os.sep}{name}{os.sep}" in origin for name in _INSTALLED)
        and (not origin.startswith(_LIBRARY + os.sep))
    )


def wait_for_job() -> int:
    """Have the template keep this process, and wait. The offset of the next job's mailbox; 0: it is to end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for target in (1, 2):  # whoever reads from the other end shall not wait for this process
        os.dup2(nothing, target)
    os.close(nothing)
    lastwords.begin_anew()
    _native.set_title(base.titled("allcores-parked"))
    _native.rest(True)
    mailbox, fds = start.park(private_bytes())
    _native.rest(False)
    for fd, target in zip(fds, (1, 2), strict=False):
        os.dup2(fd, target)
    for fd in fds:
        os.close(fd)
    return mailbox


def private_bytes(statm: int | None = None) -> int:
    """Memory that this process alone has: what is resident, without the shared segment, without files, and without what
    it had when it was forked from another.

    Args:
        statm: an open descriptor of ``/proc/self/statm``: 2 us instead of 20.
    """
    if statm is None:
        with open("/proc/self/statm", "rb") as f:
            data = f.read()
    else:
        data = os.pread(statm, 256, 0)
    _size, resident, shared = data.split(None, 3)[:3]
    return (int(resident) - int(shared)) * _PAGE - _inherited


_inherited = 0


def _forked() -> None:
    """In a child of the start method ``fork``: what it has so far is its parent's, too."""
    global _inherited
    _inherited = 0
    _inherited = private_bytes()


base.in_fork.append(_forked)


_PAGE = os.sysconf("SC_PAGE_SIZE")
