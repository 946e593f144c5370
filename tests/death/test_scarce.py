"""Little memory, addresses, descriptors, no /dev/shm: it works, or says what it needs, what there is, and the cure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from allcores import _native

from .kit import PATIENCE, SCRIPTS, started

MIB = 1 << 20


@pytest.mark.parametrize(
    "megabytes", [768, 1024, pytest.param(2048, marks=pytest.mark.slow), pytest.param(4096, marks=pytest.mark.slow)]
)
def test_few_addresses(tmp_path: Path, megabytes: int) -> None:
    """As `ulimit -v` sets it."""
    with started(tmp_path / "stderr", "scarce", "addresses", megabytes) as program:
        said = program.line()
        assert "needed" in said
        assert "MB of addresses" in said
        assert "ulimit -v" in said
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")


def test_who_keeps_everything_leaves_room_for_others(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "scarce", "keeping", 768) as program:
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")


def test_no_addresses_at_all(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "scarce", "addresses", 200) as program:
        assert program.end() == 1
        assert program.stderr().count("Traceback") >= 1
        assert "shared memory needs a file descriptor and 256 MiB of addresses, and" in program.stderr()
        assert "ulimit -v" in program.stderr()


def test_no_room_for_a_thread(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "scarce", "threads") as program:
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")


@pytest.mark.parametrize("number", [64, 66])
def test_few_descriptors(tmp_path: Path, number: int) -> None:
    with started(tmp_path / "stderr", "scarce", "descriptors", number) as program:
        for _ in range(3):
            said = program.line()
            assert "it needs 1 file descriptor here and 4 in the template" in said
            assert f"no more of the {number}" in said
            assert "ulimit -n" in said
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")


def test_few_descriptors_and_many_arrays(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "scarce", "arrays", 256) as program:
        program.expect("10000", "sound")
        assert (program.end(), program.stderr()) == (0, "")


def test_nothing_has_a_name(tmp_path: Path) -> None:
    with started(tmp_path / "stderr", "scarce", "names") as program:
        parts = ("allcores", "allcores-last-words", "allcores-stacks")
        assert program.line() == " ".join(f"/memfd:{part} (deleted)" for part in parts)
        program.expect("sound")
        assert (program.end(), program.stderr()) == (0, "")


def run_in_own_mounts(script: str, *commands: str) -> subprocess.CompletedProcess[str]:
    """Run scarce.py where these commands have been run in a mount namespace of its own."""
    shell = " && ".join([*commands, f"exec {sys.executable} {SCRIPTS / 'scarce.py'} {script}"])
    probe = subprocess.run(["unshare", "-rm", "sh", "-c", " && ".join(commands)], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no mount namespaces here: {probe.stderr.strip()}")
    return subprocess.run(["unshare", "-rm", "sh", "-c", shell], capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    "mount", ["mount -t tmpfs -o size=64k none /dev/shm", "mount -t tmpfs -o size=0,ro,mode=0 none /dev/shm"]
)
def test_dev_shm_is_small_or_closed(mount: str) -> None:
    result = run_in_own_mounts("everything", mount)
    assert (result.returncode, result.stdout, result.stderr) == (0, "sound\n", "")


def test_no_dev_shm() -> None:
    result = run_in_own_mounts("everything", "mount -t tmpfs none /dev", "touch /dev/null")
    assert (result.returncode, result.stdout, result.stderr) == (0, "sound\n", "")


def test_little_memory(tmp_path: Path) -> None:
    """Less than is asked for, says the system: an error, rather than the out-of-memory killer."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 999999 kB\nMemAvailable: 40000 kB\nSwapFree: 0 kB\n")
    result = run_in_own_mounts("memory", f"mount --bind {meminfo} /proc/meminfo")
    *said, sound = result.stdout.splitlines()
    assert (result.returncode, sound, result.stderr) == (0, "sound", "")
    assert len(said) == 2
    for line in said:
        assert "64.0 MB of shared memory are needed" in line
        assert "and 41.0 MB of memory" in line
        assert "raise the limit of the memory" in line


def own_group() -> Path | None:
    """Where this process's memory is accounted for, if a group of version 1 or 2 can be made there."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory" + path)
        if number == "0" and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path("/sys/fs/cgroup" + path)
    return None


def test_a_container(tmp_path: Path) -> None:
    """A real limit: what is more than it allows is refused, and nobody is killed."""
    above = own_group()
    group = above / f"allcores-test-{os.getpid()}" if above else tmp_path / "none"
    try:
        group.mkdir()
        limit = next(group / name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists())
        limit.write_text(str(200 * MIB))
    except (OSError, StopIteration) as error:
        if group.exists():
            group.rmdir()
        pytest.skip(f"no memory group can be made here: {error}")
    try:
        with started(tmp_path / "stderr", "scarce", "container", group) as program:
            assert "40.0 MB of shared memory are needed" in program.line()
            program.expect("sound")
            assert (program.end(), program.stderr()) == (0, "")
    finally:
        group.rmdir()


MEMINFO = "MemTotal:       8000000 kB\nMemFree:        1000 kB\nMemAvailable:    4000000 kB\nSwapFree:     {swap} kB\n"


def tree(root: Path, files: dict[str, str] | None = None, swap: int = 0) -> str:
    """A machine's files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(MEMINFO.format(swap=swap))
    for name, text in (files or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_memory_of_the_machine(tmp_path: Path) -> None:
    assert _native.available_memory(tree(tmp_path)) == 4_000_000 << 10


def test_swap_counts(tmp_path: Path) -> None:
    assert _native.available_memory(tree(tmp_path, swap=1000)) == 4_001_000 << 10


def test_nothing_is_known(tmp_path: Path) -> None:
    assert _native.available_memory(str(tmp_path)) > 1 << 60


V2 = {"proc/self/cgroup": "0::/a/b\n"}


def test_version_2(tmp_path: Path) -> None:
    """Used is what cannot be dropped: cached files can."""
    root = tree(
        tmp_path,
        {
            **V2,
            "sys/fs/cgroup/a/b/memory.max": f"{100 * MIB}\n",
            "sys/fs/cgroup/a/b/memory.current": f"{70 * MIB}\n",
            "sys/fs/cgroup/a/b/memory.stat": f"anon 5\ninactive_file {20 * MIB}\nactive_file {MIB}\nfile 7\n",
        },
    )
    assert _native.available_memory(root) == 51 * MIB


def test_version_2_a_level_above(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            **V2,
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/memory.max": f"{30 * MIB}\n",
            "sys/fs/cgroup/a/memory.current": f"{70 * MIB}\n",
        },
    )
    assert _native.available_memory(root) == 0


def test_version_2_swap(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            **V2,
            "sys/fs/cgroup/a/b/memory.max": f"{30 * MIB}\n",
            "sys/fs/cgroup/a/b/memory.current": f"{10 * MIB}\n",
            "sys/fs/cgroup/a/b/memory.swap.max": f"{50 * MIB}\n",
            "sys/fs/cgroup/a/b/memory.swap.current": f"{20 * MIB}\n",
        },
        swap=100 << 10,
    )
    assert _native.available_memory(root) == 50 * MIB


def test_version_1_inside_a_container(tmp_path: Path) -> None:
    """The path is that of the host, which cannot be seen: the top is the container's own."""
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/123\n4:memory:/docker/123\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{60 * MIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"inactive_file 1\ntotal_inactive_file {2 * MIB}\n",
        },
    )
    assert _native.available_memory(root) == 6 * MIB


def test_version_1_without_a_limit(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/x\n",
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/x/memory.usage_in_bytes": f"{60 * MIB}\n",
        },
    )
    assert _native.available_memory(root) == 4_000_000 << 10
