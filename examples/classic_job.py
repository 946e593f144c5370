"""The classic job of every tutorial, serially, in threads and in processes.

Run it as a script, or let the command do the comparing (``items()`` below gives the items):

    python examples/classic_job.py
    allcores compare examples/classic_job.py:job
"""

import allcores


def job(count: int) -> int:
    res = 0
    for i in range(count):
        res += i + i**2 + i**3
    return res


def items() -> list[int]:
    return [1_000_000, 1_000_000]


if __name__ == "__main__":
    comparison = allcores.compare(job, items())
    print(comparison)
