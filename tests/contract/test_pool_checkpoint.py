"""Pool: checkpoint=, a file of what is done; the same call does only what is missing, another call is refused."""

import contextlib
import itertools
import os
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import allcores
from allcores.pool.journal import Journal

from . import jobs
from .kit import PATIENCE, Context

Call = Callable[..., Any]
N = 60
SQUARES = [x * x for x in range(N)]

METHODS: dict[str, Call] = {
    "map": lambda pool, job, items, **o: pool.map(job, items, **o),
    "map in chunks": lambda pool, job, items, **o: pool.map(job, items, 7, **o),
    "map of an iterator": lambda pool, job, items, **o: pool.map(job, iter(items), **o),
    "map_async": lambda pool, job, items, **o: pool.map_async(job, items, **o).get(PATIENCE),
    "starmap": lambda pool, job, items, **o: pool.starmap(job, [(x,) for x in items], **o),
    "starmap_async": lambda pool, job, items, **o: pool.starmap_async(job, ((x,) for x in items), **o).get(PATIENCE),
    "imap": lambda pool, job, items, **o: list(pool.imap(job, items, **o)),
    "imap in chunks": lambda pool, job, items, **o: list(pool.imap(job, items, 7, **o)),
    "imap_unordered": lambda pool, job, items, **o: sorted(pool.imap_unordered(job, items, **o)),
}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "run.db"
    # Neither its journal nor an index in memory is left beside it.
    assert set(os.listdir(tmp_path)) <= {"run.db"}


class Counted:
    """A job that says which items it ran, in every context."""

    def __init__(self, mp: Context) -> None:
        self.ran = mp.Queue()

    def __call__(self, x: int) -> int:
        self.ran.put(x)
        return x * x

    def items(self) -> list[int]:
        """Those since the last time."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.ran.get(block=False))
        return sorted(found)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_done_is_not_done_again(mp: Context, method: str, file: Path) -> None:
    job = Counted(mp)
    with mp.Pool(2) as pool:
        assert METHODS[method](pool, job, range(N), checkpoint=file) == SQUARES
        assert job.items() == list(range(N))
        assert METHODS[method](pool, job, range(N), checkpoint=str(file)) == SQUARES
        assert job.items() == []


@pytest.mark.parametrize("method", ["map", "map in chunks", "imap_unordered"])
def test_only_what_is_missing_is_done(mp: Context, method: str, file: Path) -> None:
    """Stored rows and missing items alternate."""
    job = Counted(mp)
    missing = {0, 5, 6, 7, 8, 9, 30, N - 1}
    with mp.Pool(2) as pool:
        METHODS[method](pool, job, range(N), checkpoint=file)
        job.items()
        with sqlite3.connect(file) as db:
            rows = db.execute("select start, count from done").fetchall()
            gone = [(start, count) for start, count in rows if missing & set(range(start, start + count))]
            db.executemany("delete from done where start = ? and count = ?", gone)
        db.close()
        assert METHODS[method](pool, job, range(N), checkpoint=file) == SQUARES
        assert job.items() == sorted(x for start, count in gone for x in range(start, start + count))
        assert METHODS[method](pool, job, range(N), checkpoint=file) == SQUARES
        assert job.items() == []


def test_methods_share_a_file(mp: Context, file: Path) -> None:
    job = Counted(mp)
    with mp.Pool(2) as pool:
        assert list(itertools.islice(pool.imap(job, range(N), 3, checkpoint=file), 10)) == SQUARES[:10]
        first = job.items()
        assert pool.map(job, range(N), checkpoint=file) == SQUARES
        assert not set(range(9)) & set(job.items())
        assert set(range(9)) <= set(first)
        assert sorted(pool.imap_unordered(job, range(N), checkpoint=file)) == SQUARES
        assert job.items() == []


def test_an_input_that_went_on(mp: Context, file: Path) -> None:
    job = Counted(mp)
    with mp.Pool(2) as pool:
        pool.map(job, range(N // 2), checkpoint=file)
        job.items()
        assert pool.map(job, range(N), checkpoint=file) == SQUARES
        assert job.items() == list(range(N // 2, N))


def test_an_endless_input(mp: Context, file: Path) -> None:
    job = Counted(mp)
    with mp.Pool(2) as pool:
        for _ in range(2):
            results = pool.imap(job, itertools.count(), 2, checkpoint=file)
            assert list(itertools.islice(results, N)) == SQUARES
            del results
        ran = job.items()
        assert len(ran) < 2 * (N + 2_000)  # however late the first result is
        assert ran.count(0) == 1


def test_no_items(mp: Context, file: Path) -> None:
    with mp.Pool(2) as pool:
        for _ in range(2):
            assert pool.map(jobs.square, [], checkpoint=file) == []
            assert list(pool.imap(jobs.square, [], checkpoint=file)) == []


@pytest.mark.parametrize("method", ["map", "map in chunks"])
def test_items_that_failed_run_again(mp: Context, method: str, file: Path) -> None:
    job, broken = Counted(mp), mp.Value("i", 1)

    def sometimes(x: int) -> int:
        result = job(x)
        if broken.value and x % 10 == 3:
            raise LookupError(x)
        return result

    with mp.Pool(2) as pool:
        METHODS[method](pool, sometimes, range(N), checkpoint=file, errors="skip")
        first = job.items()
        broken.value = 0
        assert METHODS[method](pool, sometimes, range(N), checkpoint=file) == SQUARES
        again = job.items()
        assert set(first) | set(again) == set(range(N))
        assert set(first) & set(again) <= {x for x in range(N) if x % 10 == 3}
        assert 3 in again


@pytest.mark.needs("kills")
def test_items_whose_worker_died_run_again(mp: Context, file: Path) -> None:
    job, deadly = Counted(mp), mp.Value("i", 1)

    def sometimes(x: int) -> int:
        result = job(x)
        if deadly.value and x == 30:
            jobs.die_by_signal()
        return result

    with mp.Pool(2) as pool:
        with pytest.raises(allcores.WorkerDied):
            pool.map(sometimes, range(N), checkpoint=file)
        job.items()
        deadly.value = 0
        assert pool.map(sometimes, range(N), checkpoint=file) == SQUARES
        assert 30 in job.items()


def test_with_a_seed(mp: Context, file: Path, place: Any) -> None:
    if not place.alone:
        return
    with mp.Pool(2) as pool:
        drawn = pool.map(draw, range(N), seed=3)
        assert list(itertools.islice(pool.imap(draw, range(N), seed=3, checkpoint=file), 20)) == drawn[:20]
        assert pool.map(draw, range(N), seed=3, checkpoint=file) == drawn
        with pytest.raises(allcores.CheckpointMismatch, match="seed was 3 and is 4"):
            pool.map(draw, range(N), seed=4, checkpoint=file)


def draw(_: int) -> float:
    return random.random()


def test_results_of_any_kind(mp: Context, file: Path) -> None:
    def job(x: int) -> Any:
        return [None, {x: {x}}, np.full((3, x), x), lambda: x, jobs.TwoArguments("a", "b").args, b"x" * 100_000][x]

    with mp.Pool(2) as pool:
        for _ in range(2):
            results = pool.map(job, range(6), checkpoint=file)
            assert results[:2] == [None, {1: {1}}]
            assert np.array_equal(results[2], np.full((3, 2), 2))
            assert results[3]() == 3
            assert results[4:] == [("a: b",), b"x" * 100_000]


def test_a_result_is_written_as_the_function_returned_it(mp: Context, file: Path) -> None:
    with mp.Pool(2) as pool:
        for result in pool.imap(list, [(x,) for x in range(N)], checkpoint=file):
            result.append("changed by who got it")
        assert pool.map(list, [(x,) for x in range(N)], checkpoint=file) == [[x] for x in range(N)]


# Refusals.


def other_square(x: int) -> int:
    return x * x + 0


def closure(n: int) -> Callable[[int], int]:
    return lambda x: x * n


def with_default(n: int) -> Callable[[int], int]:
    def job(x: int, by: int = n) -> int:
        return x * by

    return job


FACTOR = 2


def by_global(x: int) -> int:
    return x * FACTOR


def by_helper(x: int) -> int:
    return helper(x)


def helper(x: int) -> int:
    return x + 1


def test_another_function_is_refused(mp: Context, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(job: Callable[[int], int], what: str) -> None:
        with pytest.raises(allcores.CheckpointMismatch, match=what) as caught:
            pool.map(job, range(3), checkpoint=file)
        assert str(file) in str(caught.value)
        file.unlink()

    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(3), checkpoint=file)
        refused(other_square, "its code")
        pool.map(closure(2), range(3), checkpoint=file)
        pool.map(closure(2), range(3), checkpoint=file)
        refused(closure(3), "closure holds as n")
        pool.map(with_default(2), range(3), checkpoint=file)
        refused(with_default(3), "default arguments")
        pool.map(by_global, range(3), checkpoint=file)
        monkeypatch.setitem(globals(), "FACTOR", 3)
        refused(by_global, "its global FACTOR")
        pool.map(by_helper, range(3), checkpoint=file)
        monkeypatch.setitem(globals(), "helper", other_square)
        refused(by_helper, "its global helper")
        pool.starmap(jobs.square, [(1,)], checkpoint=file)
        refused(jobs.square, "starmap")


def test_other_items_are_refused(mp: Context, file: Path) -> None:
    items: list[Any] = list(range(N))
    with mp.Pool(2) as pool:
        pool.map(jobs.identity, items, checkpoint=file)
        for method in ("map of an iterator", "imap", "map_async"):
            with pytest.raises(allcores.CheckpointMismatch, match="item 17 of the input is another one now, 'new'"):
                METHODS[method](pool, jobs.identity, [*items[:17], "new", *items[18:]], checkpoint=file)
            with pytest.raises(allcores.CheckpointMismatch, match="59 items now, and results of 60"):
                METHODS[method](pool, jobs.identity, items[:-1], checkpoint=file)
            with pytest.raises(allcores.CheckpointMismatch):
                METHODS[method](pool, jobs.identity, items[1:], checkpoint=file)
        assert pool.map(jobs.identity, items, checkpoint=file) == items


def test_items_that_cannot_be_compared_are_refused(mp: Context, file: Path) -> None:
    with mp.Pool(2) as pool, pytest.raises(allcores.CheckpointError, match="compared"):
        pool.map(type, [threading.Lock()], checkpoint=file)


def test_two_calls_at_a_time_are_refused(mp: Context, file: Path) -> None:
    with mp.Pool(2) as pool:
        results = pool.imap(jobs.square, itertools.count(), 1, checkpoint=file)
        assert next(results) == 0
        with pytest.raises(allcores.CheckpointError, match="in use by another call"):
            pool.map(jobs.square, range(N), checkpoint=file)
        del results  # nobody can ask for more
        assert pool.map(jobs.square, range(N), checkpoint=file) == SQUARES


@pytest.mark.needs("kills")
def test_two_programs_at_a_time_are_refused(mp: Context, file: Path, start: Callable[..., Any]) -> None:
    with mp.Pool(2) as pool:
        results = pool.imap(jobs.square, itertools.count(), 1, checkpoint=file)
        assert next(results) == 0
        with pytest.raises(allcores.CheckpointError, match="in use by another call"):
            start(use, str(file)).result(PATIENCE)
        del results
        assert start(use, str(file)).result(PATIENCE) == SQUARES


def use(file: str) -> list[int]:
    with allcores.get_context("serial").Pool(1) as pool:
        squares: list[int] = pool.map(jobs.square, range(N), checkpoint=file)
    return squares


def test_files_that_are_none(mp: Context, file: Path, tmp_path: Path) -> None:
    with mp.Pool(2) as pool:
        with pytest.raises(allcores.CheckpointError, match="directory must exist"):
            pool.map(jobs.square, range(3), checkpoint=tmp_path / "nowhere" / "run.db")
        file.write_text("the only copy of something else\n" * 100)
        before = file.read_bytes()
        with pytest.raises(allcores.CheckpointError, match="no checkpoint"):
            pool.map(jobs.square, range(3), checkpoint=file)
        assert file.read_bytes() == before
        file.unlink()
        with sqlite3.connect(file) as db:
            db.execute("create table accounts (money)")
        db.close()
        before = file.read_bytes()
        with pytest.raises(allcores.CheckpointError, match="something else"):
            pool.map(jobs.square, range(3), checkpoint=file)
        assert file.read_bytes() == before
        file.write_bytes(b"")
        assert pool.map(jobs.square, range(3), checkpoint=file) == [0, 1, 4]


@pytest.mark.parametrize("column", ["prints", "results", "count"])
def test_a_damaged_row_is_refused(mp: Context, column: str, file: Path) -> None:
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(N), checkpoint=file)
        with sqlite3.connect(file) as db:
            flip = "count + 1" if column == "count" else f"cast(zeroblob(length({column})) as blob)"
            db.execute(f"update done set {column} = {flip} where start = (select max(start) from done)")
        db.close()
        with pytest.raises(allcores.CheckpointError, match="damaged"):
            pool.map(jobs.square, range(N), checkpoint=file)


def test_a_damaged_file_is_refused_or_gives_what_was_written(file: Path) -> None:
    """Never something else, whichever byte it is."""
    with allcores.get_context("serial").Pool(1) as pool:
        pool.map(jobs.square, range(300), 5, checkpoint=file)
        good, dice = file.read_bytes(), random.Random(1)
        refused = 0
        for _ in range(60):
            bad = bytearray(good)
            at = dice.randrange(len(bad))
            bad[at : at + 16] = dice.randbytes(len(bad[at : at + 16]))
            file.write_bytes(bad)
            try:
                assert pool.map(jobs.square, range(300), checkpoint=file) == [x * x for x in range(300)]
            except allcores.CheckpointError:
                refused += 1
        assert refused > 20


class Fleeting:
    """Can be pickled, and then not be unpickled."""

    def __reduce__(self) -> Any:
        return fail_to_load, ()


def fail_to_load() -> None:
    if loading_fails.is_set():
        raise LookupError("its class has another shape now")


loading_fails = threading.Event()  # what is no plain data is no part of the function


def test_a_result_that_cannot_be_loaded_any_more(file: Path) -> None:
    with allcores.get_context("serial").Pool(1) as pool:
        pool.map(lambda x: Fleeting() if x == 3 else x, range(5), 1, checkpoint=file)
        loading_fails.set()
        with pytest.raises(allcores.CheckpointError, match=r"results of item 3 that cannot be read any more.*shape"):
            pool.map(lambda x: Fleeting() if x == 3 else x, range(5), 1, checkpoint=file)


@pytest.mark.lacks("copies")
def test_a_result_that_cannot_be_kept(mp: Context, file: Path) -> None:
    with mp.Pool(2) as pool:
        for method in ("map", "map_async", "imap"):
            with pytest.raises(allcores.CheckpointError, match=r"cannot keep the result of .*lock"):
                METHODS[method](pool, lambda x: threading.Lock() if x == 5 else x, range(N), checkpoint=file)
            assert pool.map(jobs.square, range(3)) == [0, 1, 4]


@pytest.mark.lacks("cluster")  # its handle can, and says when it is used that the object is gone
@pytest.mark.needs("copies")
def test_a_shared_object_cannot_be_kept(mp: Context, file: Path) -> None:
    with mp.Pool(2) as pool, pytest.raises(allcores.CheckpointError, match="Queue ends with the program"):
        pool.map(lambda _: mp.Queue(), range(3), checkpoint=file)


def test_the_disk_is_full(mp: Context, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Journal, "write", lambda *_: (_ for _ in ()).throw(allcores.CheckpointError("f", "is full")))
    with mp.Pool(2) as pool:
        for method in ("map", "map_async", "imap"):
            with pytest.raises(allcores.CheckpointError, match="is full"):
                METHODS[method](pool, jobs.square, range(1000), checkpoint=file)
            file.unlink()
            assert pool.map(jobs.square, range(3)) == [0, 1, 4]


# When it is written.


@pytest.mark.needs("parallel")
def test_what_is_done_while_the_consumer_is_busy_is_written(
    mp: Context, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, all_written = set[int](), threading.Event()
    write = Journal.write

    def watched(self: Journal, start: int, results: list[Any], *rest: Any) -> None:
        write(self, start, results, *rest)
        written.update(range(start, start + len(results)))
        if {0, 1, 2, 3} <= written:
            all_written.set()

    monkeypatch.setattr(Journal, "write", watched)
    with mp.Pool(2) as pool:
        results = pool.imap(jobs.square, itertools.count(), 1, checkpoint=file)
        assert next(results) == 0
        assert all_written.wait(PATIENCE)
        assert next(results) == 1
        del results


def long(x: int) -> int:
    time.sleep(0.015)  # without the GIL: in threads, who writes would else wait for it through whole items
    return x


def test_each_item_that_takes_long_is_committed_at_once(
    mp: Context, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = []
    commit = Journal.commit

    def watched(self: Journal, now: bool = False) -> None:
        open_before = self._file.in_transaction
        commit(self, now)
        if open_before and not self._file.in_transaction:
            committed.append(now)

    monkeypatch.setattr(Journal, "commit", watched)
    with mp.Pool(1) as pool:
        pool.map(long, range(4), 1, checkpoint=file)
    assert len(committed) >= 4


def test_quick_items_are_committed_together(mp: Context, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = []
    commit = Journal.commit

    def watched(self: Journal, now: bool = False) -> None:
        open_before = self._file.in_transaction
        commit(self, now)
        if open_before and not self._file.in_transaction:
            committed.append(now)

    monkeypatch.setattr(Journal, "commit", watched)
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(20_000), 10, checkpoint=file)
    assert len(committed) < 500


def test_ctrl_c_keeps_what_is_done(mp: Context, file: Path) -> None:
    job = Counted(mp)

    def items() -> Iterator[int]:
        yield from range(30)
        raise KeyboardInterrupt

    with mp.Pool(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.map(job, items(), 1, checkpoint=file)
        assert pool.map(job, range(N), checkpoint=file) == SQUARES
        assert len(job.items()) < N + 30


def test_with_a_bar(mp: Context, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with mp.Pool(2) as pool:
        assert list(itertools.islice(pool.imap(jobs.square, range(N), checkpoint=file), 20)) == SQUARES[:20]
        assert pool.map(jobs.square, range(N), checkpoint=file, progress="all") == SQUARES
    assert f"{N}/{N}" in capsys.readouterr().err
