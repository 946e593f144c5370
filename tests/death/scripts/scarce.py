"""Works with little: of addresses, of memory, of file descriptors, without /dev/shm.

usage: scarce.py <case> [number]
"""

import contextlib
import errno
import os
import pickle
import resource
import signal
import sys
import time
from typing import Any

case, *numbers = sys.argv[1:]
number = int(numbers[0]) if numbers and numbers[0].isdigit() else 0
if case == "addresses":
    resource.setrlimit(resource.RLIMIT_AS, (number << 20, number << 20))
if case == "keeping":
    resource.setrlimit(resource.RLIMIT_AS, (number << 20, resource.RLIM_INFINITY))  # those it starts may raise it
if case in ("descriptors", "arrays"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))

import psutil  # noqa: E402 - under the limits set above

import allcores as mp  # noqa: E402
from allcores import _native, start  # noqa: E402


def length(data: Any) -> int:
    return len(data)


def check_all_works() -> None:
    queue = mp.Queue()
    queue.put("small")
    assert queue.get() == "small"
    with mp.Pool(2) as pool:
        assert pool.map(abs, range(-5, 5)) == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4]
        for _ in range(3):
            assert pool.map(length, [bytearray(10_000_000)] * 2) == [10_000_000] * 2
            queue.put(bytearray(10_000_000))
            assert len(queue.get()) == 10_000_000


def addresses() -> None:
    """Until nothing fits any more: then an error, and what is small still works."""
    check_all_works()
    queue = mp.Queue()
    data = bytearray(10_000_000)
    try:
        for _ in range(1000):
            queue.put(data)
    except MemoryError as error:
        print(error)
    queue.put("small")
    while (kept := queue.get()) != "small":
        assert len(kept) == 10_000_000
    del kept, queue
    check_all_works()


def keeping() -> None:
    """Who keeps all that it receives has more of it than the segment holds: beyond a limit it is in private memory."""
    queue, answers = mp.Queue(4), mp.Queue()
    segment = mp.statistics().addresses
    arrays = 2 * segment // 10_000_000
    receiver = mp.Process(target=keep, args=(queue, answers, arrays))
    receiver.start()
    for i in range(arrays):
        queue.put(pickle.PickleBuffer(bytearray([i % 251]) * 10_000_000))
    kept, limit = answers.get()
    assert 0 < kept <= limit < segment / 2
    receiver.join()
    assert receiver.exitcode == 0
    receiver.close()
    check_all_works()


def keep(queue: Any, answers: Any, arrays: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    kept = []
    for i in range(arrays):
        kept.append(memoryview(queue.get()))
        kept[-1][0] += 1  # it is its own
        assert bytes(kept[-1]).count(i % 251) == 10_000_000 - 1
    assert [array[0] for array in kept] == [i % 251 + 1 for i in range(arrays)]
    now = mp.statistics()
    answers.put((now.bytes_kept, now.keep_limit))


def memory() -> None:
    """There are a few dozen MB of memory, says the system."""
    check_all_works()
    queue = mp.Queue()
    for _ in range(2):
        try:
            queue.put(bytearray(64_000_000))
        except MemoryError as error:
            print(error)
        check_all_works()
    assert queue.empty()


def container() -> None:
    """In a group of its own, whose directory is the argument."""
    with open(f"{numbers[0]}/cgroup.procs", "w") as group:
        group.write(str(os.getpid()))
    start.stop_template()  # the next one is in the group as well
    queue = mp.Queue()
    # What was used for small things is missing for a large one: it is given back before that is refused.
    for _ in range(9_000):
        queue.put(b"x" * 10_000)
    while not queue.empty():
        queue.get()
    assert mp.statistics().bytes_warm > 80_000_000
    queue.put(b"x" * 70_000_000)
    assert mp.statistics().bytes_warm < 10_000_000
    assert len(queue.get()) == 70_000_000
    try:
        for _ in range(100):
            queue.put(bytearray(40_000_000))
    except MemoryError as error:
        print(error)
    while not queue.empty():
        assert len(queue.get()) == 40_000_000
    with mp.Pool(2) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]


def descriptors() -> None:
    with mp.Pool(4) as pool:
        check_all_works()
        queues = [mp.Queue() for _ in range(100)]
        template = f"/proc/{start.template_pid()}/fd"
        before = len(os.listdir("/proc/self/fd")), len(os.listdir(template))
        for _ in range(3):
            start_too_many(queues)
        assert pool.map(abs, [-1]) == [1]
        child = mp.Process(target=check_all_works)
        child.start()
        assert child.result() is None
        child.close()
        deadline = time.monotonic() + 30  # the template closes what it had for a process after it has told of its end
        while len(os.listdir("/proc/self/fd")) > before[0] or len(os.listdir(template)) > before[1]:
            assert time.monotonic() < deadline


def arrays() -> None:
    """As many arrays as one likes are alive at once: none of them takes a descriptor."""
    import numpy as np

    many, queue = 10_000, mp.Queue()
    child = mp.Process(target=put_arrays, args=(queue, many))
    child.start()
    alive = [queue.get(timeout=30) for _ in range(many)]
    assert child.result() is None
    child.close()
    for i, array in enumerate(alive):
        array += 1  # each is the receiver's own
        assert np.array_equal(array, np.full(1_000, i + 1.0))
    print(len(alive))


def put_arrays(queue: Any, many: int) -> None:
    import numpy as np

    for i in range(many):
        queue.put(np.full(1_000, float(i)))


def start_too_many(queues: list[Any]) -> None:
    gate, started = mp.Event(), []
    try:
        for queue in queues:
            child = mp.Process(target=put_when, args=(gate, queue))
            child.start()
            started.append((child, queue))
        raise AssertionError("there were descriptors for all")
    except OSError as error:
        print(error)
    gate.set()
    for child, queue in started:
        assert queue.get(timeout=30) == 1
        child.join()
        assert child.exitcode == 0
        child.close()


def put_when(gate: Any, queue: Any) -> None:
    gate.wait()
    queue.put(1)


def names() -> None:
    """Nothing of it has a name in a file system: neither open, nor mapped, nor listed."""
    before = [set(os.listdir(place)) for place in ("/dev/shm", "/tmp")]
    queue, begun, gate = mp.Queue(), mp.Barrier(3), mp.Event()
    queue.put(bytearray(1_000_000))
    with mp.Pool(2) as pool:
        pending = [pool.apply_async(lambda: begun.wait() is not None and gate.wait()) for _ in range(2)]
        begun.wait()
        places = open_and_mapped(os.getpid())
        for process in psutil.Process().children(recursive=True):
            places |= open_and_mapped(process.pid)
        print(*sorted(places))
        assert [set(os.listdir(place)) for place in ("/dev/shm", "/tmp")] == before
        gate.set()
        assert all(result.get() for result in pending)


def open_and_mapped(pid: int) -> set[str]:
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the directory
            found |= {os.readlink(f"/proc/{pid}/fd/{fd}")} if int(fd) > 2 else set()
    with open(f"/proc/{pid}/maps") as maps:
        found |= {line.split(maxsplit=5)[5].strip() for line in maps if len(line.split()) > 5}
    ours = {path for path in found if not path.startswith(sys.prefix)}  # what is installed may be anywhere
    return {path for path in ours if path.startswith(("/dev/shm", "/tmp", "/memfd"))}


def threads() -> None:
    """No addresses for a thread's stack: an error, no descriptor more, and signals still come."""
    a, b = mp.Pipe()
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    open_before, hard = len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), hard))
    for shows in (b.fileno, lambda: _native.Lookout([0])):
        refused = 0
        try:
            shows()
        except OSError as error:
            refused = error.errno or 0
        assert refused == errno.EAGAIN
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert len(os.listdir("/proc/self/fd")) == open_before
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    a.send(1)
    assert b.fileno() >= 0
    assert b.recv() == 1


everything = check_all_works
globals()[case]()
print("sound")
