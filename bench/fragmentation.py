"""What memory costs beyond what is asked for, over a day's mix of sizes: python -m bench.fragmentation [quick] [never]

One process receives arrays of 256 B to 64 MB by a queue and keeps them for a short or a long time; what is too small to
be an array in shared memory stays in a queue for a while. In each phase other sizes prevail, and as much is alive as
the phase says. Ten times a second `allcores.statistics()` says what the segment has of the machine's memory: that,
divided by the bytes that were asked for and are alive, should stay below 1.5; it counts while at least half of the
largest live set is alive. Prints Markdown. `never`: free memory stays, up to the warm limit. `quick`: shorter phases.
"""

import heapq
import math
import os
import random
import sys
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

import allcores
from allcores import _native, cores, segment
from bench import machine

KB, MB = 1 << 10, 1 << 20
PEAK = 1 << 30
GOAL = 1.5
LEAST_ARRAY = 4096  # below, an array is copied out of its message
LIVES = 0.05, 20.0  # seconds, the shortest and the longest; all magnitudes alike
STAYS = 5.0  # seconds that small things stay in their queue
SOURCE = np.random.default_rng(1).integers(0, 256, 64 * MB, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Phase:
    """So much is alive, of these sizes; the sizes are log-uniform."""

    name: str
    least: int
    most: int
    live: float  # of the peak


DAY = (
    Phase("everything", 256, 64 * MB, 1.0),
    Phase("records", 256, 64 * KB, 0.55),
    Phase("images", MB, 16 * MB, 1.0),
    Phase("messages", 4 * KB, MB, 0.7),
    Phase("large arrays", 16 * MB, 64 * MB, 1.0),
    Phase("everything, less", 256, 64 * MB, 0.55),
    Phase("night", 256, 64 * KB, 0.05),
    Phase("everything again", 256, 64 * MB, 0.9),
)


@dataclass
class Day:
    """What is alive, and what it costs."""

    rng: random.Random = field(default_factory=lambda: random.Random(1))
    arrays: list[tuple[float, int, Any]] = field(default_factory=list)  # a heap: those that end first come first
    small: deque[tuple[float, int]] = field(default_factory=deque)
    queue: Any = field(default_factory=allcores.Queue)
    small_queue: Any = field(default_factory=allcores.Queue)
    alive: int = 0
    peak: int = 0
    count: int = 0
    ratios: list[float] = field(default_factory=list)

    def log_uniform(self, least: float, most: float) -> float:
        return math.exp(self.rng.uniform(math.log(least), math.log(most)))

    def add(self, phase: Phase) -> None:
        size = int(self.log_uniform(phase.least, phase.most))
        if size < LEAST_ARRAY:
            self.small_queue.put(SOURCE[:size].tobytes())
            self.small.append((monotonic() + STAYS, size))
        else:
            self.queue.put(SOURCE[:size])
            self.count += 1  # no two arrays are compared
            heapq.heappush(self.arrays, (monotonic() + self.log_uniform(*LIVES), self.count, self.queue.get()))
        self.alive += size

    def drop(self, now: float, most: float) -> None:
        """What has lived long enough ends; and what would be next, while too much is alive."""
        while self.arrays and (self.arrays[0][0] < now or self.alive > most):
            self.alive -= heapq.heappop(self.arrays)[2].nbytes
        while self.small and self.small[0][0] < now:
            self.small_queue.get()
            self.alive -= self.small.popleft()[1]

    def look(self) -> None:
        self.peak = max(self.peak, self.alive)
        if self.alive >= self.peak / 2:
            self.ratios.append(allcores.statistics().bytes_backed / self.alive)

    def run(self, phase: Phase, seconds: float) -> None:
        """Let the live set grow or shrink to the phase's within a third of its time, then keep it there."""
        before, begin = self.alive, monotonic()
        looked = begin
        while (now := monotonic()) < begin + seconds:
            part = min(1.0, 3 * (now - begin) / seconds)
            aim = before + (phase.live * PEAK - before) * part
            self.drop(now, aim + 64 * MB)
            if self.alive < aim:
                self.add(phase)
            if now - looked > 0.1:
                looked = now
                self.look()


def main(seconds: float, idle: int) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    _native.create(size=64 << 30, cpus=cores.usable(), program=1, warm=max(memory // 8, 256 * MB), idle=idle)
    day = Day()
    print(f"{len(DAY)} phases of {seconds:.0f} s; free memory goes back after {idle or 'no'} s\n")
    print("| phase | alive (MB) | backed (MB) | backed / alive | worst in it | addresses / largest live set |")
    print("|---|---|---|---|---|---|")
    worst = []
    for phase in DAY:
        day.ratios.clear()
        day.run(phase, seconds)
        have = allcores.statistics()
        counts = day.alive >= day.peak / 2
        worst += day.ratios
        print(
            f"| {phase.name} | {day.alive / MB:.0f} | {have.bytes_backed / MB:.0f} | "
            + (f"{have.bytes_backed / day.alive:.2f} | " if counts else "- | ")
            + (f"{max(day.ratios):.2f} | " if day.ratios else "- | ")
            + f"{have.addresses_used / day.peak:.2f} |",
            flush=True,
        )
    worst.sort()
    n = len(worst)
    print(
        f"\nAll samples: median {worst[n // 2]:.2f}, 95 % below {worst[n * 95 // 100]:.2f}, worst {worst[-1]:.2f}; ",
        end="",
    )
    print(f"goal: below {GOAL}. Load average {machine.machine()['load_average']:.1f}.")


if __name__ == "__main__":
    main(4.0 if "quick" in sys.argv else 15.0, 0 if "never" in sys.argv else segment.IDLE)
