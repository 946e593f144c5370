"""How many cores there are: affinity, cpusets and quotas of both versions of cgroups, seen from many places."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import allcores
from allcores import cores

V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "24 23 0:20 / /proc rw - proc proc rw\n"
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 {top} /sys/fs/cgroup/cpuset rw,relatime shared:10 - cgroup cgroup rw,cpuset\n"
)
MANY = 64


@pytest.fixture(autouse=True)
def a_large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(MANY)))
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delenv(cores.OVERRIDE, raising=False)


def tree(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> str:
    """A file tree with the two tables of a process, and files of cgroups."""
    tables = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts}
    for name, text in {**tables, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return str(root)


def version_1(quota: int, period: int = 100_000) -> dict[str, str]:
    return {"cpu.cfs_quota_us": f"{quota}\n", "cpu.cfs_period_us": f"{period}\n"}


def under(directory: str, files: dict[str, str]) -> dict[str, str]:
    return {f"{directory}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000", 2),
        ("50000 100000", 1),  # half a core is one worker
        ("1000 100000", 1),
        ("250000 100000", 3),  # 2 workers would leave half a core unused
        ("200001 100000", 3),
        ("30000 10000", 3),
        ("max 100000", MANY),
        ("9900000 100000", MANY),
        ("", MANY),
        ("nonsense", MANY),
        ("100000 0", MANY),
    ],
)
def test_quota_of_version_2(tmp_path: Path, quota: str, expected: int) -> None:
    root = tree(tmp_path, "0::/job\n", V2, {"job/cpu.max": f"{quota}\n"})
    assert cores.cpu_count(root) == expected


def test_the_least_of_all_levels_counts(tmp_path: Path) -> None:
    levels = {"a/cpu.max": "700000 100000", "a/b/cpu.max": "300000 100000", "a/b/c/cpu.max": "max 100000"}
    assert cores.cpu_count(tree(tmp_path, "0::/a/b/c\n", V2, levels)) == 3


def test_levels_beside_do_not_count(tmp_path: Path) -> None:
    levels = {"a/cpu.max": "700000 100000", "b/cpu.max": "100000 100000", "a/deeper/cpu.max": "100000 100000"}
    assert cores.cpu_count(tree(tmp_path, "0::/a\n", V2, levels)) == 7


@pytest.mark.parametrize("path", ["/kubepods/pod1/container", "/../../elsewhere", "/"])
def test_a_container_that_does_not_see_its_own_path(tmp_path: Path, path: str) -> None:
    """What is mounted is the nearest that can be seen: the container's own, in most."""
    assert cores.cpu_count(tree(tmp_path, f"0::{path}\n", V2, {"cpu.max": "200000 100000"})) == 2


def test_a_mount_that_begins_at_the_own_cgroup(tmp_path: Path) -> None:
    mounts = V2.replace(" / ", " /docker/1234 ", 1)
    files = {"cpu.max": "500000 100000", "inner/cpu.max": "400000 100000", "docker/1234/cpu.max": "100000 100000"}
    assert cores.cpu_count(tree(tmp_path, "0::/docker/1234/inner\n", mounts, files)) == 4


@pytest.mark.parametrize(("quota", "expected"), [(200_000, 2), (250_000, 3), (50_000, 1), (-1, MANY)])
def test_quota_of_version_1(tmp_path: Path, quota: int, expected: int) -> None:
    files = under("cpu,cpuacct/job", version_1(quota))
    assert cores.cpu_count(tree(tmp_path, "4:cpu,cpuacct:/job\n", V1.format(top="/"), files)) == expected


def test_levels_of_version_1(tmp_path: Path) -> None:
    files = under("cpu,cpuacct/a/b", version_1(-1)) | under("cpu,cpuacct/a", version_1(60_000, 20_000))
    assert cores.cpu_count(tree(tmp_path, "4:cpu,cpuacct:/a/b\n", V1.format(top="/"), files)) == 3


def test_a_container_of_version_1(tmp_path: Path) -> None:
    files = under("cpu,cpuacct", version_1(300_000))
    root = tree(tmp_path, "4:cpuacct,cpu:/docker/1234\n", V1.format(top="/docker/1234"), files)
    assert cores.cpu_count(root) == 3


def test_both_versions_at_once(tmp_path: Path) -> None:
    """As systemd's hybrid has it: version 2 without controllers beside version 1."""
    mounts = V1.format(top="/") + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    files = under("cpu,cpuacct/job", version_1(400_000)) | {"unified/job/cgroup.procs": "1\n"}
    assert cores.cpu_count(tree(tmp_path, "4:cpu,cpuacct:/job\n0::/job\n", mounts, files)) == 4


@pytest.mark.parametrize(("cpus", "expected"), [("0-3,8", 5), ("7", 1), ("0-1,3-4\n", 4), ("\n", MANY)])
def test_cpuset(tmp_path: Path, cpus: str, expected: int) -> None:
    mounts = V1.format(top="/")
    for i, name in enumerate(("cpuset.cpus", "cpuset.effective_cpus")):
        root = tree(tmp_path / str(i), "4:cpuset:/job\n", mounts, {f"cpuset/job/{name}": cpus})
        assert cores.cpu_count(root) == expected
    root = tree(tmp_path / "2", "0::/job\n", V2, {"job/cpuset.cpus.effective": cpus})
    assert cores.cpu_count(root) == expected


def test_affinity_is_the_least(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    assert cores.cpu_count(tree(tmp_path, "0::/\n", V2, {"cpu.max": "200000 100000"})) == 1


def test_what_python_itself_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHON_CPU_COUNT and -X cpu_count, since 3.13; a quota still counts."""
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)
    assert cores.cpu_count(tree(tmp_path / "1", "0::/\n", V2, {})) == 5
    assert cores.cpu_count(tree(tmp_path / "2", "0::/\n", V2, {"cpu.max": "200000 100000"})) == 2
    monkeypatch.setattr(os, "process_cpu_count", lambda: None)
    assert cores.cpu_count(tree(tmp_path / "3", "0::/\n", V2, {})) == MANY


def test_mount_points_with_spaces(tmp_path: Path) -> None:
    files = {"a b/cpu.max": "300000 100000"}
    root = tree(tmp_path, "0::/\n", V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/a\\040b"), files)
    assert cores.cpu_count(root) == 3


@pytest.mark.parametrize(("cgroup", "mounts"), [("", ""), ("nonsense\n", "nonsense\n"), ("0::/job\n", "")])
def test_a_machine_without_cgroups(tmp_path: Path, cgroup: str, mounts: str) -> None:
    assert cores.cpu_count(tree(tmp_path, cgroup, mounts, {})) == MANY
    assert cores.cpu_count(str(tmp_path / "nothing")) == MANY


@pytest.mark.parametrize(("told", "expected"), [("1", 1), ("96", 96), (" 4 ", 4), ("", MANY)])
def test_the_environment_overrides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, expected: int) -> None:
    monkeypatch.setenv(cores.OVERRIDE, told)
    assert cores.cpu_count(str(tmp_path)) == expected
    assert cores.usable(str(tmp_path)) == MANY


@pytest.mark.parametrize("told", ["0", "-2", "2.5", "two", "1e3", "\u0662"])
def test_an_override_that_cannot_be(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(cores.OVERRIDE, told)
    with pytest.raises(allcores.UsageError, match="ALLCORES_CPU_COUNT.*" + told):
        allcores.cpu_count()
    with pytest.raises(allcores.UsageError, match="ALLCORES_CPU_COUNT"):
        allcores.Pool()


def test_the_override_is_the_default_size() -> None:
    code = "import allcores\nwith allcores.Pool() as pool: print(pool, pool.apply(allcores.cpu_count))"
    environ = {**os.environ, cores.OVERRIDE: "3"}
    run = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout == "<Pool of 3 open> 3\n"
