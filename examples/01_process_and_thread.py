"""Step 1: a process and a thread, side by side. Both can tell what their function returned."""

import allcores as mp


def job(a, b):
    return a + b


p1 = mp.Process(target=job, args=(1, 2))
t1 = mp.Thread(target=job, args=(3, 4))
p1.start()
t1.start()
p1.join()
t1.join()

print(f"the process gives {p1.result()}, exit code {p1.exitcode}")
print(f"the thread gives {t1.result()}, exit code {t1.exitcode}")
