"""Functions of an unguarded script: lambdas, closures, functions that call each other; the top level runs once."""

import allcores as mp

print("top level", flush=True)
offset = 100


def helper(x: int) -> int:
    return x * x + offset


def job(x: int) -> int:
    return helper(x) + 1


def make(factor: int) -> object:
    return lambda x: x * factor


p = mp.Process(target=job, args=(2,))
t = mp.Thread(target=job, args=(3,))
p.start()
t.start()
p.join()
t.join()
print(p.result(), t.result())

with mp.Pool(2) as pool:
    print(pool.map(job, range(3)))
    print(pool.map(lambda x: x + 1, range(3)))
    print(pool.map(make(10), range(3)))
    print(pool.apply_async(helper, (1,)).get())
