"""Works in a pool that the `with` block ends; somebody presses Ctrl-C again and again."""

import time

import allcores as mp


def work(_x: int) -> None:
    time.sleep(1000)


with mp.Pool(4) as pool:
    print("waits", flush=True)
    pool.map(work, range(100))
