"""Step 8: k-means. The points are shared; only the centers and a few sums go back and forth in each round."""

import numpy as np

import allcores as mp


def assign(points, centers):
    distances = ((points[:, None] - centers) ** 2).sum(axis=2)
    mine = np.arange(len(centers)) == distances.argmin(axis=1)[:, None]  # which point belongs to which center
    return mine.T @ points, mine.sum(axis=0)


places = np.array([(0, 0), (10, 0), (0, 10)])
rng = np.random.default_rng(1)
points = mp.SharedArray.from_array(np.repeat(places, 10_000, axis=0) + rng.normal(size=(30_000, 2)))

parts = [points[i::4] for i in range(4)]  # slices look at the same memory, in every process
centers = points[[0, 15_000, 29_999]]  # any three points to begin with; what is picked is an ordinary array
with mp.Pool() as pool:
    for _ in range(10):
        found = pool.starmap(assign, [(part, centers) for part in parts])
        centers = sum(sums for sums, _ in found) / sum(counts for _, counts in found)[:, None]

print(centers.round().astype(int).tolist())
