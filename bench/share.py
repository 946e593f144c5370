"""What a large list or dict costs among workers: python -m bench.share [ITEMS [WORKERS]]

Each worker reads all of it, at the same time. Memory: how much more all processes of the program have together (PSS)
once all have read it, beyond what they have with a single item, against the size of the pickled data. The plain object
stays in the main process throughout. multiprocessing passes it, by fork and by spawn. Prints Markdown.
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
    draw = random.Random(1)
    at = [draw.randrange(len(shared)) for _ in range(LOOKUPS)]
    keys: list[Any] = [f"key {i}" for i in at] if hasattr(shared, "values") else at
    begin = perf_counter()
    for key in keys:
        shared[key]
    times.put((read / len(shared) * 1e6, (perf_counter() - begin) / LOOKUPS * 1e6))
    done.release()
    over.wait()


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
    print("| what | by | until all have it (s) | memory taken, by size | per item read (us) | per random access (us) |")
    print("|---|---|---|---|---|---|")
    ways = {
        "allcores.share": allcores,
        "multiprocessing, fork": multiprocessing.get_context("fork"),
        "multiprocessing, spawn": multiprocessing.get_context("spawn"),
    }
    for what, make in MAKERS.items():
        thing = make(items)
        size = len(pickle.dumps(thing))
        for way, mp in ways.items():
            alone = measure(mp, make(1), workers)[1]
            there, growth, read, access = measure(mp, thing, workers)
            taken = f"{(growth - alone) / size:.2f}"
            print(f"| {what} | {way} | {there:.1f} | {taken} | {read:.2f} | {access:.2f} |", flush=True)


if __name__ == "__main__":
    main(*(int(n.replace("_", "")) for n in (sys.argv[1:] + [str(ITEMS), str(WORKERS)][len(sys.argv) - 1 :])))
