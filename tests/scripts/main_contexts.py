"""One text, every context."""

import allcores

print("top level", flush=True)


def job(x: int) -> int:
    return x * x


for name in ("serial", "thread", "process"):
    mp = allcores.get_context(name)
    queue = mp.Queue()
    p = mp.Process(target=lambda: queue.put(job(2)))  # noqa: B023  it runs within this turn of the loop
    p.start()
    p.join()
    with mp.Pool(2) as pool:
        print(name, queue.get(), pool.map(job, range(5)))
