"""What workers are given to do. A module of its own, imported by name in workers: so it imports little."""

import os
import signal
import sys
import threading
from typing import Any, NoReturn

# Seconds after which a job gives up waiting for what the test was to do: a test that fails must not hang as well.
PATIENCE = 10

state: dict[str, object] = {}


def nothing(*_: object) -> None:
    return None


def identity(thing: Any) -> Any:
    return thing


def echo(*args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    return args, kwargs


def square(x: int) -> int:
    return x * x


def power(base: int, exponent: int = 2) -> int:
    return int(base**exponent)


def classic(n: int) -> int:
    res = 0
    for i in range(n):
        res += i + i**2 + i**3
    return res


class TwoArguments(Exception):
    """Pickles by default, and cannot be unpickled: its `args` hold one value, its __init__ wants two."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class Unpicklable(Exception):
    """Carries what cannot travel."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class Grudging:
    """Pickles, and refuses to be rebuilt."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return refuse, (self.name,)


def refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} cannot be rebuilt")


def fail(x: object = 0) -> NoReturn:
    raise ValueError(f"no {x}")


def fail_at(victim: int, x: int) -> int:
    if x == victim:
        fail(x)
    return x


def fail_with_cause(x: object = 0) -> NoReturn:
    try:
        fail(x)
    except ValueError as error:
        raise KeyError("outer") from error


def fail_with_two_arguments(_: object = None) -> NoReturn:
    raise TwoArguments("here", "it broke")


def fail_unpicklably(_: object = None) -> NoReturn:
    raise Unpicklable("cannot travel")


def give_a_lock(_: object = None) -> Any:
    """A result that cannot be pickled."""
    return threading.Lock()


def give_grudging(_: object = None) -> Grudging:
    """A result that cannot be unpickled."""
    return Grudging("the result")


def leave(code: int | str | None) -> NoReturn:
    sys.exit(code)


def die_by_signal(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


def die_by_exit(code: int = 7) -> NoReturn:
    os._exit(code)


def square_or_die(x: int, victim: int) -> int:
    if x == victim:
        die_by_signal()
    return x * x


def remember(key: str, value: object) -> None:
    """As an initializer: sets what `recall` finds in the same worker."""
    state[key] = value


def recall(key: str) -> object:
    return state.get(key)


def pid_of(_: object = None) -> int:
    return os.getpid()


def wait_for(gate: Any, thing: Any = None) -> Any:
    """Comes back with `thing` once the gate is open."""
    gate.wait(PATIENCE)
    return thing


def announce_and_wait(started: Any, gate: Any) -> None:
    started.release()
    gate.wait(PATIENCE)


def hold_until_killed(lock: Any, held: Any, gate: Any) -> None:
    lock.acquire()
    held.set()
    gate.wait(PATIENCE)


def acquire_and_release(lock: Any) -> bool:
    got = lock.acquire(timeout=PATIENCE)
    lock.release()
    return bool(got)


def add_up(value: Any, times: int) -> None:
    for _ in range(times):
        value += 1


def add_up_locked(value: Any, times: int) -> None:
    for _ in range(times):
        with value.get_lock():
            value.value += 1


def put_all(queue: Any, items: Any) -> None:
    for item in items:
        queue.put(item)


def put_letters(queue: Any, letter: bytes, size: int) -> None:
    queue.put(letter * size)


def put_classic(queue: Any, n: int) -> None:
    queue.put(classic(n))


def add_under_lock(value: Any, num: int, lock: Any, seen: Any) -> None:
    """The job of the lock example: adds `num` five times."""
    with lock:
        for _ in range(5):
            value.value += num
            seen.put(value.value)


def get_until_none(queue: Any) -> list[Any]:
    return list(iter(queue.get, None))


class Account:
    """A class of an importable module: it travels by name."""

    rate = 2

    def __init__(self, balance: int) -> None:
        self.balance = balance

    def doubled(self, times: int = 1) -> int:
        return self.balance * self.rate * times

    @classmethod
    def of(cls, balance: int) -> "Account":
        return cls(balance)

    @staticmethod
    def fee(x: int) -> int:
        return x + 1

    def __call__(self, x: int) -> int:
        return self.balance + x


offset = 100


def with_a_global(x: int) -> int:
    return x + offset


def count_run(what: tuple[Any, int]) -> int:
    """Say in an array that this item was run, and return it."""
    runs, i = what
    runs.add(i, 1)
    return i


_hoard: list[bytearray] = []


def hoard(nbytes: int) -> tuple[int, int]:
    """Keep so much memory, each page of it touched. In which process, and how many times it has done so."""
    _hoard.append(bytearray(b"x") * nbytes)
    return os.getpid(), len(_hoard)


def together(task: tuple[Any, Any]) -> int:
    """Do the job in as many workers as the barrier has parties, each once. In which process."""
    barrier, job = task
    barrier.wait(30)
    job()
    return os.getpid()
