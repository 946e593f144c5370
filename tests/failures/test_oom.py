"""Whose deaths are laid at the out-of-memory killer's door: by its own count, in the file tree of a made-up system."""

import signal
from pathlib import Path

import pytest

from allcores import deaths
from allcores.deaths import Death, OomWatch, oom_kills
from allcores.errors import describe_bytes

V1 = "9:cpu:/jobs\n4:memory:/docker/abc\n0::/ignored\n"
V2 = "0::/user.slice/session.scope\n"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def events(count: int) -> str:
    return f"low 0\nhigh 5\nmax 7\noom 3\noom_kill {count}\noom_group_kill 0\n"


def control(count: int) -> str:
    return f"oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/self/cgroup", V2)
    return tmp_path


PLACES = [
    pytest.param(V2, "sys/fs/cgroup/user.slice/session.scope/memory.events", events, id="v2"),
    pytest.param(V2, "sys/fs/cgroup/user.slice/memory.events", events, id="v2, of its parent"),
    pytest.param("0::/\n", "sys/fs/cgroup/memory.events", events, id="v2, in a container"),
    pytest.param("0::/not/to/be/seen\n", "sys/fs/cgroup/memory.events", events, id="v2, path of the host"),
    pytest.param("0::/a\n", "sys/fs/cgroup/unified/a/memory.events", events, id="v2 beside v1"),
    pytest.param(V1, "sys/fs/cgroup/memory/docker/abc/memory.oom_control", control, id="v1"),
    pytest.param(V1, "sys/fs/cgroup/memory/memory.oom_control", control, id="v1, in a container"),
    pytest.param("4:cpu,memory:/x\n", "sys/fs/cgroup/memory/x/memory.oom_control", control, id="v1, two in one"),
    pytest.param("0::/with:colon\n", "sys/fs/cgroup/with:colon/memory.events", events, id="colon"),
]


@pytest.mark.parametrize(("own", "file", "text"), PLACES)
def test_where_the_count_is_found(root: Path, own: str, file: str, text: object) -> None:
    assert callable(text)
    write(root / "proc/self/cgroup", own)
    write(root / file, text(4))
    assert oom_kills(str(root)) == 4
    watch = OomWatch(str(root))
    write(root / file, text(5))
    assert watch.explains(-signal.SIGKILL)


def test_a_neighbours_victim_is_not_ours(root: Path) -> None:
    """A count further up is that of neighbours too; a victim is counted where it lived as well."""
    write(root / "sys/fs/cgroup/user.slice/session.scope/memory.events", events(0))
    write(root / "sys/fs/cgroup/user.slice/memory.events", events(0))
    watch = OomWatch(str(root))
    write(root / "sys/fs/cgroup/user.slice/memory.events", events(1))
    assert not watch.explains(-signal.SIGKILL)


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "\n", "oom 5\n"])
def test_where_nothing_tells(root: Path, text: str) -> None:
    assert oom_kills(str(root)) is None
    write(root / "sys/fs/cgroup/memory.events", text)
    assert oom_kills(str(root)) is None
    assert not OomWatch(str(root)).explains(-signal.SIGKILL)
    (root / "proc/self/cgroup").unlink()
    assert oom_kills(str(root)) is None


def test_on_this_machine_it_raises_nothing() -> None:
    count = oom_kills()
    assert count is None or count >= 0


@pytest.fixture
def counter(root: Path) -> Path:
    write(root / "sys/fs/cgroup/memory.events", events(3))
    return root / "sys/fs/cgroup/memory.events"


def test_a_kill_without_a_count_is_somebody_elses(root: Path, counter: Path) -> None:
    watch = OomWatch(str(root))
    assert not watch.explains(-signal.SIGKILL)
    assert not watch.explains(-signal.SIGKILL)


def test_as_many_deaths_as_were_counted(root: Path, counter: Path) -> None:
    watch = OomWatch(str(root))
    write(counter, events(5))
    assert [watch.explains(-signal.SIGKILL) for _ in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("exitcode", [0, 1, -signal.SIGSEGV, -signal.SIGTERM, 9])
def test_it_kills_by_sigkill_only(root: Path, counter: Path, exitcode: int) -> None:
    watch = OomWatch(str(root))
    write(counter, events(4))
    assert not watch.explains(exitcode)
    assert watch.explains(-signal.SIGKILL)


def test_what_was_counted_long_ago_explains_nothing(root: Path, counter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("allcores.deaths.time.monotonic", lambda: now)
    watch = OomWatch(str(root))
    write(counter, events(4))
    watch.look()  # a process is started
    now += 60
    assert not watch.explains(-signal.SIGKILL)


def test_a_count_that_cannot_be_read_for_a_while(root: Path, counter: Path) -> None:
    watch = OomWatch(str(root))
    counter.unlink()
    assert not watch.explains(-signal.SIGKILL)
    write(counter, events(3))
    assert not watch.explains(-signal.SIGKILL)
    write(counter, events(4))
    assert watch.explains(-signal.SIGKILL)


def test_it_is_said() -> None:
    error = Death(12, -9, 3 << 30, True, stderr="one\ntwo").error(3, "[1, 2]")
    assert str(error) == (
        "process 12 died while it was running item 3 ([1, 2]): killed by SIGKILL (probably the out-of-memory killer); "
        "peak memory 3.0 GiB; its last lines on stderr:\n  one\n  two"
    )


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0.0 bytes"), (1023, "1.0 KiB"), (1 << 20, "1.0 MiB"), (1288490189, "1.2 GiB"), (1 << 50, "1024.0 TiB")],
)
def test_memory_in_words(count: int, words: str) -> None:
    assert describe_bytes(count) == words


@pytest.mark.parametrize(
    "death",
    [
        Death(7, 0),
        Death(7, -9, 1 << 40, True, stderr="last words\nof two lines"),
        Death(7, 255, None, False, stderr="ä" * 500),
    ],
    ids=repr,
)
def test_a_death_travels_through_the_sentinel(death: Death) -> None:
    data = death.packed()
    assert len(data) <= deaths.MOST
    assert Death.unpack(7, data) == death


def test_words_that_are_too_many_are_cut() -> None:
    data = Death(7, 1, 5, False, stderr="ä" * 4000).packed()
    assert len(data) <= deaths.MOST
    assert Death.unpack(7, data)[:4] == (7, 1, 5, False)
