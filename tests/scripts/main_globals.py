"""Locks, queues, values and arrays as globals of the script: used by jobs as if there were one process."""

import allcores as mp

print("top level", flush=True)
lock = mp.Lock()
queue = mp.Queue()
value = mp.Value("i", 0)
array = mp.Array("i", [1, 2, 3, 4])


def job(i: int) -> None:
    global value
    with lock:
        value.value += 1
    value += 1
    array[i] *= 10
    queue.put(i)


p = mp.Process(target=job, args=(0,))
p.start()
p.join()
with mp.Pool(2) as pool:
    pool.map(job, [1, 2])
    late = mp.Value("d", 0.5)
    pool.apply(lambda: late.add(0.25))
print(value.value, array[:], sorted(queue.get() for _ in range(3)), late.value)
