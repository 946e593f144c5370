"""Functions by value, by cloudpickle; and one namespace in the receiver for all functions of one namespace here.

cloudpickle gives each function that it loads globals of its own. Then what an initializer assigns by ``global`` would
not be seen by the jobs of the same script. So the globals of a namespace (``__main__``, a notebook, an ``exec``)
arrive in one dictionary per process.

A fork has the namespaces and classes of before the fork itself (``lineage.py``): what arrives from its family is then
that, whoever sends it to whom. So what its parent, or its initializer, has set is there, and an instance that comes
back is of the class that it was made of. Of a fork by ``os.fork()`` this holds for the namespaces, and for classes
that were sent before.
"""

from __future__ import annotations

import operator
import os
import sys
import weakref
from types import CodeType
from typing import TYPE_CHECKING, Any

import cloudpickle
from cloudpickle import cloudpickle as _tables
from cloudpickle.cloudpickle import _class_setstate, _function_setstate

from allcores import lineage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Pickler", "forget")

_MISSING = object()

# Namespaces that functions were sent from: held, so that the id of one never names another.
_sent: dict[int, dict[str, Any]] = {}
# Namespaces that functions arrived in, and in each what arrived under a name last.
_arrived: dict[tuple[int, int], dict[str, Any]] = {}
_delivered: dict[int, dict[str, Any]] = {}


class _Namespace(dict[str, Any]):
    """Stands for the globals of a function in a pickle: the name of the namespace instead of what is in it."""

    def __init__(self, origin: dict[str, Any]) -> None:
        names = ("__package__", "__name__", "__path__", "__file__")
        super().__init__({k: origin[k] for k in names if k in origin})
        _sent[id(origin)] = origin
        self.key = (os.getpid(), id(origin))

    def __reduce__(self) -> tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]:
        return _namespace, (self.key, dict(self), lineage.family())


def _namespace(key: tuple[int, int], first: dict[str, Any], family: str) -> dict[str, Any]:
    if family and family == lineage.family():
        module = sys.modules.get(first.get("__name__", ""))
        if module is not None and id(vars(module)) == key[1]:
            return vars(module)
    return _arrived.setdefault(key, first)


def forget() -> None:
    """Begin anew: functions that arrive from now on share nothing with those that have arrived."""
    for known in (_sent, _arrived, _delivered):
        known.clear()


def _set_state(func: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a function that arrived its state. What the receiver has assigned to a global meanwhile, stays."""
    attributes, slots = state
    here = func.__globals__
    delivered = _delivered.setdefault(id(here), {})
    for name, value in slots["__globals__"].items():
        if here.get(name, _MISSING) is delivered.get(name, _MISSING):
            here[name] = delivered[name] = value
    _function_setstate(func, (attributes, {**slots, "__globals__": {}}))


# Classes that have come from elsewhere, and are as they are there. Others are as they are here, whoever sends them.
_foreign: weakref.WeakSet[type] = weakref.WeakSet()


def _name(cls: type) -> None:
    """Have a class that is sent for the first time found by its name in forks, which may not be told of it."""
    name = lineage.name_of(cls)
    if name is not None:
        with _tables._DYNAMIC_CLASS_TRACKER_LOCK:
            if cls not in _tables._DYNAMIC_CLASS_TRACKER_BY_CLASS:
                _tables._DYNAMIC_CLASS_TRACKER_BY_CLASS[cls] = name
                _tables._DYNAMIC_CLASS_TRACKER_BY_ID[name] = cls


def _make_class(make: Callable[..., type], *args: Any) -> type:
    """A class that arrives: the one that is here, or a new one. The id is the last but one of the arguments."""
    known: type | None = _tables._DYNAMIC_CLASS_TRACKER_BY_ID.get(args[-2])
    if known is not None:
        return known
    inherited = lineage.class_of(args[-2])
    if inherited is not None:
        return _tables._lookup_class_or_track(args[-2], inherited)  # type: ignore[no-any-return]
    made = make(*args)
    _foreign.add(made)
    return made


def _set_class_state(cls: type, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    if cls in _foreign:
        _class_setstate(cls, state)


def _reduce_ctypes(ctypes: Any, cls: Any, reduced: Any) -> Any:
    """A type of ctypes, from what cloudpickle makes of any class."""
    for one in (ctypes.Structure, ctypes.Union):
        if cls is type(one):  # some of these metaclasses have a name that nobody finds them by
            return type, (one,)
    if issubclass(cls, ctypes.Array) and cls.__bases__ == (ctypes.Array,):
        return operator.mul, (cls._type_, cls._length_)
    for name, other in (("__ctype_be__", "__ctype_le__"), ("__ctype_le__", "__ctype_be__")):
        if getattr(cls, name, None) is cls is not getattr(cls, other):
            return getattr, (getattr(cls, other), name)
    if not issubclass(cls, ctypes.Structure | ctypes.Union):
        return reduced
    attributes, slots = reduced[2]
    # ctypes makes the descriptors from _fields_, and has to know all else before: so it comes last.
    kept = {name: value for name, value in attributes.items() if type(value).__name__ != "CField"}
    if "_fields_" in kept:
        kept["_fields_"] = kept.pop("_fields_")
    return (*reduced[:2], (kept, slots), *reduced[3:5], _set_ctypes_state)


def _set_ctypes_state(cls: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a Structure or Union that arrived its fields. They are for ever: when it arrives again, it has them."""
    if "_fields_" not in vars(cls):
        _class_setstate(cls, state)


def _code(parts: tuple[Any, ...], filename: str) -> CodeType:
    return CodeType(*parts).replace(co_filename=filename)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    """cloudpickle's, with shared namespaces. ``first`` may reduce an object before it does."""

    def __init__(self, out: Any, keep_in: Callable[..., bool], first: Callable[[Any], Any]) -> None:
        super().__init__(out, 5, buffer_callback=keep_in)
        self._first = first

    def reducer_override(self, obj: Any) -> Any:
        """Reduce functions to their parts in a shared namespace; everything else as cloudpickle does."""
        reduced = self._first(obj)
        if reduced is not NotImplemented:
            return reduced
        if type(obj) is CodeType:
            # Since 3.1.3 cloudpickle leaves the file's name out; then no traceback could say where it went wrong.
            return _code, (self.dispatch_table[CodeType](obj)[1], obj.co_filename)
        origin = getattr(obj, "__globals__", None)
        if type(origin) is dict and id(origin) not in self.globals_ref:
            self.globals_ref[id(origin)] = _Namespace(origin)
        if lineage.family() and isinstance(obj, type) and not _tables._should_pickle_by_reference(obj):
            _name(obj)
        reduced = super().reducer_override(obj)
        if type(reduced) is tuple and len(reduced) == 6 and reduced[5] is _class_setstate:
            reduced = (_make_class, (reduced[0], *reduced[1]), *reduced[2:5], _set_class_state)
        ctypes = sys.modules.get("ctypes")  # where it was never imported, nothing is of it
        if ctypes and reduced is not NotImplemented and isinstance(obj, type):
            return _reduce_ctypes(ctypes, obj, reduced)
        if type(reduced) is tuple and len(reduced) == 6 and reduced[5] is _function_setstate:
            return (*reduced[:5], _set_state)
        return reduced
