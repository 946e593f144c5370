"""Classes of an unguarded script: their instances come back as instances of the very same class."""

from dataclasses import dataclass

import allcores as mp

print("top level", flush=True)


@dataclass
class Point:
    x: int
    y: int = 0

    def moved(self, by: int) -> "Point":
        return Point(self.x + by, self.y)


class Far(Point):
    def moved(self, by: int) -> "Point":
        return Far(super().moved(by).x * 10, self.y)


class Failed(Exception):
    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


def fail() -> None:
    raise Failed(7, "as it must")


queue = mp.Queue()
p = mp.Process(target=lambda: queue.put(Point(1, 2)))
p.start()
p.join()
print(queue.get() == Point(1, 2))

with mp.Pool(2) as pool:
    moved = pool.map(Point(1).moved, range(3)) + pool.map(Far(1).moved, range(3))
    print([type(point) in (Point, Far) for point in moved])
    print(moved)
    try:
        pool.apply(fail)
    except Failed as error:
        print("caught", error, error.code)
