"""A worker that leaves with a message: sys.exit("...") says it on stderr, as Python does."""

import sys

import allcores as mp

p = mp.Process(target=sys.exit, args=("goodbye",))
p.start()
p.join()
print(p.exitcode)
