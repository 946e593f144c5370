"""Step 2: workers put their results into a queue. Join them first, get afterwards: any size, no hang."""

import allcores as mp


def job(q):
    res = 0
    for i in range(1000):
        res += i + i**2 + i**3
    q.put(res)


q = mp.Queue()
p1 = mp.Process(target=job, args=(q,))
p2 = mp.Process(target=job, args=(q,))
p1.start()
p2.start()
p1.join()
p2.join()

res1 = q.get()
res2 = q.get()
print(f"{res1} + {res2} = {res1 + res2}")
