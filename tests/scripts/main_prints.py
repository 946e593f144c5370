"""What workers print is there, whole lines, when they have been joined; the program's own output comes once."""

import allcores as mp

print("not flushed by anybody when the workers start")


def speak(name: str) -> None:
    print("I am", name)


for name in ("one", "two"):
    p = mp.Process(target=speak, args=(name,))
    p.start()
    p.join()
with mp.Pool(1) as pool:
    pool.apply(speak, ("three",))
print("end")
