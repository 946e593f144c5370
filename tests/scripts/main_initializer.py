"""The usual idiom: the initializer sets a global of the script, the jobs use it."""

import allcores as mp

print("top level", flush=True)
connection = "none"
calls = 0


def connect(name: str) -> None:
    global connection
    connection = name


def job(x: int) -> tuple[str, int]:
    return connection, x


def count(_: int) -> int:
    global calls
    calls += 1
    return calls


with mp.Pool(1, initializer=connect, initargs=("database",)) as pool:
    print(pool.map(job, range(3)))
    print(pool.apply(lambda: connection))
    print(sorted(pool.map(count, range(5))))
    print(pool.apply(lambda: calls))
print(connection, calls)
