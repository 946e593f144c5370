"""Waits for a child that Ctrl-C does not end."""

import signal

import allcores as mp


def go_on(begun: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begun.set()  # type: ignore[attr-defined]
    mp.Event().wait()


begun = mp.Event()
child = mp.Process(target=go_on, args=(begun,))
child.start()
begun.wait()
print("waits", flush=True)
child.join()
