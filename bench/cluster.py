"""The cluster contexts beside their engines: python -m bench.cluster [ENGINE ...] [--rounds N] [--only WHAT]

Each engine has two workers of one thread on this machine. What is compared takes turns, round by round, in one program;
the figures are medians. Prints Markdown.

    small    5,000 calls of a function that does next to nothing, with default settings
    array    an array of 64 MB, new each time, to four tasks, that each look at a part of it
    naps     200 calls of 50 ms: at best 5 s
    deaths   both workers are killed, and then there are four calls
    start    a program that starts a cluster, has four calls done and ends
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
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


def pid_of(_x: object) -> int:
    sleep(NAP)  # so that both are at it
    return os.getpid()


def kill(pids: Iterable[int]) -> None:
    for pid in set(pids):
        os.kill(pid, signal.SIGKILL)


# Programs that print the squares of 0 to 3, as each has them computed.
STARTS = {
    OURS: """
import allcores
with allcores.get_context({engine!r}).Pool({workers}) as pool:
    print(pool.map(lambda x: x * x, range(4)))
""",
    "dask": """
import distributed
def square(x):
    return x * x
if __name__ == "__main__":
    cluster = distributed.LocalCluster(n_workers={workers}, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        print(client.gather(client.map(square, range(4))))
""",
    "ray": """
import ray
ray.init(num_cpus={workers}, log_to_driver=False)
square = ray.remote(lambda x: x * x)
print(ray.get([square.remote(x) for x in range(4)]))
""",
}


def started(whose: str, engine: str) -> Any:
    text = STARTS[whose].format(engine=engine, workers=WORKERS)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "program.py"  # dask's workers import it
        file.write_text(text)
        # Not connected to the cluster that this program has.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        ended = subprocess.run([sys.executable, str(file)], check=True, capture_output=True, text=True, env=environ)
    return json.loads(ended.stdout)


EXPECTED: dict[str, Any] = {
    "deaths": [0, 1, 4, 9],
    "start": [0, 1, 4, 9],
    "small": [x * x for x in range(SMALL)],
    "array": [1.0] * PARTS,
    "naps": list(range(NAPS)),
}
TITLES = {
    "deaths": ("four calls after the death of both workers", "s", 1.0),
    "start": ("a cluster, four calls and its end", "s", 1.0),
    "small": (f"{SMALL:,} small calls, each", "µs", 1e6 / SMALL),
    "array": ("64 MB to four tasks", "ms", 1e3),
    "naps": (f"{NAPS} calls of {NAP * 1e3:.0f} ms", "s", 1.0),
}


def ours(mp: Any, pool: Any) -> Ways:
    def to_parts(array: Any) -> Any:
        return pool.starmap(look, [(array, part) for part in range(PARTS)])

    def after_deaths() -> Any:
        kill(pool.map(pid_of, range(PARTS), chunksize=1))
        return pool.map(square, range(4), chunksize=1)

    return {
        "small": [(OURS, lambda: pool.map(square, range(SMALL)))],
        "array": [
            (f"{OURS}, a `SharedArray`", lambda: to_parts(mp.SharedArray.from_array(new_array()))),
            (f"{OURS}, an array, of which each task has its own copy", lambda: to_parts(new_array())),
        ],
        "naps": [(OURS, lambda: pool.map(nap, range(NAPS)))],
        "deaths": [(OURS, after_deaths)],
        "start": [(OURS, lambda: started(OURS, mp.name))],
    }


@contextmanager
def dask() -> Iterator[Ways]:
    """The expert scatters what is large, and has tasks that no two calls share."""
    import distributed

    def array() -> Any:
        [there] = client.scatter([new_array()])
        return client.gather(client.map(look, [there] * PARTS, range(PARTS), pure=False))

    def after_deaths() -> Any:
        kill(client.run(os.getpid).values())
        return client.gather(client.map(square, range(4), pure=False))

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
            "deaths": [*mine["deaths"], ("`client.map`, `gather`", after_deaths)],
            "start": [*mine["start"], ("`LocalCluster`, `Client`", lambda: started("dask", "dask"))],
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
    squares, naps, looks, pids = (ray.remote(f) for f in (square, nap, look, pid_of))

    def array() -> Any:
        there = ray.put(new_array())
        return ray.get([looks.remote(there, part) for part in range(PARTS)])

    def after_deaths() -> Any:
        kill(ray.get([pids.remote(x) for x in range(PARTS)]))
        return ray.get([squares.remote(x) for x in range(4)])

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
            "deaths": [*mine["deaths"], ("tasks", after_deaths)],
            "start": [*mine["start"], ("`init`, tasks", lambda: started("ray", "ray"))],
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
    parser.add_argument("--only", choices=list(TITLES), help="one of the comparisons")
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
            for line in measure({k: v for k, v in ways.items() if options.only in (None, k)}, options.rounds):
                print(line, flush=True)


if __name__ == "__main__":
    main()
