"""Daemon threads that are in the middle of something of ours when the interpreter ends: the program ends well."""

import subprocess
import sys

import pytest

BEGIN = """
import threading, time, allcores

class Last:
    def __del__(self, sleep=time.sleep): sleep(0.5)  # meanwhile the threads ask for the GIL, and Python ends them

class Slow:
    def __reduce__(self):
        for _ in range(20_000): pass
        return int, ()

last = Last()
begun = threading.Semaphore(0)

def begin(job):
    def repeat():
        begun.release()
        while True: job()
    threading.Thread(target=repeat, daemon=True).start()

def pause():
    begun.release()
    time.sleep(0.2)
"""

ENDS = {
    "a pool": """
pool = allcores.get_context("thread").Pool(3)
pool.map_async(lambda _: pause(), range(100), chunksize=10)
for _ in range(3): begun.acquire()
pool.terminate()
""",
    "pickling": """
queue = allcores.Queue(2)
begin(lambda: queue.put([Slow(), lambda: 1]))
begin(queue.get)
for _ in range(2): begun.acquire()
""",
    "a barrier": """
barrier = allcores.Barrier(2, pause)
begin(barrier.wait)
begin(barrier.wait)
for _ in range(3): begun.acquire()
""",
    "several": """
receives, sends = allcores.Pipe()
for wait in (allcores.Queue().get, receives.recv, allcores.Event().wait, allcores.Semaphore(0).acquire): begin(wait)
for _ in range(4): begun.acquire()
""",
}


@pytest.mark.parametrize("job", ENDS)
def test_the_program_ends_well(job: str) -> None:
    ended = subprocess.run([sys.executable, "-c", BEGIN + ENDS[job]], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
