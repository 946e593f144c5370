"""What a victim is doing when it dies, and what must be so afterwards.

A scenario is a function of a Run: it prepares, has ``run.victim`` do something, and checks what is left, given how far
the victim came. test_steps.py runs each once for every step that its victim comes to.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from queue import Full
from typing import TYPE_CHECKING, Any

import numpy as np

import allcores

from .dying import PATIENCE, Run, begin, finish, kill_at, native

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dying import Death

# Inline by its tag; inline as a pickle; in one block; in one block and two more that it names.
ITEMS: dict[str, Any] = {
    "inline": 7,
    "pickled": [1, "two", 3.0],
    "block": "x" * 5000,
    "buffers": [np.arange(2_000), np.ones(131_072)],
}
FIRST_RING = 64  # kFirstRing


def plain(item: Any) -> Any:
    """The item as something that can be compared."""
    return [x.tolist() if isinstance(x, np.ndarray) else x for x in item] if isinstance(item, list) else item


def drain(queue: allcores.Queue) -> list[Any]:
    items = []
    while not queue.empty():
        items.append(plain(queue.get(timeout=PATIENCE)))
    return items


def error_of(func: Callable[[], object]) -> Exception | None:
    """What the call raises. Instead of pytest, whose import would cost every victim more than all else."""
    try:
        func()
    except Exception as error:  # noqa: BLE001 - the caller looks at it
        return error
    return None


def putting(run: Run, item: Any) -> None:
    queue = allcores.Queue(3)
    queue.put("before")
    death = run.victim(put_all, queue, [item])
    queue.put("after", timeout=PATIENCE)
    arrives = [plain(item)] if death.passed("put.committing") else []
    assert drain(queue) == ["before", *arrives, "after"]
    for x in range(3):
        queue.put(x, timeout=PATIENCE)  # there is room for as many as ever
    assert drain(queue) == [0, 1, 2]


def put_all(queue: allcores.Queue, items: list[Any]) -> None:
    for item in items:
        queue.put(item)


def getting(run: Run, item: Any) -> None:
    queue = allcores.Queue()
    put_all(queue, [item, "second"])
    death = run.victim(get_one, queue)
    queue.put("third")
    stays = [] if death.passed("take.freed") else [plain(item)]
    assert drain(queue) == [*stays, "second", "third"]


def get_one(queue: allcores.Queue) -> None:
    queue.get(timeout=PATIENCE)


def growing(run: Run) -> None:
    """A put that finds the ring full, closes it and makes the next."""
    queue = allcores.Queue()
    put_all(queue, list(range(FIRST_RING)))
    death = run.victim(put_all, queue, ["more"])
    queue.put("last")
    arrives = ["more"] if death.passed("put.committing") else []
    assert drain(queue) == [*range(FIRST_RING), *arrives, "last"]


def leaving(run: Run) -> None:
    """A get that finds the ring closed and empty, seals it and goes on to the next."""
    queue = allcores.Queue()
    put_all(queue, list(range(FIRST_RING + 1)))
    for _ in range(FIRST_RING):
        queue.get(timeout=PATIENCE)
    death = run.victim(get_one, queue)
    queue.put("last")
    stays = [] if death.passed("take.freed") else [FIRST_RING]
    assert drain(queue) == [*stays, "last"]


def stepping_over(run: Run) -> None:
    """A get that comes to the cell of a producer who died in it."""
    queue = allcores.Queue(3)
    queue.put("a")
    kill_at(run.note, "put.claimed", put_all, queue, ["never"])
    queue.put("b")
    death = run.victim(get_two, queue)
    assert drain(queue) == ["a", "b"][sum(death.passed("take.freed", nth) for nth in (1, 2)) :]
    put_all(queue, [1, 2, 3])
    assert drain(queue) == [1, 2, 3]


def get_two(queue: allcores.Queue) -> None:
    for _ in range(2):
        queue.get(timeout=PATIENCE)


def check_lock(lock: Any, death: Death) -> None:
    """Whoever died with it is named until recover(); whoever did not leaves it free."""
    if death.passed("acquire.taken") and not death.passed("release.done"):
        for _ in range(2):
            error = error_of(lambda: lock.acquire(timeout=PATIENCE))
            assert isinstance(error, allcores.OwnerDied)
            assert error.pid == death.pid
        assert lock.recover()
    assert lock.acquire(timeout=PATIENCE)
    lock.release()


def locking(run: Run, make: Callable[[], Any]) -> None:
    lock = make()
    check_lock(lock, run.victim(use, lock))


def use(lock: Any) -> None:
    with lock:
        if lock.recursive:
            lock.acquire()
            lock.release()


def adding(run: Run) -> None:
    """One store under the lock leaves nothing half done: the lock is simply free."""
    value = allcores.Value("q", 5)
    death = run.victim(add_one, value)
    assert value.value == 5 + death.passed("release.begun")
    value += 1


def add_one(value: Any) -> None:
    value += 1


def updating(run: Run) -> None:
    """More than one store under the lock of a Value: who dies in it is named."""
    value = allcores.Value("q", 5)
    check_lock(value.get_lock(), run.victim(update, value))
    value.value += 1


def update(value: Any) -> None:
    with value.get_lock():
        value.value = value.value + 1


class Pair(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int64), ("y", ctypes.c_int64), ("low", ctypes.c_int, 3), ("high", ctypes.c_int, 20))


def setting_a_field(run: Run, name: str) -> None:
    """A field of a Structure is one store, its bits in a shared word as well."""
    value = allcores.Value(Pair, 1, 1, 1, 1)
    death = run.victim(setattr, value, name, 2)
    assert getattr(value, name) == 1 + death.passed("release.begun")
    assert (value.x, value.y, value.low, value.high).count(1) >= 3
    value.y += 1


def setting_an_element(run: Run, many: bool) -> None:
    """A whole Structure is several: who dies in it is named, and nobody takes half of one for a whole."""
    array = allcores.Array(Pair, [(1, 1)] * 4)
    death = run.victim(set_elements if many else set_element, array)
    check_lock(array.get_lock(), death)
    array[0] = (3, 3)
    assert (array[0].x, array[0].y, array[1].x) == (3, 3, 1)


def set_element(array: Any) -> None:
    array[0] = (2, 2)


def set_elements(array: Any) -> None:
    array[::2] = [(2, 2)] * 2


def making(run: Run) -> None:
    """Objects that begin and end in the victim, with something in them."""
    run.victim(make_and_drop)


def make_and_drop() -> None:
    queue = allcores.Queue()
    put_all(queue, [*range(FIRST_RING), ITEMS["buffers"]])
    lock, value = allcores.Lock(), allcores.Value("d")
    del queue, lock, value


def talking(run: Run) -> None:
    """Something received and sent, and the end of the one who did."""
    here, there = allcores.Pipe()
    here.send("hello")
    death = run.victim(talk, there)
    there.close()
    assert ends_after(here) == (["answer"] if death.passed("put.committing") else [])
    assert isinstance(error_of(lambda: here.send("late")), BrokenPipeError)


def talk(connection: Any) -> None:
    connection.recv()
    connection.send("answer")
    connection.close()


def ends_after(connection: Any) -> list[Any]:
    """What is received before the end, which must come."""
    items = []
    while connection.poll(PATIENCE):
        try:
            items.append(connection.recv())
        except EOFError:
            return items
    raise AssertionError("the end has not come")


def passing_an_end_on(run: Run) -> None:
    """An end that comes by a queue, and goes on by another: nobody has it for ever."""
    here, there = allcores.Pipe()
    first, second = allcores.Queue(), allcores.Queue()
    first.put(there)
    there.close()
    death = run.victim(pass_on, first, second)
    arrives = death.passed("put.committing")
    assert len(drain(first)) == (not death.passed("take.freed"))
    if arrives:
        with second.get(timeout=PATIENCE) as last:
            last.send("here")
    assert ends_after(here) == (["here"] if arrives else [])


def pass_on(first: allcores.Queue, second: allcores.Queue) -> None:
    second.put(first.get(timeout=PATIENCE))


def waited_for(run: Run, change: Callable[[Any], None]) -> None:
    """Somebody waits for several things while the victim changes one of them."""
    queue, event, other = allcores.Queue(), allcores.Event(), allcores.Event()
    native.several_announce([queue.offset, event.offset])  # before the victim comes, in any case
    ready: list[Any] = []
    waits = threading.Thread(target=lambda: ready.extend(allcores.wait([queue, event, other], PATIENCE)))
    waits.start()
    run.victim(change, (queue, event))
    if queue.empty() and not event.is_set():
        other.set()
    waits.join(PATIENCE)
    assert not waits.is_alive()
    assert ready


def put_one(things: tuple[Any, Any]) -> None:
    things[0].put(1)


def set_one(things: tuple[Any, Any]) -> None:
    things[1].set()
    things[0].put(1)


_classes = iter(range(1000))


def extending(run: Run) -> None:
    """A queue so large that its size has no block yet: each time another size, 8 MiB and up, never touched."""
    k = next(_classes)
    cells = ((8 << 20) * (4 + k % 4) // 4 << (k // 4)) // 256 - 2
    run.victim(make_bounded, cells)


def make_bounded(cells: int) -> None:
    allcores.Queue(cells)


def cooling(run: Run) -> None:
    """A block too large to be kept warm gives its memory back."""
    queue = allcores.Queue()
    queue.put(np.zeros(1 << 20))
    death = run.victim(get_one, queue)
    assert len(drain(queue)) == (not death.passed("take.freed"))


def trimming(run: Run) -> None:
    """Memory of free blocks goes back; in it the victim owns them."""
    native.trim()  # so that what is free and has memory is the same each time
    queue = allcores.Queue()
    put_all(queue, [ITEMS["block"]] * 100 + [ITEMS["buffers"]] * 3)
    kept = [queue.get() for _ in range(50)]
    drain(queue)
    run.victim(trim_all)
    put_all(queue, [*kept, ITEMS["buffers"]])
    assert drain(queue) == [*kept, plain(ITEMS["buffers"])]
    native.trim()
    assert native.trim() == 0  # nothing stays with the dead


def trim_all() -> None:
    native.trim()


def pool_calls(run: Run, item: Any) -> None:
    """The victim is a worker: armed by one task, it dies while it answers that, or takes or does the next two."""
    with allcores.Pool(1, reuse=False) as pool:
        results = [
            pool.apply_async(begin, (run.order(),)),
            pool.apply_async(identity, (item,)),
            pool.apply_async(finish, (run.order(),)),
        ]
        for result in results:
            result.wait(PATIENCE)
        death = run.death()
        fate = ["running" if death.passed("take.freed", n) or n == 0 else "waiting" for n in range(3)]
        fate = ["answered" if death.passed("put.committing", n + 1) else fate[n] for n in range(3)]
        for n, result in enumerate(results):
            if fate[n] == "running" and not run.lives:
                assert isinstance(error_of(functools.partial(result.get, 0)), allcores.WorkerDied)
            else:
                assert plain(result.get(0)) == (plain(item) if n == 1 else None)
        assert pool.map(identity, range(5)) == list(range(5))


def identity(x: Any) -> Any:
    return x


def check_joinable(queue: Any, items: list[Any], lost: int, pid: int) -> None:
    """So many items are in the hands of the dead, ``pid`` among them, and these in the queue; no more is unfinished."""
    seen = queue.statistics()
    assert (seen.unfinished, seen.in_hands, seen.lost) == (len(items) + lost, lost, lost)
    if lost:
        error = error_of(queue.join)
        assert isinstance(error, allcores.ConsumerDied)
        assert sum(each.items for each in error.consumers) == lost
        assert pid == 0 or pid in {each.pid for each in error.consumers}
    assert queue.recover() == lost
    assert take_and_finish(queue) == items
    queue.join()
    assert isinstance(error_of(queue.task_done), ValueError)


def take_and_finish(queue: Any) -> list[Any]:
    items = []
    while not queue.empty():
        items.append(queue.get(timeout=PATIENCE))
        queue.task_done()
    return items


def joinable_putting(run: Run) -> None:
    queue = allcores.JoinableQueue(3, max_bytes=100)
    queue.put("before")
    death = run.victim(put_all, queue, ["item"])
    queue.put("after", timeout=PATIENCE)
    arrives = ["item"] if death.passed("put.committing") else []
    assert queue.statistics().bytes == len("before" + "after" + "item" * len(arrives))
    check_joinable(queue, ["before", *arrives, "after"], 0, 0)
    assert queue.statistics().bytes == 0


def joinable_taking(run: Run, before: int = 0) -> None:
    """Also where another died with items in its hands, whose slot the victim has."""
    queue = allcores.JoinableQueue(max_bytes=100)
    for _ in range(before):
        queue.put("lost before")
        kill_at(run.note, "take.returned", get_one, queue)
    put_all(queue, ["item", "second"])
    death = run.victim(get_one, queue)
    queue.put("third")
    took = death.passed("take.freed")
    check_joinable(queue, [*([] if took else ["item"]), "second", "third"], before + took, death.pid if took else 0)
    assert queue.statistics().bytes == 0


def joinable_finishing(run: Run) -> None:
    queue = allcores.JoinableQueue()
    put_all(queue, ["item"])
    death = run.victim(take_and_finish, queue)
    took, done = death.passed("take.freed"), death.passed("ledger.finished")
    check_joinable(queue, [] if took else ["item"], took - done, death.pid)


def joinable_mending(run: Run, at: str) -> None:
    """The victim finds what one left who died inside."""
    queue = allcores.JoinableQueue(max_bytes=100)
    put_all(queue, ["item", "second"])
    first = kill_at(run.note, at, get_one if "take" in at else put_third, queue)
    run.victim(look_inside, queue)
    lost = 1 if "take" in at else 0
    put_all(queue, [] if "put" in at else ["third"])
    check_joinable(queue, ["item", "second", "third"][lost:], lost, first)
    assert queue.statistics().bytes == 0


def put_third(queue: Any) -> None:
    queue.put("third")


def look_inside(queue: Any) -> None:
    """Go in and change nothing: what was not taken is left by a get of nothing, or put in vain."""
    try:
        queue.put("x" * 200, block=False)
    except Full:
        return
    raise AssertionError("there was room for more than may wait")


def joinable_recovering(run: Run) -> None:
    queue = allcores.JoinableQueue()
    put_all(queue, ["item", "second"])
    first = kill_at(run.note, "take.returned", get_one, queue)
    death = run.victim(recover, queue)
    check_joinable(queue, ["second"], 0 if death.passed("ledger.lost_forgotten") else 1, first)


def recover(queue: Any) -> None:
    queue.recover()


def pool_map(run: Run, timeout: float | None = None) -> None:
    """The same in chunks of three: only the item that was running fails, the others of its chunk run again."""
    with allcores.Pool(1, reuse=False) as pool:
        got = []
        items: Any = pool.imap(functools.partial(item_of_a_chunk, run.order()), range(6), 3, timeout=timeout)
        for _ in range(6):
            try:
                got.append(items.next(PATIENCE))
            except allcores.WorkerDied as error:
                got.append(error.index)
        death = run.death()
    # Item 0 armed it. The second chunk is item 3 from the moment that it is taken; answering is nobody's item.
    begun = "task.item_begun" if timeout is None else "timed.begun"
    running = max(death.steps[: death.at + 1].count(begun), 3 * death.passed("take.freed"))
    if run.lives or (death.passed("task.computed") and not death.passed("take.freed")):
        running = -1
    assert got == [x if x == running else x * x for x in range(6)]


def condemning(run: Run) -> None:
    """The victim condemns another for an item that takes too long, and dies before it has ended it."""
    come = allcores.Event()
    other = allcores.Process(target=take_too_long, args=(come,))
    other.start()
    come.wait(PATIENCE)
    death = run.victim(condemn, other.pid)
    condemned, _seconds = native.condemn_overdue([other.pid], 0)
    assert [each[0] for each in condemned] == ([] if death.passed("timed.condemned") else [other.pid])
    assert native.condemn_overdue([other.pid], 0) == ([], None)
    other.kill()
    other.join(PATIENCE)
    other.close()


def take_too_long(come: Any) -> None:
    native.call_timed(stay, (come,), {}, 1)


def stay(come: Any) -> None:
    come.set()
    threading.Event().wait(PATIENCE)


def condemn(pid: int) -> None:
    native.condemn_overdue([pid], 0)
    allcores.Queue(1).put(pid)


def item_of_a_chunk(order: tuple[str, str, int], x: int) -> int:
    # Only in the first worker: those that come after it must live.
    if x == 0 and not os.path.exists(order[0]):
        begin(order)
    if x == 5 and not order[1]:
        finish(order)
    return x * x


SCENARIOS: dict[str, Callable[[Run], None]] = {
    **{f"putting {name}": functools.partial(putting, item=item) for name, item in ITEMS.items()},
    **{f"getting {name}": functools.partial(getting, item=item) for name, item in ITEMS.items()},
    "growing": growing,
    "leaving a ring": leaving,
    "stepping over a tomb": stepping_over,
    "lock": functools.partial(locking, make=allcores.Lock),
    "rlock": functools.partial(locking, make=allcores.RLock),
    "talking": talking,
    "passing an end on": passing_an_end_on,
    "a put that is waited for": functools.partial(waited_for, change=put_one),
    "a set that is waited for": functools.partial(waited_for, change=set_one),
    "adding to a Value": adding,
    "updating a Value": updating,
    "setting a field": functools.partial(setting_a_field, name="x"),
    "setting a bit field": functools.partial(setting_a_field, name="low"),
    "setting an element": functools.partial(setting_an_element, many=False),
    "setting a slice": functools.partial(setting_an_element, many=True),
    "making and ending objects": making,
    "extending the arena": extending,
    "cooling a block": cooling,
    "putting into a JoinableQueue": joinable_putting,
    "taking from a JoinableQueue": joinable_taking,
    "taking after others that died": functools.partial(joinable_taking, before=2),
    "task_done": joinable_finishing,
    "mending a put": functools.partial(joinable_mending, at="ledger.put_bytes"),
    "mending a take": functools.partial(joinable_mending, at="ledger.take_bytes"),
    "recovering a JoinableQueue": joinable_recovering,
    "trimming": trimming,
    "pool calls": functools.partial(pool_calls, item=ITEMS["inline"]),
    "pool calls with buffers": functools.partial(pool_calls, item=ITEMS["buffers"]),
    "pool map": pool_map,
    "pool map with a timeout": functools.partial(pool_map, timeout=PATIENCE),
    "condemning": condemning,
}
