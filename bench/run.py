"""The runner: every sample in a program of its own, which may hang, crash or leave processes without harm."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from bench.cases import Case
from bench.peers import Peer

ROOT = Path(__file__).resolve().parent.parent
# In the environment of all that a sample starts, and so how its leftovers are found in any session or group.
MARK = "ALLCORES_BENCH_SAMPLE"
# Seconds for leftovers to end by themselves (resource trackers, fork servers) before they are killed.
GRACE = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One peer's one go at one operation."""

    round: int
    status: str
    """ok, hang or error."""
    value: float | None = None
    """Seconds for one item, the factor of a speed-up, or payloads; None unless ok."""
    message: str = ""
    seconds: float = 0.0
    """Of the whole program, start and end included."""
    yardstick: float | None = None
    """Seconds for what was measured beside it in the same process, where there is such a thing."""


@dataclass(slots=True)
class Series:
    """All samples of one peer in one operation."""

    case: Case
    peer: Peer
    size: int
    samples: list[Sample]

    @property
    def values(self) -> list[float]:
        return [sample.value for sample in self.samples if sample.value is not None]

    @property
    def failures(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.status != "ok"]


def size_of(case: Case, peer: Peer, scale: float) -> int:
    """How many items; a peer that is slow by orders of magnitude gets fewer."""
    return max(1, round(peer.sizes.get(case.key, case.size) * scale))


def measure_case(
    case: Case,
    peers: Sequence[Peer],
    *,
    rounds: int,
    scale: float,
    timeout: float,
    report: Callable[[str], None],
) -> list[Series]:
    """All peers in turn, `rounds` times, each round beginning with the next of them.

    A peer that failed once is not asked again: a hang costs the whole time-out, and one is enough to report.
    """
    series = [Series(case, peer, size_of(case, peer, scale), []) for peer in peers]
    for number in range(rounds):
        shift = number % max(1, len(series))
        for one in series[shift:] + series[:shift]:
            if one.failures:
                continue
            sample = take(one.peer.name, case.key, one.size, number, timeout)
            one.samples.append(sample)
            if sample.status != "ok":
                report(f"    {one.peer.name}: {sample.status}: {sample.message}")
    return series


def take(peer: str, case: str, size: int, number: int, timeout: float) -> Sample:
    """Run one sample; never raises for what happens in it."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        answer, log = Path(folder, "answer"), Path(folder, "log")
        begin = monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.child", peer, case, str(size), str(answer)],
                cwd=ROOT,
                env=os.environ | {MARK: mark, "TMPDIR": folder, "PYTHONPATH": _path()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            ended = wait_all([process.pid], timeout)
        finally:
            spent = monotonic() - begin
            sweep(process, mark)
        if not ended:
            what = "no answer" if not answer.exists() else "the answer came, but the program did not end"
            return Sample(number, "hang", None, f"{what} within {timeout:g} s", spent)
        if process.returncode != 0 or not answer.exists():
            return Sample(number, "error", None, last_line(log, process.returncode), spent)
        value, yardstick = json.loads(answer.read_text())
        return Sample(number, "ok", value, "", spent, yardstick)


def _path() -> str:
    """The root first, for workers that do not take the parent's path over."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))


def last_line(log: Path, code: int) -> str:
    """What an error is reported by: the last line that the program printed, as of a traceback."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return f"exit {code}: {lines[-1].strip()[:300] if lines else 'nothing printed'}"


def wait_all(pids: Sequence[int], seconds: float) -> bool:
    """Wait for processes of any parent to end, without polling; whether they did."""
    deadline = monotonic() + seconds
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(max(0.0, deadline - monotonic()) * 1000):
                return False
        finally:
            os.close(descriptor)
    return True


def sweep(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """End the program and all that it started; what goes by itself within the grace is let go in peace."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended just now
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    wait_all(marked(mark), GRACE)
    while leftovers := marked(mark):  # again, for what was being started meanwhile
        for pid in leftovers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_all(leftovers, GRACE)


def marked(mark: str) -> list[int]:
    """The processes with this sample's mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # Not ours to read, or ended meanwhile: then not one of them.
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found
