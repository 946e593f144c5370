"""``shared_memory``: named segments, which the program that made them removes at its end, and nobody else does.

Each row is a program with its stderr: the standard library's tracker is known for what it says there.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import allcores
from allcores import shared_memory, tracked

PATIENCE = 30.0


# Bytes of every segment here, which tells them from those of other programs; and the name of those that are to stay.
SIZE = 1_000_000 + os.getpid()
STAYS = f"allcores_stays_{os.getpid()}"


def ours() -> set[str]:
    """The segments in /dev/shm that were made here."""
    found = set()
    for entry in os.scandir("/dev/shm"):
        with contextlib.suppress(FileNotFoundError):  # another program's, which has just removed it
            if entry.stat().st_size == SIZE and entry.name != STAYS:
                found.add(entry.name)
    return found


def run(code: str, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A program of its own, which leaves nothing in /dev/shm."""
    before = ours()
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=PATIENCE)
    assert not check or done.returncode == 0, done.stderr
    assert ours() == before
    return done


LEAK = "resource_tracker: There appear to be 1 leaked shared_memory objects to clean up at shutdown"

HEAD = f"""
import os, signal, sys
import allcores
from allcores.shared_memory import ShareableList, SharedMemory
def make(told):
    memory = SharedMemory(create=True, size={SIZE})
    memory.buf[0] = 7
    told.put(memory.name)
def look(name):
    memory = SharedMemory(name)
    memory.buf[1] = memory.buf[0] + 1
def look_with_the_standards(name):
    from multiprocessing import shared_memory
    memory = shared_memory.SharedMemory(name)
    return memory.buf[0]
def remove(name):
    SharedMemory(name).unlink()
def run(function, *args, method=None):
    process = allcores.get_context(method).Process(target=function, args=args)
    process.start()
    process.join()
    return process.result()
"""


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_across_processes(method: str) -> None:
    code = f"""{HEAD}
told = allcores.Queue()
run(make, told, method={method!r})           # it outlives who made it
name = told.get()
run(look, name, method={method!r})           # and who has looked
run(look_with_the_standards, name, method={method!r})
memory = SharedMemory(name)
assert bytes(memory.buf[:2]) == bytes([7, 8])
memory.close()
run(remove, name, method={method!r})
try:
    SharedMemory(name)
except FileNotFoundError:
    print("gone")
"""
    done = run(code)
    assert (done.stdout, done.stderr) == ("gone\n", "")


@pytest.mark.parametrize("end", ["pass", "raise SystemExit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
@pytest.mark.parametrize("who", ["make(told)", "run(make, told)"])
def test_what_is_left_is_removed_and_told(who: str, end: str) -> None:
    done = run(f"{HEAD}\ntold = allcores.Queue()\n{who}\nprint(told.get())\n{end}", check=False)
    assert done.stdout.startswith("psm_")
    assert LEAK in done.stderr
    assert not Path("/dev/shm", done.stdout.strip()).exists()


def test_also_if_the_template_was_killed() -> None:
    code = f"""{HEAD}
from allcores import start
told = allcores.Queue()
run(make, told)
os.kill(start.template_pid(), signal.SIGKILL)
print(told.get())
"""
    done = run(code)
    assert LEAK in done.stderr


@pytest.mark.parametrize("cls", ["allcores", "multiprocessing"])
def test_who_attaches_leaves_it(cls: str) -> None:
    """The other program may be one of ours or not; this one, which made it, goes on with it."""
    memory = shared_memory.SharedMemory(create=True, size=SIZE)
    try:
        if cls == "multiprocessing" and sys.version_info < (3, 13):
            code = "import sys; from allcores import shared_memory; shared_memory.SharedMemory(sys.argv[1]).close()"
        else:
            code = f"{HEAD}\nrun(look, sys.argv[1])\nSharedMemory(sys.argv[1]).close()"
        done = run(code, memory.name)
        assert done.stderr == ""
        shared_memory.SharedMemory(memory.name).close()
    finally:
        memory.close()
        memory.unlink()


def test_removed_by_another_program() -> None:
    code = f"""{HEAD}
import subprocess
memory = SharedMemory(create=True, size={SIZE})
other = "import sys; from allcores import shared_memory; shared_memory.SharedMemory(sys.argv[1]).unlink()"
subprocess.run([sys.executable, "-c", other, memory.name], check=True)
"""
    assert run(code).stderr == ""


def test_beside_a_process_of_the_standards(tmp_path: Path) -> None:
    """Which has a tracker of its own, and tells it of what it attaches to."""
    script = tmp_path / "program.py"
    script.write_text(f"""
import multiprocessing
from multiprocessing import shared_memory as standards
from allcores.shared_memory import SharedMemory
def look(name):
    memory = standards.SharedMemory(name)
    assert memory.buf[0] == 7
    memory.close()
if __name__ == "__main__":
    memory = SharedMemory(create=True, size={SIZE})
    memory.buf[0] = 7
    process = multiprocessing.get_context("spawn").Process(target=look, args=(memory.name,))
    process.start()
    process.join()
    memory.close()
    memory.unlink()
    raise SystemExit(process.exitcode)
""")
    assert run(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')").stderr == ""


def test_what_is_not_tracked_stays() -> None:
    code = f"{HEAD}\nmemory = SharedMemory({STAYS!r}, create=True, size={SIZE}, track=False)"
    assert run(code).stderr == ""
    memory = shared_memory.SharedMemory(STAYS)
    memory.close()
    memory.unlink()


def test_the_standards_own_workaround_holds() -> None:
    """To unregister by hand means: this is to stay."""
    code = f"""{HEAD}
from multiprocessing import resource_tracker
memory = SharedMemory({STAYS!r}, create=True, size={SIZE})
resource_tracker.unregister("/{STAYS}", "shared_memory")
"""
    assert run(code).stderr == ""
    memory = shared_memory.SharedMemory(STAYS)
    memory.close()
    memory.unlink()


def test_many_leave_no_trace() -> None:
    """The lines about names that are of no more use are given up."""
    before = tracked._MANY
    tracked.begin()
    lines = tracked._attached()
    kept = shared_memory.SharedMemory(create=True, size=SIZE)
    try:
        for i in range(3 * before):
            tracked.track("REGISTER", f"/allcores_{i}", "shared_memory")
            tracked.track("UNREGISTER", f"/allcores_{i}", "shared_memory")
            assert lines.channel.qsize() <= before + 2
        assert (f"/{kept.name}", "shared_memory") in tracked._look_through(lines)
        tracked.track("REGISTER", f"/{kept.name}", "shared_memory")
    finally:
        kept.close()
        kept.unlink()


def test_they_travel() -> None:
    values = shared_memory.ShareableList([1, "two", None])
    try:
        again = pickle.loads(pickle.dumps(values))
        assert type(again) is shared_memory.ShareableList
        assert type(again.shm) is shared_memory.SharedMemory
        again[0] = 5
        again.shm.close()
        q = allcores.Queue()
        q.put(values)
        other = q.get()
        assert list(other) == [5, "two", None]
        other.shm.close()
    finally:
        values.shm.close()
        values.shm.unlink()


def test_killed_while_the_lines_are_looked_through() -> None:
    """Who holds the lock over the lines may die: the next one goes on."""
    process = allcores.Process(target=die_with_the_lines)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    memory = shared_memory.SharedMemory(create=True, size=SIZE)
    memory.close()
    memory.unlink()


def die_with_the_lines() -> None:
    tracked._attached().lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)
