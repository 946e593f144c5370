"""A queue whose ring has been overwritten: its handle is refused where it arrives, with a ValueError."""

import pickle
import struct

import allcores

from .dying import native

CAPACITY_AT = 8  # in a ring, behind the head of its block


def main() -> None:
    queue = allcores.Queue(3)
    handle = pickle.dumps(queue)
    cell, _root = native.next_message(queue.offset)
    ring = cell - 8 - 512
    sound = native.peek(ring + CAPACITY_AT, 8)
    assert struct.unpack("<Q", sound) == (3,)
    for capacity in (0, 1 << 20, 1 << 40, (1 << 64) - 1):
        native.poke(ring + CAPACITY_AT, struct.pack("<Q", capacity))
        try:
            pickle.loads(handle)
        except ValueError as error:
            print("refused" if "damaged" in str(error) else error)
    native.poke(ring + CAPACITY_AT, sound)


if __name__ == "__main__":
    main()
