"""statistics(): says what is there, in every context, while others work, and after deaths."""

import dataclasses
import gc
import inspect
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import allcores
from allcores import Statistics, _native, statistics, usage
from allcores.context import get_context

PATIENCE = 30.0
KINDS = {
    "queues": allcores.Queue,
    "locks": allcores.Lock,
    "values": lambda: allcores.Value("d"),
    "semaphores": allcores.BoundedSemaphore,
    "events": allcores.Event,
    "conditions": allcores.Condition,
    "barriers": lambda: allcores.Barrier(2),
}


def test_every_field_has_a_line() -> None:
    source = inspect.getsource(Statistics)
    lines = source.splitlines()
    for field in dataclasses.fields(Statistics):
        at = lines.index(f"    {field.name}: int")
        assert lines[at + 1].strip().startswith('"""'), field.name
    assert set(_native.statistics()) == {field.name for field in dataclasses.fields(Statistics)}


def test_frozen_and_slotted() -> None:
    now = statistics()
    with pytest.raises(dataclasses.FrozenInstanceError):
        now.queues = 3
    assert not hasattr(now, "__dict__")


@pytest.mark.parametrize("kind", KINDS)
def test_objects_count_as_long_as_they_live(kind: str) -> None:
    gc.collect()
    before = statistics()
    made = [KINDS[kind]() for _ in range(3)]
    now = statistics()
    assert getattr(now, kind) == getattr(before, kind) + 3
    assert now.blocks_used >= before.blocks_used + 3
    assert now.bytes_used > before.bytes_used
    made.clear()
    gc.collect()
    assert statistics().blocks_used == before.blocks_used
    assert getattr(statistics(), kind) == getattr(before, kind)


def test_what_is_kept() -> None:
    before = statistics()
    queue = allcores.Queue()
    array = np.ones(3 << 17)  # 3 MiB
    queue.put(array)
    on_its_way = statistics()
    assert on_its_way.bytes_used >= before.bytes_used + array.nbytes
    assert on_its_way.bytes_kept == before.bytes_kept
    assert on_its_way.bytes_backed >= array.nbytes
    kept = queue.get()
    assert statistics().bytes_kept == before.bytes_kept + array.nbytes
    view = kept[1:]
    del kept
    assert statistics().bytes_kept == before.bytes_kept + array.nbytes
    del view
    after = statistics()
    assert after.bytes_kept == before.bytes_kept
    assert after.bytes_warm >= array.nbytes


def test_idle_memory_goes_back() -> None:
    queue = allcores.Queue()
    for _ in range(200):
        queue.put(b"x" * 10_000)
    full = statistics()
    while not queue.empty():
        queue.get()
    assert statistics().bytes_backed >= 2_000_000
    given = _native.trim()
    after = statistics()
    assert given >= 1_900_000
    assert after.bytes_backed <= full.bytes_backed - 1_900_000
    assert after.bytes_warm < 1_000_000
    assert after.blocks_free >= 200


def whole() -> Any:
    now = allcores.statistics()
    assert 0 < now.addresses_used < now.addresses
    assert now.processes >= 1
    assert now.keep_limit * now.processes <= now.addresses
    return now


@pytest.mark.parametrize("context", ["serial", "thread", "process"])
def test_in_every_context(context: str) -> None:
    with get_context(context).Pool(2) as pool:
        for now in pool.map(pool_statistics, range(4)):
            assert isinstance(now, usage.Statistics)
            assert now.processes >= (4 if context == "process" else 1)


def pool_statistics(_: int) -> Any:
    return whole()


def hold(objects: list[Any], ready: Any) -> None:
    own = [allcores.Lock() for _ in range(5)]
    received = objects[0].get()
    ready.set()
    threading.Event().wait()
    del own, received


def test_what_the_dead_held_is_settled() -> None:
    queue, ready = allcores.Queue(), allcores.Event()
    queue.put(np.ones(1 << 17))
    before = statistics()
    process = allcores.Process(target=hold, args=([queue], ready))
    process.start()
    assert ready.wait(PATIENCE)
    during = statistics()
    assert during.processes == before.processes + 1
    assert during.locks == before.locks + 5
    assert during.bytes_kept == before.bytes_kept
    process.kill()
    process.join(PATIENCE)
    process.close()
    after = statistics()
    assert after.processes == before.processes
    assert after.locks == before.locks
    assert after.bytes_used < before.bytes_used


def test_while_others_work() -> None:
    """It blocks nobody, and what it reads never makes sense no more."""
    over = threading.Event()

    def work() -> None:
        queue = allcores.Queue()
        while not over.is_set():
            queue.put(np.ones(1000))
            locks = [allcores.Lock() for _ in range(5)]
            queue.get()
            del locks

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(300):
            now = whole()
            assert now.locks < 1000
            assert now.bytes_used < 1 << 34
    finally:
        over.set()
        for worker in workers:
            worker.join(PATIENCE)


IDLE = """
from allcores import _native, segment
_native.create(size=8 << 30, cpus=2, program=1, warm=1 << 30, idle=1)
import time
import allcores
queue, never = allcores.Queue(), allcores.Queue()
for _ in range(2000):
    queue.put(b"x" * 10_000)
while not queue.empty():
    queue.get()
assert allcores.statistics().bytes_backed > 20_000_000
deadline = time.monotonic() + 30
while allcores.statistics().bytes_backed > 2_000_000:
    assert time.monotonic() < deadline
    {wait}
queue.put(b"y" * 10_000)
assert queue.get() == b"y" * 10_000
"""

HERE = "allcores.Event().wait(1.5)"
ELSEWHERE = "p = allcores.Process(target=allcores.Event().wait, args=(1.5,)); p.start(); p.join(); p.close()"


@pytest.mark.parametrize("wait", [HERE, ELSEWHERE], ids=["here", "in another process"])
def test_idle_memory_goes_back_by_itself(wait: str) -> None:
    """Somebody waits for anything: that is enough."""
    subprocess.run([sys.executable, "-c", IDLE.format(wait=wait)], check=True, timeout=PATIENCE + 10)
