"""The program of the standard library's documentation, guard and all: it works as ever."""

import allcores as mp


def job(q: object, n: int) -> None:
    q.put(n * n)  # type: ignore[attr-defined]


if __name__ == "__main__":
    queue = mp.Queue()
    workers = [mp.Process(target=job, args=(queue, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(sorted(queue.get() for _ in workers))
else:
    print("imported as", __name__)
