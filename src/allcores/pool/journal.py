"""The file of a call with ``checkpoint=``: what is done, and of which function and items. SQLite.

    feed:     the next items ──▶ stored? ──▶ fingerprints equal? ──▶ results from the file, not sent
                                     └─ no ─▶ fingerprints expected ──▶ sent to a worker
    answers:  a chunk is done ──▶ written ──▶ handed to whoever waits        (when: see beside.py)
                                     └──▶ committed, when it is worth it

    call: part, print                         the function's fingerprints by part, star, seed, the Python
    done: start, count, prints, results, sum  items start .. start + count - 1; rows do not overlap

Who kills the program at any moment loses what is not committed. A commit costs some 50 us and is made as soon as the
work that it saves is worth it: so items that take long are committed one by one, and quick ones hundreds at a time.
There is no timer that would have to be right for both.

The file is in WAL mode, with ``synchronous=NORMAL``: a commit is a write and no fsync, which would cost milliseconds.
A write is the kernel's when it returns, so the death of every process of the program loses none. When the machine
itself loses power the last commits may be lost, and only those: the file is never damaged by it. It is locked
exclusively for as long as the call goes on, by a lock that the kernel takes back with the process.
"""

from __future__ import annotations

import pickle
import sqlite3
import sys
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores import codec
from allcores.errors import CheckpointError, CheckpointMismatch
from allcores.pool import fingerprint
from allcores.reducers import sending

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ("Journal", "Stored")

_APPLICATION = 0x616C6C63  # "allc"
_VERSION = 1
# Work that may be lost, at the least; and at the most this share of the time goes into commits.
_WORTH_NS = 10_000_000
_SHARE = 20
# Stored results are read so many at a time: few reads, and flat memory.
_ITEMS_AT_A_TIME = 4096
_BYTES_AT_A_TIME = 1 << 20
# SQLite takes no more than 1e9 bytes in one value.
_MOST_BYTES = 256 << 20

_SCHEMA = """
create table call (part text primary key, print text not null);
create table done (start integer primary key, count integer not null, prints blob not null, results blob not null,
                   sum blob not null);
"""


Row = tuple[int, int, bytes, bytes, bytes]


class Stored(NamedTuple):
    """Items that follow each other and are done."""

    prints: bytes
    results: list[Any]


class Journal:
    """What is done of one call. One thread at a time reads, and one at a time writes.

    Raises:
        CheckpointMismatch: the file is of another function, or of other options.
        CheckpointError: it is in use, damaged, no checkpoint, or cannot be opened.
    """

    def __init__(self, path: str, func: Callable[..., Any], star: bool, seed: int | None) -> None:
        self._path = path
        self._expected: dict[int, bytes] = {}  # fingerprints of items that are on their way
        self._at_stake = 0  # nanoseconds of work that are written and not committed
        self._worth = _WORTH_NS
        self._next_stored = -1  # the first stored item at or after the last place that was looked at
        parts = fingerprint.of_function(func)
        options = {"Python": fingerprint.of_python(), "starmap": str(star), "seed": str(seed)}
        self._file = _open(path)
        try:
            self._check_call(parts | options)
        except BaseException:
            self._file.close()
            raise

    def _check_call(self, call: dict[str, str]) -> None:
        with _in_words(self._path):
            stored = dict(self._file.execute("select part, print from call"))
            if stored:
                _compare(self._path, stored, call)
                return
            self._file.execute("begin")
            self._file.executemany("insert into call values (?, ?)", call.items())
            self._file.execute("commit")

    # The input.

    def stored_at(self, start: int) -> Stored | None:
        """What is stored from this item on, as much as is read at a time; None if this one is not done.

        Raises:
            CheckpointError: a result cannot be read.
        """
        if start < self._next_stored:
            return None
        results: list[Any] = []
        prints, nbytes = b"", 0
        with _in_words(self._path):
            rows = self._file.execute("select * from done where start >= ? order by start limit 256", (start,))
            for at, count, its_prints, its_results, its_sum in rows:
                if at != start + len(results):
                    break
                if _sum(at, count, its_prints, its_results) != its_sum:
                    raise CheckpointError(self._path, f"is damaged: what it has of item {at} is not what was written")
                results += self._load(at, count, its_results)
                prints += its_prints
                nbytes += len(its_results)
                if len(results) >= _ITEMS_AT_A_TIME or nbytes >= _BYTES_AT_A_TIME:
                    break
            if results:
                return Stored(prints, results)
            found = self._file.execute("select min(start) from done where start >= ?", (start,)).fetchone()[0]
        self._next_stored = sys.maxsize if found is None else found
        return None

    def missing_from(self, start: int) -> int:
        """How many items from this one on are not done. After ``stored_at`` has said that it is not."""
        return self._next_stored - start

    def check(self, start: int, items: list[Any], prints: bytes) -> None:
        """Refuse items that are not those whose results are stored."""
        found = fingerprint.of_items(items)
        n = fingerprint.NBYTES
        if found == prints[: len(found)]:
            return
        i = next(i for i in range(len(items)) if found[n * i : n * i + n] != prints[n * i : n * i + n])
        what = f"item {start + i} of the input is another one now, {codec.short_repr(items[i])}"
        raise CheckpointMismatch(self._path, what)

    def expect(self, start: int, items: list[Any]) -> None:
        """These go to workers: remember what they are now."""
        n = fingerprint.NBYTES
        try:
            prints = fingerprint.of_items(items)
        except Exception as error:
            why = f"needs items that can be compared with those of a later run: {error}"
            raise CheckpointError(self._path, why) from error
        self._expected.update((start + i, prints[n * i : n * i + n]) for i in range(len(items)))

    def ended(self, total: int) -> None:
        """The input has so many items: what is stored must not have more."""
        with _in_words(self._path):
            last = self._file.execute("select max(start + count) from done").fetchone()[0]
        if last is not None and last > total:
            raise CheckpointMismatch(self._path, f"the input has {total} items now, and results of {last} are stored")

    # The results.

    def write(self, start: int, results: list[Any], failed: Iterable[int], ns: int) -> None:
        """Items from this one on are done, but those that failed: they will run again. Can be told twice.

        Raises:
            CheckpointError: a result cannot be kept, or the file cannot be written to.
        """
        with _in_words(self._path):
            if not self._file.in_transaction:
                self._file.execute("begin")
            for row in self._rows(start, results, failed):
                self._file.execute("insert or replace into done values (?, ?, ?, ?, ?)", row)
        self._at_stake += ns

    def forget(self, start: int, count: int) -> None:
        """These were written and will not be told again."""
        for i in range(start, start + count):
            self._expected.pop(i, None)

    def commit(self, now: bool = False) -> None:
        """Commit what is written, if it is worth it."""
        if not self._file.in_transaction or (self._at_stake < self._worth and not now):
            return
        begun = time.perf_counter_ns()
        with _in_words(self._path):
            self._file.execute("commit")
        self._at_stake = 0
        self._worth = max(_WORTH_NS, _SHARE * (time.perf_counter_ns() - begun))

    def close(self) -> None:
        """Commit what is written, and let go of the file."""
        try:
            self.commit(now=True)
        finally:
            self._file.close()

    def _rows(self, start: int, results: list[Any], failed: Iterable[int]) -> Iterator[Row]:
        first = 0
        for end in [*sorted(failed), len(results)]:
            if first < end:
                yield from self._run(start + first, results[first:end])
            first = end + 1

    def _run(self, start: int, results: list[Any]) -> Iterator[Row]:
        """Rows of results without a gap; several where one would be too large."""
        n = len(results)
        data = self._dump(start, results)
        if len(data) > _MOST_BYTES and n > 1:
            yield from self._run(start, results[: n // 2])
            yield from self._run(start + n // 2, results[n // 2 :])
            return
        prints = b"".join([self._expected[i] for i in range(start, start + n)])
        yield start, n, prints, data, _sum(start, n, prints, data)

    def _dump(self, start: int, results: list[Any]) -> bytes:
        before = sending.handles
        handles: list[Any] = []
        sending.handles = handles
        try:
            data = _dumps(results)
        except Exception as error:
            why = f"cannot keep the result of {_which(start, results)}: {error}{codec.blame(results)}"
            raise CheckpointError(self._path, why) from error
        finally:
            sending.handles = before
        if handles:
            kind = type(handles[0]).__name__
            why = f"cannot keep the result of {_which(start, results)}: a {kind} ends with the program"
            raise CheckpointError(self._path, why)
        return data

    def _load(self, start: int, count: int, data: bytes) -> list[Any]:
        try:
            results: list[Any] = pickle.loads(data)
        except Exception as error:
            which = f"item {start}" if count == 1 else f"items {start} to {start + count - 1}"
            what = f"has results of {which} that cannot be read any more"
            why = f"{what}, because their class has changed, for example ({codec.describe(error)})"
            raise CheckpointError(self._path, why) from error
        return results


def _dumps(results: list[Any]) -> bytes:
    try:
        return pickle.dumps(results, 5)
    except Exception:  # noqa: BLE001 - cloudpickle knows more; what it does not know either, it says better
        import cloudpickle

        data: bytes = cloudpickle.dumps(results, 5)
        return data


def _which(start: int, results: list[Any]) -> str:
    return f"item {start}" if len(results) == 1 else f"one of the items {start} to {start + len(results) - 1}"


def _sum(start: int, count: int, prints: bytes, results: bytes) -> bytes:
    """What a row must have: SQLite itself does not look whether its pages are those that it wrote."""
    made = blake2b(b"%d|%d|" % (start, count), digest_size=8)
    made.update(prints)
    made.update(results)
    return made.digest()


def _open(path: str) -> sqlite3.Connection:
    """The file, locked; made if there is none."""
    with _in_words(path):
        file = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            file.execute("pragma locking_mode = exclusive")
            (application,), (tables,) = (
                file.execute(ask).fetchone() for ask in ("pragma application_id", "select count(*) from sqlite_master")
            )
            if application != _APPLICATION and (tables or application):
                raise CheckpointError(path, "is a database of something else: give another name")
            if application and (version := file.execute("pragma user_version").fetchone()[0]) != _VERSION:
                raise CheckpointError(path, f"has version {version} and not {_VERSION}: it is of another allcores")
            file.execute("pragma journal_mode = wal")
            file.execute("pragma synchronous = normal")
            file.execute("begin immediate")  # the lock stays
            if not application:
                for statement in (*_SCHEMA.split(";")[:2], f"pragma user_version = {_VERSION}"):
                    file.execute(statement)
                file.execute(f"pragma application_id = {_APPLICATION}")
            file.execute("commit")
        except BaseException:
            file.close()
            raise
        return file


class _in_words:  # noqa: N801 - a statement, like contextlib's
    """Errors of SQLite become ours, with what to do."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _tb: object) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            why = "is in use by another call, here or in another program: wait for it, or give each a file of its own"
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            why = f"is damaged, or no checkpoint ({error}): if it is one, remove it to begin anew"
        elif code == sqlite3.SQLITE_CANTOPEN:
            why = f"cannot be opened ({error}): its directory must exist and be writable"
        else:
            why = f"cannot be used: {error}"
        raise CheckpointError(self._path, why) from error


def _compare(path: str, stored: dict[str, str], call: dict[str, str]) -> None:
    """Refuse a call that is not the one of the file."""
    if stored == call:
        return
    was, now = stored.get("Python"), call["Python"]
    if was != now:
        raise CheckpointMismatch(path, f"it was made by {was}, and this is {now}: functions cannot be compared")
    if stored.get("starmap") != call["starmap"]:
        raise CheckpointMismatch(path, "one is of map and the other of starmap")
    if stored.get("seed") != call["seed"]:
        raise CheckpointMismatch(path, f"its seed was {stored.get('seed')} and is {call['seed']} now")
    changed = [part for part in sorted(stored | call) if stored.get(part) != call.get(part)]
    raise CheckpointMismatch(path, f"the function is another one now: {', '.join(changed)}")
