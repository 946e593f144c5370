"""Ends while a process that is no daemon still works: that one is waited for; a daemonic one is not.

usage: joined.py <how it ends>
"""

import sys
import threading

import allcores as mp


def work(come: object, gate: object) -> None:
    come.release()  # type: ignore[attr-defined]
    gate.wait()  # type: ignore[attr-defined]
    print("done", flush=True)


def let_go() -> None:
    sys.stdin.readline()
    gate.set()


come, gate, never = mp.Semaphore(0), mp.Event(), mp.Event()
mp.Process(target=work, args=(come, gate)).start()
mp.Process(target=work, args=(come, never), daemon=True).start()
for _ in range(2):
    come.acquire()
threading.Thread(target=let_go, daemon=True).start()
print("ends", flush=True)
if sys.argv[1] == "exit":
    sys.exit(7)
if sys.argv[1] == "error":
    raise ValueError("the end")
