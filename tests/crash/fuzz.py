"""Damaged shared memory, as a stray pointer of native code leaves it: what is read from it raises or returns.

Nothing else suffers. A program of its own, on the test build: it shall not crash, hang, or use up the memory.

    python -m crash.fuzz ROUNDS [SEED]
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import pickle
import random
import resource
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from allcores import cores

from .dying import PATIENCE, native

# A small one, under a limit: a damaged pickle may ask for any amount of memory.
native.create(size=2 << 30, cpus=cores.usable(), program=1, warm=4 << 20, idle=0)

import allcores  # noqa: E402
from allcores import codec  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS: list[Any] = [7, 2.5, "text", b"bytes", [1, "two", 3.0], "x" * 400, {"a": list(range(300))}, np.arange(2_000)]
MESSAGE = 248  # bytes of a cell behind its word
ROOT = 64  # the first bytes of a root block: what it says of itself, and of the blocks it names


class Fuzz:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.refused = self.returned = 0

    def damage(self, place: int, size: int) -> None:
        """Flip bits, set bytes, write small numbers: ids and sizes are small."""
        for _ in range(self.random.randint(1, 4)):
            at = place + self.random.randrange(size - 4)
            old = native.peek(at, 4)
            flipped = (int.from_bytes(old, "little") ^ 1 << self.random.randrange(32)).to_bytes(4, "little")
            small = self.random.randrange(300).to_bytes(4, "little")
            native.poke(at, self.random.choice([flipped, bytes([self.random.randrange(256)]), small]))

    def look(self, read: Callable[[], Any]) -> None:
        """Read what was damaged, and look at all of it."""
        try:
            repr(read())
        except Exception:  # noqa: BLE001 - which error a damaged pickle ends in is chance
            self.refused += 1
        else:
            self.returned += 1

    def message(self) -> None:
        """The message, the block it is in, or both; the one after it, and one in another queue, are whole."""
        queue, other = allcores.Queue(), allcores.Queue()
        queue.put(self.random.choice(ITEMS))
        for whole in (queue, other):
            whole.put(ITEMS[-1])
        place, root = native.next_message(queue.offset)
        what = self.random.randrange(3)
        if root and what:
            block, size = native.block_place(root)
            self.damage(block, min(size, ROOT) if what == 1 else size)
        if not root or what != 1:
            self.damage(place, MESSAGE)
        self.look(lambda: queue.get(timeout=PATIENCE))
        for whole in (queue, other):
            assert np.array_equal(whole.get(timeout=PATIENCE), ITEMS[-1])
            assert whole.empty()

    def stored(self) -> None:
        """A function as it is stored for a pool. Dropping it gives back its blocks, whatever is in them."""
        gc.collect()
        before = native.usage()[0]
        table = ITEMS[-1]
        made, _handles = codec.dumps_kept(lambda x: table[x])
        stored, _ = native.store(made)
        place, size = native.block_place(stored)
        self.damage(place, self.random.choice([ROOT, size]))
        self.look(lambda: native.load_stored(stored))
        native.drop_stored(stored)
        gc.collect()
        assert native.usage()[0] == before

    def handle(self) -> None:
        """The pickle of a queue. It may by chance name another object: then that is what arrives."""
        queue = allcores.Queue()
        data = bytearray(pickle.dumps(queue))
        data[self.random.randrange(len(data))] = self.random.randrange(256)
        self.look(lambda: pickle.loads(bytes(data)))
        queue.put(1)
        assert queue.get(timeout=PATIENCE) == 1


def main(rounds: int, seed: int) -> None:
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    fuzz = Fuzz(seed)
    for _ in range(rounds):
        faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)
        for kind in (fuzz.message, fuzz.message, fuzz.stored, fuzz.handle):
            kind()
    print(json.dumps({"refused": fuzz.refused, "returned": fuzz.returned}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int((*sys.argv, "0")[2]) or int.from_bytes(os.urandom(4)))
