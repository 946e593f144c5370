"""The path once more, where one machine is not enough: python 10_cluster.py [dask | ray | process] [ADDRESS]

Without an address a cluster of this machine is started, and ends with the program.
"""

import sys

import allcores

name, *address = sys.argv[1:] or ["dask"]
mp = allcores.get_context(name, **({"address": address[0]} if address else {}))


def square(x):
    return x * x


def count(n, queue, lock, total):
    with lock:
        total.value += n
    queue.put(f"{n} counted")


p = mp.Process(target=square, args=(7,))
p.start()
print("a process of the cluster returned", p.result())

queue, lock, total = mp.Queue(), mp.Lock(), mp.Value("i", 0)
workers = [mp.Process(target=count, args=(n, queue, lock, total)) for n in (1, 3)]
for w in workers:
    w.start()
for w in workers:
    w.join()
print(*sorted(queue.get() for _ in workers), "in all", total.value)

with mp.Pool(2) as pool:
    print(sum(pool.map(square, range(10_000))))
