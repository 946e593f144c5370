"""Step 9: a pandas frame, split over the workers. Its columns are copied once on their way, not pickled."""

import numpy as np
import pandas as pd

import allcores as mp


def summarise(part):
    return part.groupby("city")["price"].agg(["sum", "count"])


n = np.arange(300_000)
frame = pd.DataFrame({"city": np.array(["Bern", "Oslo", "Rome"])[n % 3], "price": n % 100 + 10.0 * (n % 3)})

with mp.Pool() as pool:
    parts = pool.map(summarise, [frame[i::4] for i in range(4)])

total = pd.concat(parts).groupby(level=0).sum()
print((total["sum"] / total["count"]).to_string(header=False))
