"""How soon a death is noticed, and how soon it is settled: python -m bench.recovery [ROUNDS]

A program of 64 processes that all hold 1,000 shared objects (queues, locks, values). One of them, which has a lock, is
killed. Noticed: who waits for that lock has OwnerDied. Settled: the sentinel of the dead is readable, which the
template writes when everything it left is in order. Prints Markdown.
"""

import os
import select
import signal
import statistics
import sys
import threading
from time import perf_counter
from typing import Any

import allcores
from bench import machine

PROCESSES, OBJECTS, ROUNDS = 64, 1000, 30


def live(lock: Any, objects: list[Any], there: Any, over: Any) -> None:
    """Hold everything, and the lock if there is one, until killed or told to end."""
    if lock is not None:
        lock.acquire()
    there.release()
    over.wait()


def start(lock: Any, objects: list[Any], there: Any, over: Any) -> Any:
    process = allcores.Process(target=live, args=(lock, objects, there, over), daemon=True)
    process.start()
    return process


def round_(objects: list[Any], there: Any, over: Any) -> tuple[float, float]:
    """Milliseconds from a kill until it was noticed, and until it was settled."""
    lock = allcores.Lock()
    victim = start(lock, objects, there, over)
    there.acquire()
    noticed: list[float] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        try:
            lock.acquire()
        except allcores.OwnerDied:
            noticed.append(perf_counter())

    waiter = threading.Thread(target=wait)
    waiter.start()
    waits.wait()
    threading.Event().wait(0.05)  # until it sleeps: what is measured is the way to a sleeper
    poll = select.poll()
    poll.register(victim.sentinel, select.POLLIN)
    begin = perf_counter()
    os.kill(victim.pid, signal.SIGKILL)
    poll.poll()
    settled = perf_counter()
    waiter.join()
    victim.join()
    victim.close()
    return (noticed[0] - begin) * 1000, (settled - begin) * 1000


def main(rounds: int) -> None:
    makers = (allcores.Queue, allcores.Lock, lambda: allcores.Value("q"))
    objects = [makers[i % 3]() for i in range(OBJECTS)]
    there, over = allcores.Semaphore(0), allcores.Event()
    processes = [start(None, objects, there, over) for _ in range(PROCESSES - 2)]  # and this one, and the victim
    for _ in processes:
        there.acquire()
    samples = [round_(objects, there, over) for _ in range(rounds)]
    over.set()
    for process in processes:
        process.join()
    about = machine.machine()
    print(f"{PROCESSES} processes, {OBJECTS} objects, {rounds} rounds; {about['cores']} cores of {about['cpu']},")
    print(f"load average {about['load_average']:.1f}\n")
    print("| from SIGKILL until | goal (ms) | median (ms) | worst (ms) |")
    print("|---|---|---|---|")
    goals = (("noticed: OwnerDied where its lock is waited for", 10), ("settled: its sentinel is readable", 50))
    for (what, goal), times in zip(goals, zip(*samples, strict=True), strict=True):
        print(f"| {what} | {goal} | {statistics.median(times):.1f} | {max(times):.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
