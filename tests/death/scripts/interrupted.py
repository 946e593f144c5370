"""Waits in the way it is told, is interrupted there, twice if it catches that, and looks whether all is right.

usage: interrupted.py <way> <caught|uncaught>
"""

import sys
import time

import allcores as mp

way, how = sys.argv[1:]
never = mp.Event()


def wait_for_ever(_x: int = 0) -> None:
    never.wait()


def sleep_in_python(_x: int = 0) -> None:
    time.sleep(1000)


def square(x: int) -> int:
    return x * x


class Case:
    """A wait that lasts until Ctrl-C, and what must hold afterwards."""

    def __init__(self) -> None:
        self.arrange()

    def arrange(self) -> None:
        """Make what is waited for."""

    def wait(self) -> object:
        raise NotImplementedError

    def check(self) -> None:
        """After each interruption: all is as it was before the wait."""

    def end(self) -> None:
        """In the end: what was waited for comes, and everything still works."""


class Pooled(Case):
    def arrange(self) -> None:
        self.pool = mp.Pool(2)
        assert self.pool.map(square, range(10)) == [x * x for x in range(10)]

    def check(self) -> None:
        assert self.pool.map(square, range(1000)) == [x * x for x in range(1000)]
        assert list(self.pool.imap_unordered(square, [3])) == [9]


class Map(Pooled):
    def wait(self) -> object:
        return self.pool.map(wait_for_ever, range(100))


class MapOfSleeps(Pooled):
    def wait(self) -> object:
        return self.pool.map(sleep_in_python, range(100), chunksize=10)


class Starmap(Pooled):
    def wait(self) -> object:
        return self.pool.starmap(wait_for_ever, [(0,)] * 100)


class Apply(Pooled):
    def wait(self) -> object:
        return self.pool.apply(sleep_in_python)


class Asked(Pooled):
    """The work of a result goes on: one of the two workers has it. The other is free."""

    gate = mp.Event()

    def arrange(self) -> None:
        super().arrange()
        self.result = self.pool.apply_async(self.gate.wait)

    def check(self) -> None:
        super().check()
        assert not self.result.ready()

    def end(self) -> None:
        self.gate.set()
        assert self.result.get() is True


class Get(Asked):
    def wait(self) -> object:
        return self.result.get()


class Wait(Asked):
    def wait(self) -> object:
        return self.result.wait()


class Imap(Pooled):
    gate = mp.Semaphore(0)

    def arrange(self) -> None:
        super().arrange()
        gate = self.gate

        def pass_through(x: int) -> int:
            gate.acquire()
            return x

        self.results = self.pool.imap(pass_through, range(3), chunksize=1)

    def wait(self) -> object:
        return next(self.results)

    def check(self) -> None:
        pass  # both workers are at items that are still asked for

    def end(self) -> None:
        self.gate.release(3)
        assert list(self.results) == [0, 1, 2]
        Pooled.check(self)


class Join(Case):
    """The child is a process of the program, so it is interrupted as well, and ends: quietly."""

    def arrange(self) -> None:
        begun = mp.Event()
        self.child = mp.Process(target=begin_and_wait, args=(begun,))
        self.child.start()
        begun.wait()

    def wait(self) -> object:
        return self.child.join()

    def check(self) -> None:
        self.child.join()
        assert self.child.exitcode == 1
        self.arrange()

    def end(self) -> None:
        self.child.terminate()


def begin_and_wait(begun: object) -> None:
    begun.set()  # type: ignore[attr-defined]
    never.wait()


class Result(Join):
    def wait(self) -> object:
        return self.child.result()


class Lock(Case):
    make = mp.Lock

    def arrange(self) -> None:
        self.lock, self.gate = self.make(), mp.Event()
        held = mp.Event()
        self.pool = mp.Pool(1)  # its worker holds the lock, and is not interrupted
        self.pool.apply_async(hold_until, (self.lock, held, self.gate))
        held.wait()

    def wait(self) -> object:
        return self.lock.acquire()

    def check(self) -> None:
        assert self.lock.acquire(block=False) is False

    def end(self) -> None:
        self.gate.set()
        assert self.lock.acquire() is True
        self.lock.release()
        assert self.lock.acquire(block=False) is True


def hold_until(lock: object, held: object, gate: object) -> None:
    with lock:  # type: ignore[attr-defined]
        held.set()  # type: ignore[attr-defined]
        gate.wait()  # type: ignore[attr-defined]


class RLock(Lock):
    make = mp.RLock


class Semaphore(Case):
    def arrange(self) -> None:
        self.semaphore = mp.Semaphore(0)

    def wait(self) -> object:
        return self.semaphore.acquire()

    def check(self) -> None:
        assert self.semaphore.get_value() == 0
        self.semaphore.release()
        assert self.semaphore.acquire(block=False) is True
        assert self.semaphore.acquire(block=False) is False


class Event(Case):
    def arrange(self) -> None:
        self.event = mp.Event()

    def wait(self) -> object:
        return self.event.wait()

    def check(self) -> None:
        assert not self.event.is_set()


class QueueGet(Case):
    def arrange(self) -> None:
        self.queue = mp.Queue()

    def wait(self) -> object:
        return self.queue.get()

    def check(self) -> None:
        for item in range(5):
            self.queue.put(item)
        assert [self.queue.get() for _ in range(5)] == list(range(5))
        assert self.queue.empty()


class QueuePut(Case):
    """A put that was interrupted did not put."""

    def arrange(self) -> None:
        self.queue = mp.Queue(2)
        self.queue.put(b"x" * 100_000)
        self.queue.put(1)

    def wait(self) -> object:
        return self.queue.put(b"y" * 100_000)

    def check(self) -> None:
        assert self.queue.full()

    def end(self) -> None:
        assert [len(self.queue.get()), self.queue.get()] == [100_000, 1]
        assert self.queue.empty()
        self.queue.put(2)
        assert self.queue.get() == 2


CASES: dict[str, type[Case]] = {
    "map": Map,
    "map of sleeps": MapOfSleeps,
    "starmap": Starmap,
    "apply": Apply,
    "get": Get,
    "wait": Wait,
    "imap": Imap,
    "join": Join,
    "result": Result,
    "lock": Lock,
    "rlock": RLock,
    "semaphore": Semaphore,
    "event": Event,
    "queue get": QueueGet,
    "queue put": QueuePut,
}

case = CASES[way]()
if how == "uncaught":
    print("waits", flush=True)
    case.wait()
for _ in range(2):
    try:
        print("waits", flush=True)
        case.wait()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    case.check()
case.end()
print("sound", flush=True)
