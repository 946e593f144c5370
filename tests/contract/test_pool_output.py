"""What workers print and log appears where the pool was made: whole, in order, and before the result of who did it."""

import io
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import allcores

from .kit import PATIENCE, Context, Place

pytestmark = pytest.mark.needs("owns")  # else what workers print and log is the engine's

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the logger of these tests is given to handle."""
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[assignment, method-assign]
    logger = logging.getLogger("of.workers")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield kept
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


class Stream(io.StringIO):
    """A stream that says when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str, /) -> int:
        count = super().write(text)
        self.written.set()
        return count


def say(x: object) -> object:
    print("out", x)
    print("err", x, file=sys.stderr)
    return x


def say_and_die(x: object) -> None:
    print("out", x)
    print("begun", end="", flush=True)
    print("err", x, file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)


def log(x: object) -> str:
    import logging

    logger = logging.getLogger("of.workers.part")
    logger.debug("not wanted")
    try:
        raise KeyError(x)
    except KeyError:
        logger.exception("%s of %s", x, "two", extra={"more": threading.Lock()})
    return threading.current_thread().name


def test_prints_appear_before_the_result(mp: Context, capsys: Capture) -> None:
    with mp.Pool(2) as pool:
        for x in range(20):
            pool.apply(say, (x,))
            assert tuple(capsys.readouterr()) == (f"out {x}\n", f"err {x}\n")
        pool.map(say, range(20), chunksize=3)
        out, err = capsys.readouterr()
        assert sorted(out.splitlines()) == sorted(f"out {x}" for x in range(20))
        assert sorted(err.splitlines()) == sorted(f"err {x}" for x in range(20))
        # The background thread that feeds this one, and calls back, may be the one to show it.
        for x in range(20):
            assert pool.map_async(say, [x], callback=lambda _: None).get() == [x]
            assert capsys.readouterr().out == f"out {x}\n"
        for x in pool.imap(say, range(5), chunksize=1):
            assert f"out {x}\n" in capsys.readouterr().out or x > 0


def test_lines_are_whole(mp: Context, place: Place, capsys: Capture) -> None:
    def in_pieces(x: int) -> None:
        for _ in range(50):
            print(x, "a", "b", sep="-", end="", flush=True)
            print("", "c" * 100, sep="-")

    with mp.Pool(3) as pool:
        pool.map(in_pieces, range(3), chunksize=1)
    lines = capsys.readouterr().out.splitlines()
    if place.copies:  # threads have one stream, and write to it as they will
        assert sorted(lines) == sorted(f"{x}-a-b-" + "c" * 100 for x in range(3) for _ in range(50))
    assert len("".join(lines)) == 150 * 106


def test_a_line_without_an_end_appears_with_its_task(mp: Context, capsys: Capture) -> None:
    def begin(x: int) -> None:
        print(x, end="")
        sys.stdout.write(",")

    with mp.Pool(1) as pool:
        for x in range(3):
            pool.apply(begin, (x,))
            assert capsys.readouterr().out == f"{x},"
        pool.apply(lambda: print("bar 1%", end="\r"))
        assert capsys.readouterr().out == "bar 1%\r"


def test_text_of_all_kinds(mp: Context, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def write() -> None:
        print("größer \N{SNOWMAN}")
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\xff\x00\n")
        sys.stdout.buffer.flush()
        print("x" * 200_000)

    with mp.Pool(1) as pool:
        pool.apply(write)
    expected = "größer \N{SNOWMAN}\n".encode() + b"\xff\x00\n" + b"x" * 200_000 + b"\n"
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == expected


def test_records_are_handled_by_the_loggers_here(
    mp: Context, place: Place, records: list[logging.LogRecord], capsys: Capture
) -> None:
    with mp.Pool(1) as pool:
        worker = pool.apply(log, ("one",))
        (record,) = records
        assert record.getMessage() == "one of two"
        assert (record.name, record.levelname, record.funcName) == ("of.workers.part", "ERROR", "log")
        text = logging.Formatter("%(message)s").format(record)
        assert text.splitlines()[0] == "one of two"
        assert text.splitlines()[-1] == "KeyError: 'one'"
        if place.copies:
            assert record.processName is not None
            assert record.processName.startswith("PoolWorker-")
            assert record.process != os.getpid()
            assert "lock" in record.more  # type: ignore[attr-defined]
        elif place.parallel:
            assert record.threadName == worker
            assert worker.startswith("PoolWorker-")


def test_levels_are_those_of_here(mp: Context, records: list[logging.LogRecord]) -> None:
    def levels() -> tuple[bool, bool]:
        import logging

        logging.getLogger("of.workers").info("yes")
        return (logging.getLogger("of.workers.part").isEnabledFor(10), logging.getLogger("of.workers").isEnabledFor(20))

    with mp.Pool(1) as pool:
        assert pool.apply(levels) == (False, True)
        logging.getLogger("of.workers").setLevel(logging.ERROR)
        pool.apply(levels)
    assert [record.getMessage() for record in records] == ["yes"]


@pytest.mark.needs("copies")
def test_handlers_of_the_workers_own_are_respected(
    mp: Context, records: list[logging.LogRecord], tmp_path: Path
) -> None:
    def configure(path: str) -> None:
        import logging

        logging.basicConfig(filename=path, level=logging.INFO, format="%(message)s")

    def both(x: int) -> None:
        import logging

        logging.getLogger("of.workers").addHandler(logging.NullHandler())
        logging.getLogger("of.workers").info("item %d", x)
        logging.getLogger("of.workers").propagate = False  # from now on the root's handlers are not asked
        logging.getLogger("of.workers").info("nobody's")

    with mp.Pool(1, initializer=configure, initargs=(str(tmp_path / "log"),)) as pool:
        pool.apply(both, (1,))
    assert (tmp_path / "log").read_text() == "item 1\n"
    assert records == []
    with mp.Pool(1) as pool:
        pool.apply(both, (2,))
    assert [record.getMessage() for record in records] == ["item 2"]


def test_nobody_waits_and_it_appears(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream := Stream())
    with mp.Pool(1) as pool:
        begun, go_on = mp.Event(), mp.Event()

        def say_and_wait(begun: object, go_on: object) -> None:
            print("here I am")
            begun.set()  # type: ignore[attr-defined]
            go_on.is_set() or go_on.wait(PATIENCE)  # type: ignore[attr-defined]

        if mp.name == "serial":
            go_on.set()
        result = pool.apply_async(say_and_wait, (begun, go_on))
        assert stream.written.wait(PATIENCE)
        assert stream.getvalue().startswith("here I am")
        go_on.set()
        result.get()


@pytest.mark.needs("kills")
def test_what_a_killed_worker_said_last(mp: Context, capsys: Capture) -> None:
    with mp.Pool(2) as pool:
        for x in range(10):
            with pytest.raises(allcores.WorkerDied) as caught:
                pool.apply(say_and_die, (x,))
            assert caught.value.stderr == f"err {x}"
            assert tuple(capsys.readouterr()) == (f"out {x}\nbegun", f"err {x}\n")


@pytest.mark.parametrize("end", ["leave", "close", "terminate"])
def test_nothing_is_lost_at_the_end(mp: Context, capsys: Capture, end: str) -> None:
    done = mp.Semaphore(0)

    def say_so(x: int) -> None:
        print("out", x)
        done.release()

    with mp.Pool(2) as pool:
        for x in range(50):
            pool.apply_async(say_so, (x,))
        for _ in range(50):
            done.acquire()
        if end == "terminate":
            pool.terminate()
        elif end == "close":
            pool.close()
            pool.join()
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(f"out {x}" for x in range(50))


@pytest.mark.needs("kills")
def test_who_prints_for_ever_keeps_nobody_waiting(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def for_ever() -> None:
        while True:
            print("x" * 1000)

    class Nowhere(io.StringIO):
        def write(self, text: str, /) -> int:
            return len(text)

    monkeypatch.setattr(sys, "stdout", Nowhere())
    before = allcores.statistics().bytes_used
    with mp.Pool(2) as pool:
        pool.apply_async(for_ever)
        for x in range(30):  # on a busy machine some megabytes are shown before each result
            assert pool.apply(abs, (x,)) == x
        assert allcores.statistics().bytes_used < before + (32 << 20)
        pool.terminate()


@pytest.mark.needs("kills")
def test_a_worker_waits_while_nothing_is_shown(mp: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that takes nothing for a while: what is not shown yet stays bounded, and nothing is lost."""
    taken, go_on = threading.Event(), threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str, /) -> int:
            taken.set()
            assert go_on.wait(PATIENCE)
            return super().write(text)

    def much(n: int) -> int:
        for i in range(n):
            print(i, "x" * 10_000)
        return n

    monkeypatch.setattr(sys, "stdout", slow := Slow())
    with mp.Pool(1) as pool:
        result = pool.apply_async(much, (2000,))
        assert taken.wait(PATIENCE)
        assert not result._settled  # 20 MB: it waits
        go_on.set()
        assert result.get() == 2000
        assert [int(line.split()[0]) for line in slow.getvalue().splitlines()] == list(range(2000))
        taken.clear()
        go_on.clear()
        pool.apply_async(much, (2000,))
        assert taken.wait(PATIENCE)
        threading.Timer(0.1, go_on.set).start()
        pool.terminate()  # in the middle of it, with a worker that waits for room


@pytest.mark.needs("copies")
def test_by_their_own_descriptors_if_that_is_wanted(
    mp: Context, capfd: Capture, records: list[logging.LogRecord]
) -> None:
    with mp.Pool(1, forward_output=False) as pool:
        sys.stdout, kept = io.StringIO(), sys.stdout
        try:
            pool.apply(say, (1,))
            pool.apply(log, (1,))
            assert sys.stdout.getvalue() == ""
        finally:
            sys.stdout = kept
    assert records == []
    out, err = capfd.readouterr()
    assert out == "out 1\n"
    assert err.startswith("err 1\n")


@pytest.mark.needs("copies")
def test_the_name_before_each_line(mp: Context, capsys: Capture) -> None:
    with mp.Pool(1, forward_output="named") as pool:
        name = pool.apply(lambda: print("a\nb", "c", flush=True) or allcores.current_process().name)
        assert capsys.readouterr().out == f"[{name}] a\n[{name}] b c\n"


def test_what_makes_no_sense_is_refused(mp: Context) -> None:
    with pytest.raises(ValueError, match="forward_output must be True, False or 'named', not 'all'"):
        mp.Pool(1, forward_output="all")


@pytest.mark.needs("copies")
def test_a_stream_that_fails_fails_no_call(
    mp: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(io.StringIO):
        def write(self, _text: str, /) -> int:
            raise BrokenPipeError("nobody reads this")

    monkeypatch.setattr(sys, "stdout", Broken())
    with mp.Pool(1) as pool:
        assert pool.map(say, range(3)) == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == ["what workers print or log cannot be shown"]


@pytest.mark.needs("copies")
def test_a_handler_may_use_the_pool(mp: Context, records: list[logging.LogRecord]) -> None:
    with mp.Pool(1) as pool:
        asked: list[object] = []

        class Asks(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                asked.append(pool.apply(say, (record.getMessage(),)))

        handler = Asks()
        logging.getLogger("of.workers").addHandler(handler)
        try:
            pool.apply(log, (1,))
        finally:
            logging.getLogger("of.workers").removeHandler(handler)
        assert asked == ["1 of two"]


@pytest.mark.needs("copies")
def test_from_a_pool_in_a_pool(mp: Context, capsys: Capture, records: list[logging.LogRecord]) -> None:
    def inner(x: int) -> None:
        with mp.Pool(1) as pool:
            pool.apply(say, (x,))
            pool.apply(log, (x,))

    with mp.Pool(1) as pool:
        pool.apply(inner, (7,))
        assert tuple(capsys.readouterr()) == ("out 7\n", "err 7\n")
        assert [record.getMessage() for record in records] == ["7 of two"]


PROGRAM = """
import sys
import allcores

def first_import(x):
    assert "logging" not in sys.modules or sys.modules["logging"].root.handlers
    import logging
    logging.warning("item %d", x)
    logging.info("not wanted")

with allcores.Pool(1) as pool:
    assert "logging" not in sys.modules
    pool.apply(first_import, (1,))
    assert "logging" in sys.modules
    sys.stdout = None
    pool.apply(print, ("nowhere",))
    import io
    sys.stdout = io.TextIOWrapper(open(1, "wb", closefd=False), "ascii")
    pool.apply(print, ("\N{SNOWMAN}",))
"""


def test_a_program_that_does_not_log_and_a_worker_that_does() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("\\u2603\n", "item 1\n")


LAST = """
import atexit
import sys
import allcores

pool = allcores.get_context(sys.argv[1]).Pool(1)
done = allcores.Event()

def say():
    print("said")
    done.set()

@atexit.register
def last():
    pool.apply_async(say)
    done.wait()
"""


@pytest.mark.needs("copies")
def test_what_is_said_when_the_program_ends(mp: Context) -> None:
    """When Python starts no threads any more: the pool's own is told of it, and goes on."""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", LAST, mp.get_context().name], capture_output=True, text=True, timeout=PATIENCE
        )
        assert (done.stdout, done.stderr, done.returncode) == ("said\n", "", 0)
