"""Pool: progress=, a bar that counts what is done and is closed whatever happens."""

import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tqdm
import tqdm.auto

import allcores

from . import jobs
from .kit import PATIENCE, Context, Handle

Call = Callable[..., Any]
N = 60

METHODS: dict[str, Call] = {
    "map": lambda pool, job, items, **o: pool.map(job, items, **o),
    "map in chunks": lambda pool, job, items, **o: pool.map(job, items, 7, **o),
    "map one by one": lambda pool, job, items, **o: pool.map(job, items, 1, **o),
    "map_async": lambda pool, job, items, **o: pool.map_async(job, items, **o).get(PATIENCE),
    "starmap": lambda pool, job, items, **o: pool.starmap(job, ((x,) for x in items), **o),
    "starmap_async": lambda pool, job, items, **o: pool.starmap_async(job, ((x,) for x in items), **o).get(PATIENCE),
    "imap": lambda pool, job, items, **o: list(pool.imap(job, items, **o)),
    "imap in chunks": lambda pool, job, items, **o: list(pool.imap(job, items, 7, **o)),
    "imap_unordered": lambda pool, job, items, **o: sorted(pool.imap_unordered(job, items, **o)),
}


class Seen(tqdm.tqdm):  # type: ignore[misc] # it has no types
    """A bar that can be asked what it showed when it was closed."""

    all: list["Seen"] = []  # noqa: RUF012 - of one test

    def __init__(self, **kwargs: Any) -> None:
        self.out = io.StringIO()
        self.over = threading.Event()
        kwargs |= {"file": self.out, "ascii": True}
        super().__init__(**kwargs)
        self.all.append(self)

    def close(self) -> None:
        super().close()
        self.over.set()

    @property
    def closed(self) -> bool:
        return self.over.is_set()

    @property
    def last(self) -> str:
        """The line that stays."""
        return self.out.getvalue().rpartition("\r")[2]


def last_when(drawn: Handle) -> Call:
    """A job whose last item is not done before the bar has been drawn: else it might be closed before it ever was."""

    def job(x: int) -> int:
        if x == N - 1:
            drawn.wait(PATIENCE)
        return x

    return job


@pytest.fixture(autouse=True)
def bars(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Seen]]:
    Seen.all.clear()
    monkeypatch.setattr(tqdm.auto, "tqdm", Seen)
    yield Seen.all
    assert all(bar.closed for bar in Seen.all), "a bar was left open"
    Seen.all.clear()


@pytest.mark.parametrize("method", METHODS)
def test_items_are_counted_by_every_method(mp: Context, method: str, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        assert METHODS[method](pool, jobs.square, range(N), progress=True) == [x * x for x in range(N)]
    (bar,) = bars
    assert bar.n == N
    assert f"{N}" in bar.last
    assert bar.last.endswith("\n")
    assert bar.total == (None if "star" in method else N)


def test_a_label_is_shown(mp: Context, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(N), progress="squares")
    assert bars[0].last.startswith("squares: 100%")
    assert f"{N}/{N}" in bars[0].last


def test_without_it_there_is_none(mp: Context, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        pool.map(jobs.square, range(N))
        pool.map(jobs.square, range(N), progress=False)
        assert type(pool.imap(jobs.square, range(3))).__name__ == "IMapIterator"
    assert bars == []


def test_tqdm_is_imported_only_when_used() -> None:
    import subprocess

    code = "import sys, allcores as a\nwith a.Pool(1) as p: p.map(str, range(9))\nassert 'tqdm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_items_at_all(mp: Context, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        assert pool.map(jobs.square, [], progress=True) == []
        assert list(pool.imap(jobs.square, [], progress=True)) == []
    assert [bar.n for bar in bars] == [0, 0]


@pytest.mark.parametrize("method", [name for name in METHODS if "imap" not in name])
def test_failures_are_counted(mp: Context, method: str, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool, pytest.raises(ZeroDivisionError):
        METHODS[method](pool, lambda x: 1 / (x - N + 1), range(N), progress=True)
    assert "1 failed" in bars[0].last


def test_failures_of_imap_are_counted(mp: Context, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        results = pool.imap(lambda x: 1 / (x % 2), range(10), progress=True)
        found = []
        for _ in range(10):
            try:
                found.append(next(results))
            except ZeroDivisionError:
                found.append(None)
        assert found == [None, 1.0] * 5
        with pytest.raises(StopIteration):
            next(results)
    assert "10/10" in bars[0].last
    assert "5 failed" in bars[0].last


@pytest.mark.lacks("cluster")  # of a chunk whose worker died it finds out first which item it was
@pytest.mark.needs("kills")
def test_what_runs_again_is_counted(mp: Context, bars: list[Seen]) -> None:
    begun = mp.Value("i", 0)

    def job(x: int) -> int:
        if x == 5 and begun.add(1) <= 2:
            jobs.die_by_signal()
        return x

    with mp.Pool(2) as pool:
        assert pool.map(job, range(10), retries=3, progress=True) == list(range(10))
    assert "10/10" in bars[0].last
    assert "2 retried" in bars[0].last


def test_an_abandoned_imap_closes_its_bar_at_once(mp: Context, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        for result in pool.imap(jobs.square, iter(range(10_000)), progress=True):
            assert result == 0
            break
        assert bars[0].closed
        assert pool.map(jobs.square, range(3)) == [0, 1, 4]


def test_an_imap_that_is_held_closes_it_with_the_pool(mp: Context, bars: list[Seen]) -> None:
    with mp.Pool(2) as pool:
        results = pool.imap(jobs.square, range(N), progress=True)
        assert next(results) == 0
    assert bars[0].closed
    assert bars[0].n == N
    assert list(results) == [x * x for x in range(1, N)]


def test_the_caller_s_iterator_fails(mp: Context, bars: list[Seen]) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise LookupError("no more")

    with mp.Pool(2) as pool:
        with pytest.raises(LookupError):
            pool.map(jobs.square, items(), progress=True)
        with pytest.raises(LookupError):
            list(pool.imap(jobs.square, items(), progress=True))
    assert [bar.n for bar in bars] == [5, 5]


def test_a_terminated_pool_closes_it(mp: Context, bars: list[Seen]) -> None:
    pool = mp.Pool(2)
    results = pool.imap(jobs.square, range(N), progress=True)
    pool.terminate()
    assert bars[0].over.wait(PATIENCE)  # by the thread that was just drawing it
    with pytest.raises(allcores.PoolTerminated):
        list(results)


@pytest.mark.needs("parallel")
def test_a_map_that_is_not_waited_for_is_shown_as_it_goes(mp: Context, bars: list[Seen]) -> None:
    go = mp.Event()

    def job(x: int) -> int:
        if x == N - 1:
            go.wait(PATIENCE)
        return x

    with mp.Pool(2) as pool:
        result = pool.map_async(job, range(N), 1, progress=True)
        with pytest.raises(allcores.TimeoutError):
            result.get(0.01)
        assert not bars[0].closed
        go.set()
        assert result.get(PATIENCE) == list(range(N))
    assert bars[0].n == N


def test_a_bar_that_cannot_be_shown_costs_no_result(
    mp: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = mp.Event()

    class Broken(Seen):
        def update(self, n: float | None = 1) -> bool | None:
            drawn.set()
            raise OSError("no space left")

    monkeypatch.setattr(tqdm.auto, "tqdm", Broken)
    with mp.Pool(2) as pool:
        assert pool.map(last_when(drawn), range(N), 1, progress=True) == list(range(N))
    assert "progress bar" in caplog.text
    Seen.all.clear()  # it cannot be closed either


def test_ctrl_c_closes_it(mp: Context, bars: list[Seen], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = mp.Event()

    class Interrupted(Seen):
        def update(self, n: float | None = 1) -> bool | None:
            if not drawn.is_set():
                drawn.set()
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)  # this may be another thread
            super().update(n)
            return None

    monkeypatch.setattr(tqdm.auto, "tqdm", Interrupted)
    with mp.Pool(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.map(last_when(drawn), range(N), 1, progress=True)
        assert pool.map(jobs.square, range(3)) == [0, 1, 4]
    assert bars[0].closed


def test_what_it_writes_to_may_use_the_pool(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's runs under the seat."""
    used, done = threading.Event(), mp.Event()
    with mp.Pool(2) as pool:

        class Using(Seen):
            def update(self, n: float | None = 1) -> bool | None:
                if not used.is_set():
                    used.set()
                    assert pool.apply_async(jobs.square, (3,)).get(PATIENCE) == 9
                    done.set()
                super().update(n)
                return None

        monkeypatch.setattr(tqdm.auto, "tqdm", Using)
        assert pool.map(last_when(done), range(N), 1, progress=True) == list(range(N))
        assert done.is_set()
