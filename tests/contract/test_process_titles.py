"""What `ps` and `top` show for the processes of a program."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from allcores import start

from . import jobs
from .kit import PATIENCE, Context


@pytest.mark.lacks("cluster")  # there its name is the worker's
@pytest.mark.needs("kills")
def test_who_is_who(mp: Context) -> None:
    script = os.path.basename(sys.argv[0])
    process = mp.Process(target=mp.Event().wait, name="a friend")
    process.start()
    template = psutil.Process(start.template_pid())
    with mp.Pool(2) as pool:
        pool.map(jobs.together, [(mp.Barrier(2), int)] * 2, chunksize=1)
        shown = {title(child) for child in template.children()}
        names = {worker.name for worker in mp.active_children()}
    assert shown == {f"{name} of {script}" for name in names}
    assert len(names) == 3
    assert title(template) == "allcores-template"
    process.kill()
    process.join()
    assert [title(child) for child in template.children()] == [f"allcores-parked of {script}"] * 2


@pytest.mark.needs("kills")
def test_who_counts_the_blanks_before_the_number_of_threads_finds_it(mp: Context) -> None:
    """As Python itself does from 3.12 on, to warn of a fork of a process with several."""
    with mp.Pool(1) as pool:
        assert len(set(pool.apply(threads_by_count_and_by_name))) == 1
    process = mp.Process(target=threads_by_count_and_by_name, name="of a long name")
    process.start()
    assert len(set(process.result(PATIENCE))) == 1


def threads_by_count_and_by_name() -> tuple[str, str]:
    status = Path("/proc/self/status").read_text()
    return Path("/proc/self/stat").read_text().split(" ")[19], status.split("Threads:")[1].split()[0]


def title(process: psutil.Process) -> str:
    with open(f"/proc/{process.pid}/comm") as f:
        short = f.read().rstrip("\n")
    whole = " ".join(process.cmdline()).rstrip()
    assert whole.replace(" ", "_").encode()[:15].decode(errors="ignore").startswith(short)
    return whole
