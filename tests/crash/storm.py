"""A kill storm: processes put, get, lock, count and compute, and every few milliseconds one of them is killed.

    python -m crash.storm SECONDS [SEED [nested] [options]]

With ``options`` the pool does its work in every way it can be told to (optional.py).

Each notes what it is about to do and what it has done, in arrays that outlive it: so at the end it is known for each
item whether it must be there, may be there (one for each who was killed in between), or must not.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import allcores
from allcores import _native, start
from crash import optional

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 30.0
LIVES = 40_000  # processes in one storm, at most
EACH = 500  # items of one producer
LARGE = np.arange(20_000)
# Milliseconds between two kills.
KILL_EVERY = (1, 20)


class Board:
    """What all share. ``begun`` and ``done`` count, for each process by its number, what it set out to do and did."""

    def __init__(self) -> None:
        self.open = allcores.Queue(20)  # main gets from it: every item is accounted for
        self.closed = allcores.Queue(20)  # who gets from it may be killed with the item in hand
        self.lock = allcores.Lock()
        self.locked = allcores.Value("q", 0, lock=False)
        self.counted = allcores.Value("q", 0)
        self.begun = allcores.Array("q", LIVES, lock=False)
        self.done = allcores.Array("q", LIVES, lock=False)
        self.arrived = allcores.Array("B", LIVES * EACH, lock=False)
        self.over = allcores.Event()


def item(me: int, n: int) -> Any:
    """Every kind of message: inline, a block, a block and one that it names."""
    return (me, n, None if n % 3 == 0 else "x" * 1000 if n % 3 == 1 else LARGE)


def check(got: Any) -> tuple[int, int]:
    me, n, body = got
    expected = item(me, n)[2]
    assert np.array_equal(body, expected) if n % 3 == 2 else body == expected, f"item {n} of {me} is damaged"
    return me, n


def produce(me: int, board: Board, to: str) -> None:
    queue: allcores.Queue = getattr(board, to)
    for n in range(EACH):
        if board.over.is_set():
            return
        board.begun[me] = n + 1
        queue.put(item(me, n))
        board.done[me] = n + 1


def consume(me: int, board: Board) -> None:
    while True:
        got = board.closed.get()
        if got is None:
            return
        board.begun[me] += 1
        arrived(board, *check(got))
        board.done[me] += 1
        del got


def arrived(board: Board, me: int, n: int) -> None:
    board.arrived[me * EACH + n] += 1


def use_lock(me: int, board: Board) -> None:
    """Not one store under the lock but two: only whoever holds it may be between them."""
    while not board.over.is_set():
        try:
            with board.lock:
                board.begun[me] += 1
                board.locked.value = board.locked.value + 1
                board.done[me] += 1
        except allcores.OwnerDied:
            board.lock.recover()  # one more or one less of a count is nothing to repair


def count(me: int, board: Board) -> None:
    while not board.over.is_set():
        board.begun[me] += 1
        board.counted += 1
        board.done[me] += 1


def use_pool(me: int, board: Board) -> None:
    """A pool of its own, whose workers end with it."""
    with contextlib.suppress(allcores.InitializerFailed), allcores.Pool(1) as pool:
        while not board.over.is_set():
            compute_once(pool, 100)
            board.done[me] += 1


def compute_once(pool: Any, n: int) -> int:
    """Each item is right, or it died; how many died."""
    results = pool.imap(square, range(n), 3)
    died = 0
    for x in range(n):
        try:
            got: Any = results.next(PATIENCE)
        except allcores.WorkerDied as error:
            got = error
            died += 1
        assert (got.index == x) if isinstance(got, allcores.WorkerDied) else got == x * x
    return died


def square(x: int) -> int:
    return x * x


ROLES: tuple[Callable[..., None], ...] = (produce, produce, produce, consume, consume, use_lock, use_lock, count)


class Storm:
    def __init__(self, seed: int, nested: bool, options: bool) -> None:
        self.nested, self.options = nested, options
        self.make_pool = optional.make_pool if options else lambda: allcores.Pool(2)
        self.every_way = optional.WAYS if options else (compute_once,)
        self.ways = itertools.cycle(self.every_way)
        self.roles: tuple[Callable[..., None], ...] = (*ROLES, use_pool) if nested else ROLES
        self.board = Board()
        self.random = random.Random(seed)
        self.running: dict[int, tuple[Any, Any]] = {}  # number -> process, role
        self.role_of: list[Any] = []
        self.kills = 0
        self.failed: list[BaseException] = []
        self.dead_items = self.items = self.broken_pools = 0
        self.pool = self.make_pool()

    def end_pool(self) -> None:
        self.pool.close()
        self.pool.join()
        del self.pool  # whose channels are as large as they ever had to be, and live as long as it
        start.end_parked()

    def without_pool(self) -> tuple[int, int, int]:
        """What there is while the pool is another: its workers come and go, and with them what they have."""
        self.end_pool()
        found = traces()
        self.pool = self.make_pool()
        return found

    def launch(self, role: Callable[..., None], *args: Any) -> None:
        number = len(self.role_of)
        self.role_of.append((role, *args))
        process = allcores.Process(target=role, args=(number, self.board, *args), daemon=True)
        process.start()
        self.running[number] = (process, (role, *args))

    def launch_all(self) -> None:
        for i, role in enumerate(self.roles):
            self.launch(role, *(["open" if i else "closed"] if role is produce else []))

    def reap(self, relaunch: bool, wait: float | None = 0) -> None:
        for number, (process, role) in list(self.running.items()):
            process.join(wait)
            if process.exitcode is None:
                assert wait == 0, f"{role} has not ended"
                continue
            assert process.exitcode in (0, -signal.SIGKILL), f"{role} ended with {process.exitcode}"
            process.close()
            del self.running[number]
            if relaunch and len(self.role_of) < LIVES:
                self.launch(*role)

    def strike(self) -> None:
        """Kill one of all processes, workers of pools and what has only just started included."""
        template = start.template_pid()
        with open(f"/proc/{template}/task/{template}/children") as f:
            victims = f.read().split()
        if victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.random.choice(victims)), signal.SIGKILL)
                self.kills += 1

    def rage(self, seconds: float) -> None:
        self.launch_all()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.failed:
            time.sleep(self.random.uniform(*KILL_EVERY) / 1000)  # not to wait for something: the pace of the storm
            self.strike()
            self.reap(relaunch=True)

    def calm_down(self) -> None:
        """Let all end by themselves."""
        self.board.over.set()
        consumers = [number for number, (_process, role) in self.running.items() if role[0] is consume]
        while set(self.running) - set(consumers):
            for number in set(self.running) - set(consumers):
                process, role = self.running[number]
                process.join(PATIENCE)
                assert process.exitcode is not None, f"{role} has not ended"
                process.close()
                del self.running[number]
        for _ in consumers:
            self.board.closed.put(None, timeout=PATIENCE)
        self.reap(relaunch=False, wait=PATIENCE)

    # In threads of their own.

    def guarded(self, action: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001 - raised again by the main thread
                self.failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def get_all(self) -> None:
        while True:
            got = self.board.open.get()
            if got is None:
                return
            arrived(self.board, *check(got))
            del got

    def compute(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.dead_items += next(self.ways)(self.pool, 300)
                self.items += 300
            except allcores.InitializerFailed:  # its workers were killed as they started, one after another
                self.pool.terminate()
                self.pool = self.make_pool()
                self.broken_pools += 1

    # What must be so.

    def verify(self) -> dict[str, int]:
        board, lives = self.board, len(self.role_of)
        begun, done = np.array(board.begun[:lives]), np.array(board.done[:lives])
        arrivals = np.frombuffer(memoryview(board.arrived), np.uint8).reshape(LIVES, EACH)[:lives]
        assert arrivals.max() <= 1, "something arrived twice"
        missing = killed = 0
        for i, role in enumerate(self.role_of):
            if role[0] is produce:
                there = arrivals[i]
                assert not there[begun[i] :].any(), "something arrived that was never put"
                lost = int((there[: done[i]] == 0).sum())
                assert lost == 0 or role[1] == "closed", f"{lost} committed items of {i} are lost"
                missing += lost
            killed += role[0] is consume and begun[i] - done[i] + 1
        assert missing <= killed, f"{missing} items are gone, and only {killed} were in a dead one's hands"
        for role, value in ((use_lock, board.locked.value), (count, board.counted.value)):
            mine = [i for i, r in enumerate(self.role_of) if r[0] is role]
            assert done[mine].sum() <= value <= begun[mine].sum(), f"{role.__name__}: {value}"
        return {
            "kills": self.kills,
            "lives": lives,
            "arrived": int(arrivals.sum()),
            "in a dead one's hands": missing,
            "locked": int(board.locked.value),
            "counted": int(board.counted.value),
            "pool items": self.items,
            "of them died": self.dead_items,
            "pools broken": self.broken_pools,
        }


def traces() -> tuple[int, int, int]:
    gc.collect()
    blocks, size, _free = _native.usage()
    return blocks, size, len(os.listdir("/proc/self/fd"))


def blow(storm: Storm, seconds: float) -> dict[str, int]:
    assert storm.pool.map(square, range(9)) == [x * x for x in range(9)]
    for way in storm.every_way:  # what is made on first use stays
        way(storm.pool, 20)
    before = storm.without_pool()
    threads = [storm.guarded(storm.get_all), storm.guarded(lambda: storm.compute(seconds))]
    try:
        storm.rage(seconds)
        threads[1].join(2 * PATIENCE)
        storm.calm_down()
    finally:
        storm.board.open.put(None)
        threads[0].join(PATIENCE)
    if storm.failed:
        raise storm.failed[0]
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    report = storm.verify()
    after = storm.without_pool()
    if not storm.nested and not storm.broken_pools:
        assert after == before, f"blocks, bytes and descriptors: {after}, before the storm {before}"
    report["blocks left"] = after[0] - before[0]
    storm.end_pool()
    return report


def main(seconds: float, seed: int, nested: bool, options: bool) -> None:
    """``nested``: some have pools of their own. Who is killed before it takes its job leaves pins on what its handles
    name (docs/design.md, 11): so the queues of a pool that has died may stay, and blocks are only reported.
    """
    faulthandler.dump_traceback_later(seconds + 3 * PATIENCE, exit=True)
    print(f"seed {seed}", file=sys.stderr)
    storm = Storm(seed, nested, options)
    print(json.dumps(blow(storm, seconds)), flush=True)


if __name__ == "__main__":
    main(
        float(sys.argv[1]),
        int((*sys.argv, "0")[2]) or int.from_bytes(os.urandom(4)),
        "nested" in sys.argv,
        "options" in sys.argv,
    )
