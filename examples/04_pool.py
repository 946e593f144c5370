"""Step 4: a pool of workers, by default one per usable core. Results come in the order of the input."""

import allcores as mp


def job(x):
    return x * x


with mp.Pool() as pool:
    print(pool.map(job, range(10)))

with mp.Pool(processes=3) as pool:
    res = pool.apply_async(job, (2,))  # args is a tuple
    print(res.get())

    multi_res = [pool.apply_async(job, (i,)) for i in range(10)]
    print([res.get() for res in multi_res])

    print(pool.starmap(pow, [(1, 2), (2, 3), (3, 4)]))  # several arguments
    print(list(pool.imap(lambda x: x * x, range(5))))  # lazily, and any function will do
