"""How objects travel: a pickle, buffers beside it, and handles of shared objects by name.

    object --- plain built-ins ----------------------------> C pickler (in _native, never here)
           --- importable functions and classes only ------> C pickler, large buffers out of band
           --- lambdas, closures, __main__, notebook cells -> cloudpickle, by value

Shared objects and arrays on shared memory go by handle (``reducers``). One in a message is pinned until the receiver
holds it; one in an object that is read several times (a function sent to a pool) is kept alive by whoever keeps that.
"""

from __future__ import annotations

import copyreg
import functools
import importlib
import pickle
import sys
from collections import ChainMap
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any

from allcores import _native, reducers, standard
from allcores.errors import RemoteTraceback, UnpicklableError
from allcores.reducers import handle_of, sending

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.reducers import Shared

__all__ = (
    "blame",
    "describe",
    "dumps_far",
    "dumps_kept",
    "dumps_message",
    "handle_of",
    "not_rebuilt",
    "pack_error",
    "short_repr",
    "unpack_error",
    "unpicklable",
    "why_not",
)

# Smaller buffers cost more as a block of their own than as a copy inside the pickle.
LEAST_BUFFER = 4096

# Where the standard's pickler is loaded, what was registered with it counts here too. In the C pickler's own table:
# cloudpickle's class has an attribute of that name before it.
_STANDARD = "multiprocessing.context"
_DISPATCH_TABLE: Any = pickle.Pickler.dispatch_table

# The pickle in parts, and the buffers that stay out of it.
Made = tuple[list[bytes], list[pickle.PickleBuffer]]


class _Parts:
    """The file that a pickler writes: a list. Long bytes come as they are, to be copied once, into shared memory."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.write = self.parts.append


class _ByValue(Exception):
    """Something in the object is not importable where it arrives."""


def is_importable(obj: Any) -> bool:
    """Whether a function or class can be found again by its name in another process."""
    module = getattr(obj, "__module__", None)
    if module is None or module == "__main__":
        return False
    found: Any = sys.modules.get(module) or _imported(module)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


def _imported(module: str) -> Any:
    """A module that nobody needed yet: NumPy says that recarray is of numpy.rec, and imports that when it is used."""
    try:
        return importlib.import_module(module)
    except Exception:  # noqa: BLE001 - whatever a module raises when it is imported: it cannot be had
        return None


def known_to_cloudpickle(obj: Any) -> Any:
    """The object; a class or function with its module imported: of others cloudpickle thinks that they have none."""
    if isinstance(obj, FunctionType | type):
        is_importable(obj)
    return obj


class _Pickler(pickle.Pickler):
    """The C pickler, stopped at the first function or class that must go by value."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, FunctionType | type) and not is_importable(obj):
            raise _ByValue
        return reducers.reduce(obj)


def _by_value_pickler(out: _Parts, keep_in: Callable[[pickle.PickleBuffer], bool]) -> pickle.Pickler:
    from allcores import byvalue  # brings cloudpickle, which most programs without lambdas never need

    return byvalue.Pickler(out, keep_in, lambda obj: reducers.reduce(known_to_cloudpickle(obj)))


def _dumps(obj: object, pinned: bool, least: int = LEAST_BUFFER) -> tuple[Made, list[Shared]]:
    try:
        return _dumps_with(obj, pinned, True, least)
    except (_ByValue, pickle.PicklingError, TypeError, AttributeError):
        pass  # cloudpickle knows more; what it does not know either, it says better
    try:
        return _dumps_with(obj, pinned, False, least)
    except Exception as error:
        raise unpicklable(f"cannot send {short_repr(obj)} to another process: {error}{blame(obj)}", error) from error


def _dumps_with(obj: object, pinned: bool, light: bool, least: int = LEAST_BUFFER) -> tuple[Made, list[Shared]]:
    buffers: list[pickle.PickleBuffer] = []
    out = _Parts()

    def keep_in(buffer: pickle.PickleBuffer) -> bool:
        if memoryview(buffer).nbytes < least or not memoryview(buffer).contiguous:
            return True
        buffers.append(buffer)
        return False

    pickler = _Pickler(out, 5, buffer_callback=keep_in) if light else _by_value_pickler(out, keep_in)
    if _STANDARD in sys.modules:
        known = getattr(pickler, "dispatch_table", copyreg.dispatch_table)
        _DISPATCH_TABLE.__set__(pickler, ChainMap(standard.reducers(), known))
    before = sending.handles, sending.pinned
    handles: list[Shared] = []
    sending.handles, sending.pinned = handles, pinned
    try:
        pickler.dump(obj)
    finally:
        sending.handles, sending.pinned = before
    return (out.parts, [b.raw() for b in buffers]), handles  # type: ignore[misc]


def unpicklable(text: str, why: BaseException) -> UnpicklableError:
    """The error for what cannot travel. It is caught as what pickling it raised, too: existing code waits for that."""
    kind: Any = type(why)
    return _unpicklable_as(kind)(text)


def not_rebuilt(what: str, why: BaseException) -> BaseException:
    """The error for what has arrived and cannot be unpickled, as ``the result``.

    It is caught as what unpickling raised, too, and as ``BrokenProcessPool``: that is the standard's executor then.
    """
    if isinstance(why, KeyboardInterrupt):  # Ctrl-C came in the middle
        return why
    from concurrent.futures.process import BrokenProcessPool

    kind: Any = type(why)
    error = _unpicklable_as(kind, BrokenProcessPool)(f"{what} cannot be unpickled: {describe(why)}")
    error.__cause__ = why
    return error


@functools.lru_cache(64)
def _unpicklable_as(*kinds: Any) -> type[UnpicklableError]:
    others = tuple(kind for kind in kinds if not issubclass(UnpicklableError, kind))
    if not others:
        return UnpicklableError
    words = {"__str__": Exception.__str__, "__reduce__": _reduce_as, "__module__": UnpicklableError.__module__}
    try:
        return type(UnpicklableError.__name__, (UnpicklableError, *others), words)
    except TypeError:  # a kind with fields in C, as OSError, or one that is a parent of the next
        return _unpicklable_as(*others[1:])


def _reduce_as(error: UnpicklableError) -> tuple[Any, ...]:
    return _unpicklable_again, (error.args, *type(error).__bases__[1:])


def _unpicklable_again(args: tuple[Any, ...], *kinds: Any) -> UnpicklableError:
    return _unpicklable_as(*kinds)(*args)


def blame(obj: object, path: str = "") -> str:
    """Name the part of an object that cannot be pickled: `` (the part to blame: .model.lock, ...)``.

    Args:
        obj: the object.
        path: where it is itself, in what cannot be pickled as a whole.
    """
    below, part = _part_to_blame(obj)
    return f" (the part to blame: {path}{below}, {short_repr(part)})" if path or below else ""


def why_not(obj: object, what: str) -> UnpicklableError | None:
    """The error that says which part of an object cannot travel; None if all of it can.

    Args:
        obj: the object.
        what: what it is to the user: ``item 3 of the input``.
    """
    try:
        _dumps_with(obj, pinned=False, light=False)
    except Exception as error:  # noqa: BLE001 - whatever its reducer raises
        path, part = _part_to_blame(obj)
        kind = type(part)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        why = unpicklable(
            f"{what}{path and ': '}{path}: {name} cannot be sent to another process: {error}; it is {short_repr(part)}",
            error,
        )
        why.__cause__ = error
        return why
    return None


def _part_to_blame(obj: object) -> tuple[str, object]:
    """The path to the innermost part that cannot be pickled, and it."""
    path = ""
    seen: set[int] = set()
    while id(obj) not in seen:
        seen.add(id(obj))
        for step, part in _parts(obj):
            try:
                _dumps_with(part, pinned=False, light=False)
            except Exception:  # noqa: BLE001 - whatever its reducer raises: this is the part
                path, obj = path + step, part
                break
        else:
            break
    return path, obj


def _parts(obj: object) -> list[tuple[str, object]]:
    if isinstance(obj, dict):
        return [(f"[{short_repr(k)}]", v) for k, v in obj.items()]
    if isinstance(obj, list | tuple):
        return [(f"[{i}]", v) for i, v in enumerate(obj)]
    if isinstance(obj, FunctionType) and obj.__closure__:
        names = obj.__code__.co_freevars
        return [(f".<{n}>", c.cell_contents) for n, c in zip(names, obj.__closure__, strict=True)]
    return (
        [(f".{name}", value) for name, value in getattr(obj, "__dict__", {}).items()]
        if not isinstance(obj, type)
        else []
    )


def dumps_message(obj: object) -> tuple[list[bytes], list[pickle.PickleBuffer], list[int]]:
    """Pickle an object for one receiver. Called by ``_native`` for what the C pickler alone cannot carry.

    Returns the parts of the pickle, its buffers, and the offsets of the shared objects in it, which the message pins.

    Raises:
        UnpicklableError: something in it cannot travel; the message names the part.
    """
    made, handles = _dumps(obj, pinned=False)
    return (*made, [handle.offset for handle in handles])


def dumps_kept(obj: object) -> tuple[Made, list[Shared]]:
    """Pickle an object that several will load. The caller keeps the returned shared objects alive as long."""
    return _dumps(obj, pinned=False)


def dumps_far(obj: object, least: int) -> tuple[bytes, list[Any]]:
    """Pickle an object for another machine: arrays by value, and nothing by handle.

    Args:
        obj: it.
        least: bytes of a buffer that stays out of the pickle.

    Returns:
        The pickle, and its buffers: contiguous, of bytes.

    Raises:
        UnpicklableError: something in it cannot travel, or lives in the memory of this machine.
    """
    before, sending.far = sending.far, True
    try:
        (parts, buffers), _ = _dumps(obj, False, least)
    finally:
        sending.far = before
    return b"".join(parts), list(buffers)


def short_repr(obj: object, limit: int = 80) -> str:
    """``repr(obj)`` cut to ``limit`` characters; never raises."""
    try:
        text = repr(obj)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not hide the error that is being reported
        text = f"<{type(obj).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."


# Errors travel as their parts, because an exception pickles by calling its class with ``args`` again, which fails for
# every class whose __init__ takes something else.

Packed = tuple[bytes, str, str, list[str]]


def pack_error(error: BaseException) -> Packed:
    """An exception as something that always travels: its parts pickled, its type and text, its traceback, its notes."""
    import traceback  # not needed before something fails

    try:
        text = "".join(traceback.format_exception(type(error), error, _beyond_us(error.__traceback__)))
    except Exception:  # noqa: BLE001 - an error that cannot even be printed
        text = describe(error) + "\n"
    error = error.with_traceback(None)
    state = {k: v for k, v in error.__dict__.items() if k != "__notes__"}
    said = describe(error).partition(": ")[2]
    for parts in ((type(error), error.args, state), (type(error), error.args, {}), (type(error), (said,), {})):
        try:
            made, handles = _dumps((*parts, error.__reduce__() if parts[2] is state else None), pinned=True)
        except Exception:  # noqa: BLE001 - something it carries cannot travel: send less of it
            continue
        for handle in handles:
            _native.pin(handle.offset)
        # Buffers of an error are rare and small: they may as well be copied.
        return pickle.dumps((b"".join(made[0]), [bytes(b) for b in made[1]])), describe(error), text, _notes(error)
    return b"", describe(error), text, _notes(error)


def unpack_error(packed: Packed) -> BaseException:
    """The exception again, of its own class where that can be had, with the remote traceback as its cause."""
    parts, described, text, notes = packed
    error: BaseException | None = None
    if parts:
        try:
            data, buffers = pickle.loads(parts)
            error = _rebuild(*pickle.loads(data, buffers=buffers))
        except Exception:  # noqa: BLE001 - its class or state cannot be loaded here: the text remains
            error = None
    if error is None:
        error = UnpicklableError(f"the call failed with {described}; the error itself cannot be brought here")
    for note in notes:
        error.add_note(note)
    error.__cause__ = RemoteTraceback(text)
    return error


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], reduced: Any) -> BaseException:
    try:
        error: BaseException = reduced[0](*reduced[1]) if reduced else cls(*args)
    except Exception:  # noqa: BLE001 - an __init__ of another shape than args: leave it out
        error = cls.__new__(cls, *args)
        error.args = args
    error.__dict__.update(state)
    return error


def _beyond_us(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is the user's."""
    first = tb
    while first is not None and first.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "allcores":
        first = first.tb_next
    return first or tb


def describe(error: BaseException) -> str:
    """Type and text of an error, cut short; never raises."""
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - a broken __str__ must not hide the error
        text = f"<its __str__ raised {type(broken).__name__}>"
    return f"{type(error).__name__}: {text[:200]}"


def _notes(error: BaseException) -> list[str]:
    return [str(n) for n in getattr(error, "__notes__", ())]
