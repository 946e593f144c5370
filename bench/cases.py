"""What is measured: the operations, and the rows of the published table with what each is to reach."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

OURS = "allcores"
STANDARD = "multiprocessing"


@dataclass(frozen=True, slots=True)
class Case:
    """One operation, the same for every peer that offers it."""

    key: str
    """Its name on the command line and in the JSON, and that of its function in `measure.py`."""
    title: str
    needs: str
    """The method a peer has if it offers this."""
    size: int
    """How many items of a full run; --quick and --scale make it smaller."""
    unit: str
    """"x" for a speed-up (more is better), else the unit of time it is printed in, or "payloads" (less is better)."""

    @property
    def more_is_better(self) -> bool:
        return self.unit == "x"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the published table: allcores against the standard library in one operation."""

    case: str
    issue: str
    """The operation's text in the issue that set the targets; empty for a row that we added."""
    target: float | None = None
    """What to reach; None where nothing was set."""
    absolute: bool = False
    """The target is for our own figure, in seconds or as it is, not for its ratio to the standard library."""
    baseline: str = STANDARD
    yardstick: str = ""
    """Our figure is held against what each sample measured beside it, of this name: so many times that, at most."""
    note: str = ""
    """What tells this row from others of the same operation."""


CASES = (
    Case("classic", "classic job, 2 processes against serial, start-up included", "classic", 1_000_000, "x"),
    Case("classic_warm", "classic job, the program's second start of workers", "classic", 1_000_000, "x"),
    Case("pool_warm", "Pool(2): create, map two, leave; not the program's first", "pool", 5, "ms"),
    Case("pool_cold", "Pool(2): create, map two, leave; first thing after import", "pool", 1, "ms"),
    Case("pool_again", "a second pool of two: create, map two, leave; or its kept workers", "again", 5, "ms"),
    Case("pool_recycled", "`map` of 200 no-ops, a fresh worker after five; each", "recycling", 200, "ms"),
    Case("apply", "`pool.apply` round trip, workers hot", "apply", 2_000, "µs"),
    Case("apply_async", "`apply_async` of 20,000 no-ops, all results; each", "apply_async", 20_000, "µs"),
    Case("submit", "`submit(f, x).result()` of futures, workers hot", "submit", 2_000, "µs"),
    Case("submit_many", "20,000 `submit`s, all results; each", "submit_many", 20_000, "µs"),
    Case("imap", "`imap` of 20,000 no-ops, default settings; each", "imap", 20_000, "µs"),
    Case("map", "`map` of 100,000 no-ops, default settings; each", "map", 100_000, "µs"),
    Case("map_tuned", "`map` of 100,000 calls of 1 µs, default settings; each", "map_tuned", 100_000, "µs"),
    Case("skewed", "`map` of 200 skewed calls of 1 to 100 ms, default settings; all", "map_arrays", 200, "ms"),
    Case(
        "map_shown",
        "`map` of 100,000 no-ops with a bar (others: tqdm around `imap`); each",
        "map_shown",
        100_000,
        "µs",
    ),
    Case(
        "logged",
        "5,000 log records of two workers, handled by the caller (others: QueueHandler, QueueListener); each",
        "logging_workers",
        5_000,
        "µs",
    ),
    Case("crowd", "`map` of CPU-bound jobs, 64 workers against 2", "crowd", 1_000, "x"),
    Case("queue_pingpong", "Queue ping-pong of ints, one consumer; round trip", "queue", 5_000, "µs"),
    Case("queue_ints", "Queue one way, ints, 1 producer 1 consumer; each", "drain", 100_000, "µs"),
    Case("queue_arrays_warm", "Queue, 64 MB arrays, one way, warm; each", "array_queue", 8, "ms"),
    Case("queue_arrays_cold", "Queue, 64 MB arrays, one way, the program's first; each", "array_queue", 3, "ms"),
    Case("queue_arrays_read", "Queue, 64 MB arrays, one way, warm, summed; each", "array_queue", 8, "ms"),
    Case("dicts", "Queue one way, small dicts of 5 keys; each", "drain", 50_000, "µs"),
    Case(
        "queue_peak", "Queue, one array of 1 GB, peak memory beyond the sender's own", "array_queue", 1024, "payloads"
    ),
    Case("pool_arrays", "`pool.map` over four arrays of 64 MB, distinct and fresh; each", "map_arrays", 4, "ms"),
    Case("pool_results", "`pool.map` with four results of 64 MB; each", "map_results", 4, "ms"),
    Case("shared_array", "SharedArray of 64 MB through two Queues, there and back", "shared_array", 10_000, "µs"),
    Case("shared_slice", "slice of it, likewise", "shared_array", 10_000, "µs"),
    Case("shared_apply", "`pool.apply` with it, round trip", "shared_array", 10_000, "µs"),
    Case("lock", "Lock `acquire()` + `release()`, free", "lock", 100_000, "ns"),
    Case("lock_with", "Lock `with lock: pass`, free", "lock", 100_000, "ns"),
    Case("value_alone", "Value locked `+= 1` against `v += 1`, one process; each", "value", 100_000, "ns"),
    Case("value_two", "Value locked `+= 1` against `v += 1`, two processes; each", "value", 100_000, "ns"),
    Case("array_set", "Array item set", "array", 100_000, "ns"),
    Case("parallel_call", "`joblib.Parallel(n_jobs=2)` of one call, workers hot", "parallel", 100, "ms"),
    Case("parallel_many", "`joblib.Parallel(n_jobs=2)` of 10,000 no-ops; each", "parallel", 10_000, "µs"),
    Case("grid_search", "`GridSearchCV(n_jobs=2)` of logistic regressions; each candidate", "parallel", 40, "ms"),
    Case("forest", "`RandomForestClassifier(n_jobs=2).fit`; each tree", "parallel", 40, "ms"),
)

_POOL = "Pool(2): create, map two, leave: forkserver / spawn (warm template may be used)"
_ARRAYS = "Queue, 64 MB arrays, one way"
_SHARED = "SharedArray or slice, any size, through Pool or Queue"
_COPY = "a warm memcpy of 64 MB"
_VALUE = "Value locked `+= 1` against `v += 1`, alone / two processes"


def _pool_rows(case: str, target: float) -> tuple[Row, ...]:
    """Against each start method. Python 3.11 to 3.13 fork by default: unsafe beside threads, no target, but quick."""
    aimed = (
        Row(case, _POOL, target, baseline=f"{STANDARD} ({method})", note=method) for method in ("forkserver", "spawn")
    )
    return (*aimed, Row(case, "", baseline=f"{STANDARD} (fork)", note="fork"))


ROWS = (
    Row("classic", "classic job, 2 processes against serial, start-up included", 1.95, absolute=True),
    Row("classic_warm", ""),
    *_pool_rows("pool_warm", 4.0),
    *_pool_rows("pool_cold", 1.5),
    Row("pool_again", ""),
    Row("pool_recycled", ""),
    Row("apply", "`pool.apply` round trip, workers hot", 25.0),
    Row("apply_async", "`apply_async` of 20,000 no-ops, all results", 8.0),
    Row("submit", "submit round trip", 25.0, baseline="concurrent.futures"),
    Row("submit_many", "20,000 `submit`s with results", 8.0, baseline="concurrent.futures"),
    Row("imap", "`imap` of 20,000 no-ops, default settings", 15.0),
    Row("imap", "`imap` defaults, an item", 1e-6, absolute=True),
    Row("map_tuned", "10^5 calls of 1 µs", 1.1, yardstick="the best of its own chunk sizes"),
    Row("map_tuned", ""),
    Row("skewed", "makespan of 200 skewed calls", 1.03, yardstick="the optimum, max(all / 2, the longest)"),
    Row("skewed", ""),
    Row("map", "`map` of 100,000 no-ops, default settings", 1.0),
    Row("map_shown", ""),
    Row("logged", ""),
    Row("crowd", "overhead of 64 workers on 2 cores below 10 %", 0.91, absolute=True),
    Row("queue_pingpong", "Queue ping-pong of ints, one consumer", 20.0),
    Row("queue_ints", "Queue one way, ints, 1 producer 1 consumer", 6.0),
    Row("queue_arrays_warm", _ARRAYS, 20.0),
    Row("queue_arrays_cold", _ARRAYS, 4.0),
    Row("queue_arrays_read", ""),
    Row("dicts", "small dicts (5 keys) one way", 5.0),
    Row("queue_peak", "peak memory of sending 1 GB", 1.1, absolute=True),
    Row("pool_arrays", "`pool.map(f, [a, b, c, d])` of 64 MB arrays", 1.5, yardstick=_COPY),
    Row("pool_arrays", ""),
    Row("pool_results", "64 MB results", 2.0, yardstick=_COPY),
    Row("pool_results", ""),
    *(Row(case, _SHARED, 20e-6, absolute=True) for case in ("shared_array", "shared_slice", "shared_apply")),
    Row("lock", "Lock acquire+release, free", 1.0),
    Row("lock_with", ""),
    Row("value_alone", _VALUE, 4.0),
    Row("value_two", _VALUE, 3.0),
    Row("array_set", "Array item set", 4.0),
    Row("parallel_call", "`Parallel(n_jobs=2)` single-call latency", 1e-3, absolute=True, baseline="joblib"),
    *(Row(case, "", baseline="joblib") for case in ("parallel_many", "grid_search", "forest")),
)


def case_of(key: str) -> Case:
    """The operation of this name."""
    return next(case for case in CASES if case.key == key)


def chosen_cases(pattern: str) -> Sequence[Case]:
    """Those whose key or title the regular expression is found in; all for an empty one."""
    return [case for case in CASES if re.search(pattern, case.key) or re.search(pattern, case.title)]
