"""Four workers print at the same time, each line flushed as it ends: no line is torn."""

import allcores as mp


def speak(name: str) -> None:
    for i in range(200):
        print("I am", name, "and this is line", i, flush=True)


workers = [mp.Process(target=speak, args=(name,)) for name in ("Ada", "Bob", "Cyd", "Dot")]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
