"""Large packages that the program has imported: imported once more, by a template, and not by each of its workers.

    pool ──▶ prepare() ── large ones that the template has not? ── no ──▶ workers
                 │ yes
                 ▼
             a second template imports them, while the first is there as ever       (imported.py)
                 ├─ ready, and can be forked ──▶ takes the place of the first
                 └─ failed, hangs, or has threads that no fork takes care of ──▶ ends, and is not tried again with those

Only installed packages, never modules of the user's own: to import those might do something; unless they were asked for
(``set_forkserver_preload``). The environment variable ``ALLCORES_PRELOAD=0`` switches it off.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from allcores import process, renewal, start

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("ask_for", "prepare")

# So many modules of installed packages, beyond those that the template has, are worth a template that has them: pandas
# has 300, torch 2000. It takes as long as one import of them, where each worker that needs them would take that.
_MANY = 250
# Of one package: smaller ones are imported by the larger ones that use them, or by workers in no time.
_SOME = 50
# The template has it anyway.
_ALWAYS = ("allcores", "numpy")
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
# A template that has not imported in twice the time that this program has been there, in which it did more, hangs: then
# it is done without. At least and at most so many seconds.
_PATIENCE = 2.0
_LEAST, _MOST = 1.0, 60.0


class _Known:
    """What was found out so far."""

    modules = 0  # how many this process had at the last look
    template: int | None = None  # which has
    packages: frozenset[str] = frozenset()  # these
    unfit: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()  # what is to be there too
    given: frozenset[str] = frozenset()  # of which the template has these, as far as they can be had


def ask_for(module_names: Iterable[str]) -> None:
    """Have these modules too from the next look on, in the place of those that were asked for before."""
    names = tuple(module_names)
    if isinstance(module_names, str) or not all(type(name) is str for name in names):
        raise TypeError("module_names must be a list of strings")
    _Known.asked = frozenset(names) - {"__main__"}  # which travels by value
    _Known.modules = 0
    if _give not in start.before_start:
        start.before_start.append(_give)


def _give() -> None:
    """At the next start of a process: whoever forks it is to have them."""
    prepare()
    if _asked() <= _Known.given or os.environ.get("ALLCORES_PRELOAD") == "0":
        start.before_start.remove(_give)


def prepare() -> None:
    """Have a template with the large packages of this program, if that is worth it and can be. Blocks for that."""
    if _Known.template != start.template_pid():
        _Known.packages, _Known.modules, _Known.given = frozenset(), 0, frozenset()
    if len(sys.modules) == _Known.modules or os.environ.get("ALLCORES_PRELOAD") == "0":
        return
    deadline = time.monotonic() + min(max(_LEAST, _PATIENCE * _age()), _MOST)
    while (packages := _worth_it()) or _asked() - _Known.given:
        packages, asked = packages or _Known.packages, _asked()
        names = [name for name in list(sys.modules) if name.count(".") < 2 and _package(name) in packages]
        names += asked - set(names)
        unfit = None if process.active_children() else renewal.renew(names, deadline)
        if unfit is None:  # another time: the template has children now
            return
        _Known.unfit |= frozenset(map(_package, unfit))
        if not unfit:
            _Known.packages, _Known.given, _Known.template = packages, asked, start.template_pid()
            break
    _Known.modules = len(sys.modules)


def _worth_it() -> frozenset[str]:
    """All large packages of this process, if there are enough that the template has not; else none."""
    counts = Counter(_package(name) for name in list(sys.modules))
    new = [p for p in counts if p not in _Known.packages and p not in _ALWAYS and _is_installed(p)]
    if sum(counts[package] for package in new) < _MANY:
        return frozenset()
    large = {package for package in new if counts[package] >= _SOME}
    return (_Known.packages | large) - _Known.unfit if large - _Known.unfit else frozenset()


def _asked() -> frozenset[str]:
    """Modules that were asked for and have not kept a template from being forked."""
    return frozenset(name for name in _Known.asked if _package(name) not in _Known.unfit)


def _age() -> float:
    """Seconds since this process began."""
    with open("/proc/self/stat") as f:
        began = int(f.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def _package(name: str) -> str:
    return name.partition(".")[0]


def _is_installed(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    origin = getattr(spec, "origin", None) or ""
    return any(place in origin for place in _INSTALLED)
