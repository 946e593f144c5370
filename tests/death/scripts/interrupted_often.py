"""Is interrupted at any moment, dozens of times, in calls of a pool, starts and joins of processes, and locks.

usage: interrupted_often.py <how many times>
"""

import os
import signal
import sys

import allcores as mp


def square(x: int) -> int:
    return x * x


def work(pool: mp.Pool, lock: mp.Lock, total: mp.Value) -> None:
    assert pool.map(square, range(200), chunksize=10) == [x * x for x in range(200)]
    assert pool.apply(square, (3,)) == 9
    assert list(pool.imap(square, range(5))) == [0, 1, 4, 9, 16]
    child = mp.Process(target=square, args=(2,))
    child.start()
    assert child.result() == 4
    with lock:
        total.value += 1


def interrupted(_signum: int, _frame: object) -> None:
    """As Python's own handler; and it counts, and raises only where that is expected: in `work`."""
    global count, at_work
    count += 1
    os.write(1, b"interrupted %d\n" % count)
    if at_work:
        at_work = False
        raise KeyboardInterrupt


count, at_work = 0, False
pool, lock, total = mp.Pool(2), mp.Lock(), mp.Value("i", 0)
work(pool, lock, total)
signal.signal(signal.SIGINT, interrupted)
print("ready", flush=True)
while count < int(sys.argv[1]):
    try:
        at_work = True
        work(pool, lock, total)
        at_work = False
    except KeyboardInterrupt:
        continue
work(pool, lock, total)
print("sound", flush=True)
