"""A script that imports a module beside it, and changes what workers have to see as it is now."""

import os
import sys
from pathlib import Path

import sibling

import allcores as mp

print("top level", flush=True)
os.environ["SET_BY_THE_SCRIPT"] = "yes"
os.chdir("/")


def look() -> tuple[object, ...]:
    return sys.argv[1:], os.environ.get("SET_BY_THE_SCRIPT"), str(Path.cwd())


with mp.Pool(2) as pool:
    print(pool.map(sibling.triple, range(3)))
    print([type(thing) is sibling.Thing for thing in pool.map(sibling.Thing, range(2))])
p = mp.Process(target=look)
p.start()
print(p.result())
