"""One library, one way to go wrong, in a program of its own: python -m bench.faults LIBRARY MODE FILE

Eight calls go to a pool of two workers; the fourth goes wrong. What became of each is written to FILE as JSON. A hang
is not looked for here: `bench.failures` ends the program.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from typing import Any

BAD = 3
CALLS = 8


def double(x: Any) -> Any:
    return 2 * x if isinstance(x, int) else x


def kill_worker(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(_: Any) -> None:
    sys.exit(1)


def give_a_lock(_: Any) -> Any:
    return threading.Lock()


class Grudging:
    """Pickles, and refuses to be unpickled."""

    def __reduce__(self) -> Any:
        return refuse, ()


def refuse() -> None:
    raise ValueError("cannot be rebuilt")


def give_grudging(_: Any) -> Any:
    return Grudging()


class TwoArguments(Exception):
    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


def fail_with_two_arguments(_: Any) -> None:
    raise TwoArguments("here", "it broke")


def fail_to_begin() -> None:
    raise ValueError("no licence")


def unpicklable_function() -> Callable[[Any], Any]:
    held = threading.Lock()
    return lambda x: (held, x)


# What libraries call it: allcores' UnpicklableError is a TypeError.
UNPICKLABLE = ("PicklingError", "TypeError", "AttributeError", "MaybeEncodingError", "UnpicklableError")
# Mode -> the fourth call: function and argument, made when they are needed; the errors that are its own.
# That of ours is a ValueError too, where that is what unpickling raised.
REFUSED = ("ValueError", "UnpicklableError")
MODES: dict[str, tuple[Callable[[], tuple[Any, Any]], tuple[str, ...]]] = {
    "worker SIGKILLed": (lambda: (kill_worker, 1), ("WorkerDied", "ProcessExpired")),
    "sys.exit(1) in a task": (lambda: (leave, 1), ("SystemExit",)),
    "unpicklable function": (lambda: (unpicklable_function(), 1), UNPICKLABLE),
    "unpicklable argument": (lambda: (double, threading.Lock()), UNPICKLABLE),
    "argument fails to unpickle": (lambda: (double, Grudging()), REFUSED),
    "unpicklable result": (lambda: (give_a_lock, 1), UNPICKLABLE),
    "result fails to unpickle": (lambda: (give_grudging, 1), REFUSED),
    "exception with a 2-argument __init__": (lambda: (fail_with_two_arguments, 1), ("TwoArguments",)),
    "initializer raises": (lambda: (double, BAD), ("ValueError", "InitializerFailed")),
}
INITIALIZER = "initializer raises"

Submit = Callable[[Any, Any], Callable[[], Any]]  # function, argument -> what waits for the result


def allcores(initializer: Any) -> tuple[AbstractContextManager[Any], Submit]:
    import allcores as mp

    pool = mp.Pool(2, initializer)
    return pool, lambda f, x: pool.apply_async(f, (x,)).get


def multiprocessing(initializer: Any) -> tuple[AbstractContextManager[Any], Submit]:
    import multiprocessing as mp

    pool = mp.Pool(2, initializer)
    return pool, lambda f, x: pool.apply_async(f, (x,)).get


def concurrent_futures(initializer: Any) -> tuple[AbstractContextManager[Any], Submit]:
    from concurrent.futures import ProcessPoolExecutor

    pool = ProcessPoolExecutor(2, initializer=initializer)
    return pool, lambda f, x: pool.submit(f, x).result


def loky(initializer: Any) -> tuple[AbstractContextManager[Any], Submit]:
    pool = import_module("loky").ProcessPoolExecutor(2, initializer=initializer)
    return pool, lambda f, x: pool.submit(f, x).result


def mpire(initializer: Any) -> tuple[AbstractContextManager[Any], Submit]:
    pool = import_module("mpire").WorkerPool(2)
    return pool, lambda f, x: pool.apply_async(f, (x,), worker_init=initializer).get


def pebble(initializer: Any) -> tuple[AbstractContextManager[Any], Submit]:
    pool = import_module("pebble").ProcessPool(2, initializer=initializer)
    return pool, lambda f, x: pool.schedule(f, args=[x]).result


LIBRARIES: dict[str, tuple[str, Callable[[Any], tuple[AbstractContextManager[Any], Submit]]]] = {
    "allcores": ("allcores", allcores),
    "multiprocessing.Pool": ("multiprocessing", multiprocessing),
    "concurrent.futures": ("concurrent.futures", concurrent_futures),
    "loky": ("loky", loky),
    "mpire": ("mpire", mpire),
    "pebble": ("pebble", pebble),
}


def outcome(wait: Callable[[], Any]) -> list[Any]:
    """["value", it] or ["error", the name of its class]."""
    try:
        value = wait()
        return ["value", value if isinstance(value, int) else type(value).__name__]
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is reported
        return ["error", type(error).__name__]


def submitted(submit: Submit, func: Any, argument: Any) -> Callable[[], Any]:
    """What waits for the result; where submitting fails, the error is the outcome."""
    try:
        return submit(func, argument)
    except BaseException as error:  # noqa: BLE001 - likewise
        caught = error

        def fail() -> None:
            raise caught

        return fail


def try_out(library: str, mode: str, tell: Callable[[dict[str, Any]], None]) -> None:
    begun = time.monotonic()
    pool, submit = LIBRARIES[library][1](fail_to_begin if mode == INITIALIZER else None)
    with suppress(BaseException), pool:
        waits = []
        for i in range(CALLS):
            func, argument = MODES[mode][0]() if i == BAD else (double, i)
            waits.append(submitted(submit, func, argument))
        found: dict[str, Any] = {"outcomes": [outcome(wait) for wait in waits]}
        found["seconds"] = time.monotonic() - begun
        tell(found)
        found["afterwards"] = outcome(submitted(submit, double, 21))
        tell(found)


def main() -> None:
    library, mode, path = sys.argv[1:]

    def tell(found: dict[str, Any]) -> None:
        with open(path, "w") as file:
            json.dump(found, file)

    try_out(library, mode, tell)


if __name__ == "__main__":
    # By the importable name: what is defined in __main__ travels differently.
    from bench import faults

    faults.main()
