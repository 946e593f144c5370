"""What workers print is there when they have been joined; what the program printed before they started comes first."""

import allcores as mp

print("not flushed by the program itself")


def speak(name: str) -> None:
    print("I am", name)


for name in ("one", "two"):
    p = mp.Process(target=speak, args=(name,))
    p.start()
    p.join()
with mp.Pool(1) as pool:
    pool.apply(speak, ("three",))
print("end")
