"""Structures of the script itself, in shared memory: everywhere the same class."""

import ctypes
from typing import Any

import allcores as mp


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_double), ("y", ctypes.c_double))

    def sum(self) -> float:
        return float(self.x + self.y)


class Path(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 8), ("points", Point * 2))


def move(value: Any, path: Any, points: Any) -> tuple[bool, bool, float]:
    value.x += 1
    path.points[1].x = value.x
    points[1] = path.points[1]
    return type(value.get_obj()) is Point, type(points[0]) is type(path.points[1]) is Point, points[0].sum()


value = mp.Value(Point, 1, 2)
path = mp.Value(Path, b"home", [(0, 0), (1, 1)])
points = mp.Array(Point, [(5, 6), (7, 8)])

process = mp.Process(target=move, args=(value, path, points))
process.start()
process.join()
print(*process.result())
with mp.Pool(2) as pool:
    print(*pool.apply(move, (value, path, points)))
print(value.x, path.name, path.points[1].x, points[1].sum())
