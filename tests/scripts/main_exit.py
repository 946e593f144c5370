"""At the end of the program daemons are ended and the others are waited for."""

import atexit

import allcores as mp

print("top level", flush=True)
never, ending = mp.Event(), mp.Event()


def last_words() -> None:
    ending.wait()
    print("the last worker", flush=True)


def stay() -> None:
    never.wait()


mp.Process(target=stay, daemon=True).start()
mp.Process(target=last_words).start()
pool = mp.Pool(2)
pool.apply_async(stay)
atexit.register(ending.set)
print("end of the program", flush=True)
