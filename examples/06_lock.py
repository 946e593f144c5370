"""Step 6: two workers add 1 and 3 to one value, five times each. With a lock they do not cut in on each other."""

import contextlib
import time

import allcores as mp


def job(value, num, lock, seen):
    with lock:
        for _ in range(5):
            time.sleep(0.02)
            value.value += num
            seen.put(value.value)


def run(lock):
    value = mp.Value("i", 0)
    seen = mp.Queue()
    p1 = mp.Process(target=job, args=(value, 1, lock, seen))
    p2 = mp.Process(target=job, args=(value, 3, lock, seen))
    p1.start()
    p2.start()
    p1.join()
    p2.join()
    return [seen.get() for _ in range(10)]


print("without:", *run(contextlib.nullcontext()))
print("with:   ", *run(mp.Lock()))
