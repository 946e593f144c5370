"""What limits a large cluster, on paper: python -m bench.cluster_limits [ENGINE ...]

Measured on two workers of this machine: what a chunk of work costs the program and the engine's head (of Dask the
scheduler; of Ray gcs_server, which has next to nothing to do with chunks) in seconds of a core, what a worker costs the
head that does nothing, how many bytes a second go through the program, what a lock costs whoever has it. From
these a model, for 100, 1,000 and 10,000 workers: W workers whose chunks take T seconds ask for W/T chunks a second, and
program and head have a core each. What a worker at rest costs is taken to grow with their number on Ray; on Dask each
of many says less often that it is there, by dask's own rule. Prints Markdown.
"""

import argparse
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from time import perf_counter, sleep
from typing import Any, NamedTuple

import psutil

import allcores

WORKERS, MORE, CHUNKS, BLOBS, LOCKS, IDLE = 2, 8, 2_000, 200, 1_000, 40.0
BLOB = 1 << 20
SIZES = (100, 1_000, 10_000)


def nothing(_x: object) -> None:
    return None


def blob(_x: object) -> bytes:
    return bytes(BLOB)


class Figures(NamedTuple):
    """Of one engine; seconds are of a core."""

    chunk_program: float
    chunk_head: float
    idle: float  # of the head, for each worker, whether it works or not
    into: float  # bytes a second to workers, with all that is on the way on this machine
    out_of: float
    lock: float  # of the process that has it, for a lock taken and given back


def heads(mp: Any) -> list[psutil.Process]:
    """The processes of the engine that are there once, however many machines there are."""
    head = psutil.Process(mp._fleet().head.pid)
    if mp.name == "dask":
        return [head]
    return [each for each in head.children(recursive=True) if each.name() == "gcs_server"]


def spent(processes: list[psutil.Process]) -> float:
    """Seconds of a core, of all of them."""
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def costs(do: Callable[[], object], head: list[psutil.Process]) -> tuple[float, float, float]:
    """Seconds by the clock, and of a core: of this program, of the head."""
    do()
    me = [psutil.Process()]
    begin, own, theirs = perf_counter(), spent(me), spent(head)
    do()
    return perf_counter() - begin, spent(me) - own, spent(head) - theirs


def at_rest(head: list[psutil.Process]) -> float:
    """The part of a core that it takes when nobody does anything."""
    sleep(1)
    before = spent(head)
    sleep(IDLE)
    return (spent(head) - before) / IDLE


def lock_and_release(lock: Any) -> None:
    for _ in range(LOCKS):
        with lock:
            pass


def measured(name: str) -> Figures:
    mp = allcores.get_context(name)
    with mp.Pool(WORKERS) as pool:
        head = heads(mp)
        _, program, by_head = costs(lambda: pool.map(nothing, range(CHUNKS), 1), head)
        into, *_ = costs(lambda: pool.map(nothing, (bytes(BLOB) for _ in range(BLOBS)), 1), head)
        out_of, *_ = costs(lambda: pool.map(blob, range(BLOBS), 1), head)
        lock = mp.Lock()
        hosts = head if name == "dask" else [each for each in psutil.process_iter() if "HostsActor" in each.name()]
        *_, by_hosts = costs(lambda: lock_and_release(lock), hosts)
        few = at_rest(head)
    with mp.Pool(WORKERS + MORE) as pool:
        pool.map(nothing, range(CHUNKS // 10), 1)
        idle = max(at_rest(head) - few, 0) / MORE
    mp.close()
    return Figures(
        program / CHUNKS, by_head / CHUNKS, idle, BLOB * BLOBS / into, BLOB * BLOBS / out_of, by_hosts / LOCKS
    )


def calmer(name: str, workers: int) -> float:
    """How often each of so many workers says that it is there, for once that it does among the few measured."""
    if name != "dask":
        return 1.0
    from distributed.scheduler import heartbeat_interval

    return float(heartbeat_interval(WORKERS + MORE) / heartbeat_interval(workers))


def shortest(name: str, figures: Figures, workers: int) -> tuple[float, str]:
    """How long chunks must be at least for so many workers to be busy, in seconds, and whose core is full then."""
    program = workers * figures.chunk_program
    left = 1 - workers * figures.idle * calmer(name, workers)
    head = workers * figures.chunk_head / left if left > 0 else float("inf")
    return max((program, "the program"), (head, "the head"))


def lines(name: str, figures: Figures) -> Iterator[str]:
    yield f"| **{name}** | |"
    yield f"| a chunk, of the program's core | {figures.chunk_program * 1e6:.0f} µs |"
    yield f"| a chunk, of the head's core | {figures.chunk_head * 1e6:.0f} µs |"
    yield f"| a worker at rest, of the head's core | {figures.idle * 100:.3f} % |"
    yield f"| bytes of items to workers, of results back | {figures.into / 1e6:.0f}, {figures.out_of / 1e6:.0f} MB/s |"
    yield f"| a lock taken and given back, of the core of the process that has it | {figures.lock * 1e6:.0f} µs |"


def model(name: str, figures: Figures) -> Iterator[str]:
    for workers in SIZES:
        seconds, whose = shortest(name, figures, workers)
        least = "none is long enough" if seconds == float("inf") else f"{seconds:.2g} s"
        each = figures.into / workers
        locks = 1 / figures.lock / workers if figures.lock else float("inf")
        yield f"| {name} | {workers:,} | {least} | {whose} | {each / 1e3:,.0f} kB/s | {locks:,.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_limits")
    parser.add_argument("engines", nargs="*", default=["dask", "ray"], metavar="ENGINE")
    found = {}
    for engine in parser.parse_args().engines:
        if find_spec({"dask": "distributed"}.get(engine, engine)) is None:
            print(f"{engine}: not installed")
        else:
            found[engine] = measured(engine)
    print("| measured | |\n|---|--:|")
    for name, figures in found.items():
        print("\n".join(lines(name, figures)))
    print(
        "\n| | workers | chunks that keep them busy take at least | by the core of | items for each worker "
        "| locks a second for each worker |\n|---|--:|--:|---|--:|--:|"
    )
    for name, figures in found.items():
        print("\n".join(model(name, figures)))


if __name__ == "__main__":
    main()
