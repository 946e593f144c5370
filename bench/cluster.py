"""The cluster contexts beside their engines: python -m bench.cluster [ENGINE ...] [--rounds N] [--quick]

Each engine has two workers of one thread on this machine. What is compared takes turns, round by round, in one program;
the figures are medians. Prints Markdown.

    small    5,000 calls of a function that does next to nothing, with default settings
    array    an array of 64 MB, new each time, to four tasks, that each look at a part of it
    naps     200 calls of 50 ms: at best 5 s
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from time import perf_counter, sleep
from typing import Any

import numpy as np

import allcores

OURS = "allcores"
WORKERS, SMALL, NAPS, NAP, PARTS = 2, 5_000, 200, 0.05, 4
BYTES = 64 << 20
# A way to do one of the three: what the table calls it, and a function that does it and returns what came of it.
Way = tuple[str, Callable[[], Any]]
Ways = dict[str, list[Way]]


def square(x: int) -> int:
    return x * x


def nap(x: int) -> int:
    sleep(NAP)
    return x


def look(array: Any, part: int) -> float:
    return float(array[part * len(array) // PARTS])


def new_array() -> Any:
    return np.ones(BYTES // 8)


EXPECTED: dict[str, Any] = {
    "small": [x * x for x in range(SMALL)],
    "array": [1.0] * PARTS,
    "naps": list(range(NAPS)),
}
TITLES = {
    "small": (f"{SMALL:,} small calls, each", "µs", 1e6 / SMALL),
    "array": ("64 MB to four tasks", "ms", 1e3),
    "naps": (f"{NAPS} calls of {NAP * 1e3:.0f} ms", "s", 1.0),
}


def ours(mp: Any, pool: Any) -> Ways:
    def to_parts(array: Any) -> Any:
        return pool.starmap(look, [(array, part) for part in range(PARTS)])

    return {
        "small": [(OURS, lambda: pool.map(square, range(SMALL)))],
        "array": [
            (f"{OURS}, a `SharedArray`", lambda: to_parts(mp.SharedArray.from_array(new_array()))),
            (f"{OURS}, an array, of which each task has its own copy", lambda: to_parts(new_array())),
        ],
        "naps": [(OURS, lambda: pool.map(nap, range(NAPS)))],
    }


@contextmanager
def dask() -> Iterator[Ways]:
    """The expert scatters what is large, and has tasks that no two calls share."""
    import distributed

    def array() -> Any:
        [there] = client.scatter([new_array()])
        return client.gather(client.map(look, [there] * PARTS, range(PARTS), pure=False))

    mp = allcores.get_context("dask")
    own = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    with own, distributed.Client(own) as client, mp.Pool(WORKERS) as pool:
        mine = ours(mp, pool)
        yield {
            "small": [
                *mine["small"],
                ("`client.map`, `gather`", lambda: client.gather(client.map(square, range(SMALL), pure=False))),
                (
                    "`client.map(batch_size=100)`, `gather`",
                    lambda: client.gather(client.map(square, range(SMALL), pure=False, batch_size=100)),
                ),
            ],
            "array": [*mine["array"], ("`scatter`, `client.map`, `gather`", array)],
            "naps": [
                *mine["naps"],
                ("`client.map`, `gather`", lambda: client.gather(client.map(nap, range(NAPS), pure=False))),
            ],
        }
    mp.close()


@contextmanager
def ray() -> Iterator[Ways]:
    """The expert puts what is large into the store once, and has a task for each call.

    A program has one connection to Ray: theirs runs on our cluster, whose cores tasks have for themselves, since their
    pool and ours ask for none.
    """
    import ray
    from ray.util.multiprocessing import Pool as RayPool

    mp = allcores.get_context("ray")
    mp.Pool(WORKERS).terminate()  # the cluster is there, and this program connected to it
    squares, naps, looks = (ray.remote(f) for f in (square, nap, look))

    def array() -> Any:
        there = ray.put(new_array())
        return ray.get([looks.remote(there, part) for part in range(PARTS)])

    with mp.Pool(WORKERS) as pool, RayPool(WORKERS, ray_remote_args={"num_cpus": 0}) as theirs:
        mine = ours(mp, pool)
        yield {
            "small": [
                *mine["small"],
                ("tasks", lambda: ray.get([squares.remote(x) for x in range(SMALL)])),
                ("`ray.util.multiprocessing.Pool.map`", lambda: theirs.map(square, range(SMALL))),
            ],
            "array": [*mine["array"], ("`put`, tasks", array)],
            "naps": [
                *mine["naps"],
                ("tasks", lambda: ray.get([naps.remote(x) for x in range(NAPS)])),
                ("`Pool.map(chunksize=1)`", lambda: theirs.map(nap, range(NAPS), 1)),
            ],
        }
    mp.close()


ENGINES = {"dask": (dask, "distributed"), "ray": (ray, "ray")}


def timed(do: Callable[[], Any], expected: Any) -> float:
    begin = perf_counter()
    got = do()
    seconds = perf_counter() - begin
    if list(got) != expected:
        raise AssertionError("a wrong answer")
    return seconds


def measure(ways: Ways, rounds: int) -> Iterator[str]:
    """The lines of the table."""
    for what, chosen in ways.items():
        for _, do in chosen:  # the first time is for what is started, loaded and learned once
            timed(do, EXPECTED[what])
        samples: dict[str, list[float]] = {name: [] for name, _ in chosen}
        for _ in range(rounds):
            for name, do in chosen:
                samples[name].append(timed(do, EXPECTED[what]))
        title, unit, scale = TITLES[what]
        mine = statistics.median(samples[chosen[0][0]])
        for name, seconds in samples.items():
            middle = statistics.median(seconds)
            ratio = "" if name.startswith(OURS) else f"{middle / mine:.2f}x"
            span = f"{min(seconds) * scale:.3g} to {max(seconds) * scale:.3g}"
            yield f"| {title} | {name} | {middle * scale:.3g} {unit} | {span} | {ratio} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster")
    parser.add_argument("engines", nargs="*", default=list(ENGINES), metavar="ENGINE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for engine in options.engines:
        begin, needed = ENGINES[engine]
        if find_spec(needed) is None:
            print(f"{engine}: not installed")
            continue
        print(
            f"\n{engine} {version(needed)}\n\n| | by | median | span | allcores is faster by |\n|---|---|--:|--:|--:|"
        )
        with begin() as ways:
            for line in measure(ways, options.rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
