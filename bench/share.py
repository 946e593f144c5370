"""What a large list or dict costs among workers: python -m bench.share [ITEMS [WORKERS]]

Each worker reads all of it, at the same time. Memory: how much more all processes of the program have together (PSS)
once all have read it, beyond what they have with a single item. The plain object stays in the main process throughout;
multiprocessing passes it, by fork and by spawn. Prints Markdown.
"""

import multiprocessing
import pickle
import random
import sys
from time import perf_counter
from typing import Any

import psutil

import allcores
from bench import machine

ITEMS, WORKERS = 1_000_000, 8
LOOKUPS = 100_000


def item(i: int) -> Any:
    return {"id": i, "name": f"item {i}", "text": f"{i:0200}"}


MAKERS = {
    "list": lambda n: [item(i) for i in range(n)],
    "dict": lambda n: {f"key {i}": item(i) for i in range(n)},
}


def work(shared: Any, ready: Any, go: Any, done: Any, over: Any, times: Any) -> None:
    """Read it all when told to, then look up or index at random; and stay, to be measured."""
    ready.release()
    go.wait()
    begin = perf_counter()
    for each in shared.values() if hasattr(shared, "values") else shared:
        assert each["id"] >= 0
    read = perf_counter() - begin
    access = at_random(shared, shared.__getitem__) - at_random(shared, only_the_key)
    times.put((read / len(shared) * 1e6, access / LOOKUPS * 1e6))
    done.release()
    over.wait()


def at_random(shared: Any, access: Any) -> float:
    """Seconds for so many keys that are drawn and accessed; nothing is kept, which would be measured as memory."""
    draw, n, keyed = random.Random(1), len(shared), hasattr(shared, "values")
    begin = perf_counter()
    for _ in range(LOOKUPS):
        i = draw.randrange(n)
        access(f"key {i}" if keyed else i)
    return perf_counter() - begin


def only_the_key(key: Any) -> Any:
    return key


def pss(processes: list[psutil.Process]) -> int:
    return sum(process.memory_full_info().pss for process in processes)


def measure(mp: Any, thing: Any, workers: int) -> tuple[float, float, float, float]:
    """Seconds until all workers have it, bytes that are taken, microseconds per item read and per random access."""
    ready, done, go, over, times = mp.Semaphore(0), mp.Semaphore(0), mp.Event(), mp.Event(), mp.Queue()
    me = psutil.Process()
    before = pss([me])
    begin = perf_counter()
    shared = mp.share(thing) if hasattr(mp, "share") else thing
    processes = [mp.Process(target=work, args=(shared, ready, go, done, over, times)) for _ in range(workers)]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    there = perf_counter() - begin
    go.set()
    for _ in processes:
        done.acquire()
    growth = pss([me, *(psutil.Process(process.pid) for process in processes)]) - before
    found = [times.get() for _ in processes]
    over.set()
    for process in processes:
        process.join()
    read, access = (sum(column) / workers for column in zip(*found, strict=True))
    return there, growth, read, access


def main(items: int, workers: int) -> None:
    about = machine.machine()
    print(f"{items:,} items, {workers} workers; {about['cores']} cores of {about['cpu']},")
    print(f"load average {about['load_average']:.1f}\n")
    columns = ("what", "pickled (MiB)", "by", "until all have it (s)", "memory taken (MiB)")
    print(f"| {' | '.join(columns)} | per item read (us) | per random access (us) |")
    print("|---|---|---|---|---|---|---|")
    ways = {
        "allcores.share": allcores,
        "multiprocessing, fork": multiprocessing.get_context("fork"),
        "multiprocessing, spawn": multiprocessing.get_context("spawn"),
    }
    for what, make in MAKERS.items():
        thing = make(items)
        size = len(pickle.dumps(thing)) >> 20
        for way, mp in ways.items():
            alone = measure(mp, make(1), workers)[1]
            there, growth, read, access = measure(mp, thing, workers)
            taken = int(growth - alone) >> 20
            print(f"| {what} | {size} | {way} | {there:.1f} | {taken} | {read:.2f} | {access:.2f} |", flush=True)


if __name__ == "__main__":
    main(*(int(n.replace("_", "")) for n in (sys.argv[1:] + [str(ITEMS), str(WORKERS)][len(sys.argv) - 1 :])))
