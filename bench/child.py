"""One sample in a program of its own: python -m bench.child PEER OPERATION SIZE FILE

Light at the top: `spawn` and `forkserver` import the main module again in every worker.
"""

import json
import sys


def main() -> None:
    """Measure once and write the number; an error is left to end the program, the parent reads it."""
    from bench.measure import measure

    peer, operation, size, path = sys.argv[1:]
    found = measure(peer, operation, int(size))
    with open(path, "w") as file:
        file.write(json.dumps(found))


if __name__ == "__main__":
    main()
