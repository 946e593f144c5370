"""A worker that fails, in every context: its traceback is on stderr, the program goes on."""

import allcores


def explode() -> None:
    raise ValueError("kaboom")


for name in ("serial", "thread", "process"):
    mp = allcores.get_context(name)
    for kind in (mp.Process, mp.Thread):
        worker = kind(target=explode)
        worker.start()
        worker.join()
        print(name, worker.exitcode)
