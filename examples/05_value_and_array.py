"""Step 5: memory that all workers see: one value, or a row of them, with a type."""

import numpy as np

import allcores as mp


def count(value):
    for _ in range(100_000):
        value += 1  # atomic: nothing gets lost


def scale(array):
    for i in range(len(array)):
        array[i] *= 10


value = mp.Value("i", 0)
array = mp.Array("i", [1, 2, 3, 4])

workers = [mp.Process(target=count, args=(value,)) for _ in range(8)]
workers.append(mp.Process(target=scale, args=(array,)))
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()

print(value.value)
print(array[:])

vector = mp.Array(np.linspace(0, 2, 5))  # the type is taken from what is given
print(vector[:])
