import allcores as mp

print("top level")
factor = 10


class Thing(int):
    def grown(self) -> "Thing":
        return Thing(self * factor)


def job(x: int) -> int:
    return x * factor


p = mp.Process(target=job, args=(2,))
p.start()
p.join()
print(p.result())
value = mp.Value("i", 0)
with mp.Pool(2) as pool:
    print(pool.map(job, range(3)))
    print(pool.map(lambda x: value.add(x), [5]))
    print(isinstance(pool.apply(Thing(1).grown), Thing))


def job(x: int) -> int:  # type: ignore[no-redef]
    return x + factor


factor = 1
with mp.Pool(2) as pool:
    print(pool.map(job, range(3)), value.value)
