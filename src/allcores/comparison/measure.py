"""Run one job in every context, in turns, and keep the clock."""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import allcores
from allcores.comparison.account import (
    Record,
    RoundTimes,
    Work,
    gil_share,
    group_size,
    rounds_for,
    split_time,
    where,
    work_of,
)
from allcores.comparison.equal import first_difference
from allcores.comparison.facts import ContextRow, JobFacts, Phases, Place, base_row
from allcores.comparison.machine import (
    describe_machine,
    forget_peak,
    peak_memory,
    pickled_size,
    resident_memory,
)
from allcores.comparison.probe import Probe, mark_ready
from allcores.comparison.progress import Tick, progress_bar
from allcores.comparison.report import Comparison
from allcores.comparison.units import short_repr
from allcores.errors import UsageError

__all__ = ("compare",)

CONTEXTS = ("serial", "thread", "process")


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round of one context has shown."""

    wall: float
    phases: Phases
    place: Place
    work: Work
    cpu_use: float
    memory: int
    unequal_at: int | None


def compare(
    fn: Callable[..., Any],
    items: Iterable[Any],
    *,
    contexts: Sequence[str] = CONTEXTS,
    workers: int | None = None,
    times: int | None = None,
    budget: float = 60.0,
    args: tuple[Any, ...] = (),
    progress: bool = True,
) -> Comparison:
    """Run ``fn(item, *args)`` for every item in each context, and say which context is fastest, and why.

    Blocks until all is measured. The contexts take turns (serial, thread, process, serial, ...), so that a
    machine that gets slower or busier does so for all of them. ``fn`` is called once for each item, context
    and round. Each context starts a new pool in each round, and its time includes starting and ending it.

    Args:
        fn: the job; whatever a pool can run, lambdas and closures too.
        items: what the job is done on; taken into a list first, so it must end.
        contexts: names for ``allcores.get_context``. The others have to equal the results of the first.
        workers: for each pool; None: one for each usable core.
        times: the number of rounds; None: three, more if they are quick, fewer if ``budget`` holds no three.
        budget: seconds that all rounds together may take. The first round runs to its end in any case.
        args: further arguments, the same for each item.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        The comparison. It holds the results of the first context, too.

    Raises:
        UsageError: an argument makes no sense, there are no items, or the job fails; the message is one
            line that names the item. What the job raised is its ``__cause__``.
    """
    _check(fn, contexts, workers, args, times, budget)
    job = _Job(fn, items, contexts, workers, args)
    with progress_bar(progress) as tick:
        job.run(times, budget, tick)
    return job.comparison()


class _Job:
    """One job and the rounds it has run."""

    def __init__(
        self,
        fn: Callable[..., Any],
        items: Iterable[Any],
        contexts: Sequence[str],
        workers: int | None,
        args: tuple[Any, ...],
    ) -> None:
        self.fn = fn
        self.args = args
        self.items = _listed(items)
        self.cores = allcores.cpu_count()
        self.workers = workers or self.cores
        self.contexts = {name: _context(name) for name in contexts}
        self.rounds: dict[str, list[_Round]] = {name: [] for name in contexts}
        self.results: list[Any] | None = None
        self.item_seconds: float | None = None
        self._cpu_seen: dict[int, float] = {}  # CPU seconds of workers that were there in an earlier round
        self._memory_before = resident_memory()

    def run(self, times: int | None, budget: float, tick: Tick) -> None:
        """All rounds; ``times`` is None: as many as rounds_for says after the first."""
        begin = time.monotonic()
        self.run_round(1, times or rounds_for(0.0, budget), tick)
        total = times or rounds_for(time.monotonic() - begin, budget)
        for number in range(2, total + 1):
            self.run_round(number, total, tick)

    def run_round(self, number: int, rounds: int, tick: Tick) -> None:
        """One turn of every context."""
        total = len(self.items) * len(self.contexts) * rounds
        done = len(self.items) * len(self.contexts) * (number - 1)
        for name in self.contexts:
            self.rounds[name].append(self._run(name, partial(_advance, tick, name, number, done, total)))
            done += len(self.items)
        base = self.rounds[self._base_name()][-1]
        self.item_seconds = base.work.busy / len(self.items)

    def _run(self, name: str, advance: Callable[[int], None]) -> _Round:
        groups = _groups(self.items, group_size(len(self.items), self.workers, self.item_seconds))
        probe = Probe(self.fn, self.args)
        gc.collect()  # the last context's garbage is not this one's work
        forget_peak()
        memory, cpu = resident_memory(), time.process_time()
        begin = time.monotonic_ns()
        records: list[Record] = []
        finished = 0
        try:
            with self.contexts[name].Pool(self.workers, initializer=mark_ready) as pool:
                for fields in pool.imap_unordered(probe, groups):
                    record = Record._make(fields)
                    _raise_failure(record, name, self.items)
                    records.append(record)
                    finished += len(record.results)
                    advance(finished)
                done = time.monotonic_ns()
        except UsageError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            raise UsageError(f"the {name} context failed: {type(error).__name__}: {text}") from error
        times = RoundTimes(begin, done, time.monotonic_ns())
        cpu = time.process_time() - cpu + self._workers_cpu(records)
        grown = max(0, peak_memory() - memory)
        place = where(records, os.getpid(), threading.get_ident())
        return _Round(
            wall=times.wall,
            phases=split_time(records, times, 1 if place == "here" else self.workers, place),
            place=place,
            work=work_of(records),
            cpu_use=cpu / times.wall,
            # Growth on top of the size at the outset: results kept from earlier rounds are not this one's.
            memory=self._memory_before + grown + _workers_memory(records),
            unequal_at=self._check_results(records),
        )

    def _check_results(self, records: list[Record]) -> int | None:
        results = [result for record in sorted(records, key=lambda r: r.first) for result in record.results]
        if self.results is None:
            self.results = results
            return None
        return first_difference(self.results, results)

    def _workers_cpu(self, records: list[Record]) -> float:
        """CPU seconds of the worker processes, start-up included; not what comes after their last task."""
        total = 0.0
        latest: dict[int, float] = {}
        for record in records:
            if record.process != os.getpid():
                latest[record.process] = max(record.process_cpu, latest.get(record.process, 0.0))
        for process, seconds in latest.items():
            before = self._cpu_seen.get(process, 0.0)
            # Fewer seconds than before: another process got the same pid.
            total += seconds - before if seconds >= before else seconds
        self._cpu_seen.update(latest)
        return total

    def _base_name(self) -> str:
        here = (name for name, rounds in self.rounds.items() if rounds[-1].place == "here")
        return next(here, next(iter(self.rounds)))

    def comparison(self) -> Comparison:
        """What all rounds together say."""
        medians = {name: _median_round(rounds) for name, rounds in self.rounds.items()}
        base = medians[self._base_name()].wall
        rows = tuple(self._row(name, medians[name], base) for name in self.contexts)
        return Comparison(
            job=self._facts(rows, medians),
            rows=rows,
            machine=describe_machine(self.cores),
            results=self.results or [],
        )

    def _row(self, name: str, median: _Round, base: float) -> ContextRow:
        rounds = self.rounds[name]
        workers = 1 if median.place == "here" else self.workers
        speedup = base / median.wall
        return ContextRow(
            context=name,
            place=median.place,
            workers=workers,
            seconds=median.wall,
            rounds=tuple(r.wall for r in rounds),
            speedup=speedup,
            of_ideal=speedup / min(workers, self.cores),
            phases=median.phases,
            cpu_use=median.cpu_use,
            peak_memory=max(r.memory for r in rounds),
            unequal_at=next((r.unequal_at for r in rounds if r.unequal_at is not None), None),
        )

    def _facts(self, rows: tuple[ContextRow, ...], medians: dict[str, _Round]) -> JobFacts:
        base = medians[base_row(rows).context].work
        cpu_share = min(1.0, base.cpu / max(base.busy - base.starved, 1e-9))
        threads = next((median.work for median in medians.values() if median.place == "threads"), None)
        lanes = min(self.workers, self.cores, len(self.items))
        moved = any(row.place == "processes" for row in rows)
        results = self.results or []
        return JobFacts(
            name=_name(self.fn),
            items=len(self.items),
            usable_cores=self.cores,
            item_seconds=base.busy / len(self.items),
            longest_share=base.longest / max(base.busy, 1e-9),
            cpu_share=cpu_share,
            gil_share=None if threads is None else gil_share(threads, cpu_share, lanes),
            item_bytes=pickled_size(_samples(self.items)) if moved else None,
            result_bytes=pickled_size(_samples(results)) if moved else None,
            function_bytes=pickled_size([(self.fn, self.args)]) if moved else None,
        )


def _check(
    fn: object, contexts: Sequence[str], workers: int | None, args: object, times: int | None, budget: float
) -> None:
    if not callable(fn):
        raise UsageError(f"fn must be a function, not {fn!r}: write compare(job, items), without calling job")
    if not isinstance(args, tuple):
        raise UsageError(f"args must be a tuple, not {args!r}: write ({args!r},)")
    if isinstance(contexts, str) or not contexts or len(set(contexts)) < len(contexts):
        raise UsageError(f"contexts must be different names, not {contexts!r}: write {CONTEXTS!r}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}: None means one for each usable core")
    if times is not None and times < 1:
        raise UsageError(f"times must be at least 1, not {times}: it is the number of rounds")
    if budget <= 0:
        raise UsageError(f"budget must be more than 0 seconds, not {budget}: it limits the rounds")


def _listed(items: object) -> list[Any]:
    if not isinstance(items, Iterable):
        raise UsageError(f"items must be iterable, not {items!r}: write range({items!r}) or a list")
    listed = list(items)
    if not listed:
        raise UsageError("there are no items: give at least one, there is nothing to measure without")
    return listed


def _context(name: str) -> Any:
    try:
        return allcores.get_context(name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _groups(items: list[Any], size: int) -> list[tuple[int, list[Any]]]:
    # A list and no generator: pools share out better what has a length, and the user's items have one, too.
    return [(first, items[first : first + size]) for first in range(0, len(items), size)]


def _advance(tick: Tick, name: str, number: int, before: int, total: int, finished: int) -> None:
    tick(name, number, before + finished, total)


def _raise_failure(record: Record, context: str, items: list[Any]) -> None:
    if record.failure is None:
        return
    index, text, error = record.failure
    shown, text = short_repr(items[index]), " ".join(text.split())
    raise UsageError(f"the job failed at item {index} ({shown}) in the {context} context: {text}") from error


def _workers_memory(records: list[Record]) -> int:
    peaks: dict[int, int] = {}
    for record in records:
        if record.process != os.getpid():
            peaks[record.process] = max(record.peak, peaks.get(record.process, 0))
    return sum(peaks.values())


def _median_round(rounds: list[_Round]) -> _Round:
    # One real round and not a median of each column, so that the phases add up to the seconds.
    middle = statistics.median_low(r.wall for r in rounds)
    return next(r for r in rounds if r.wall == middle)


def _samples(values: list[Any]) -> list[Any]:
    return [values[index] for index in sorted({0, len(values) // 2, len(values) - 1})]


def _name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)
