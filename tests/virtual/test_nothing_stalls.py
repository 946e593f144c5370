"""Whatever items take, weigh and suffer, and however they are asked for: the pool never waits for what nobody does.

Random work for virtual workers, the same in every run. A pool that waits while nothing is out fails at once.
"""

import heapq
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from allcores import Failure, TaskTimeout, WorkerDied
from allcores.deaths import Death
from allcores.pool.crew import PATIENCE_NS, Mode, Outcome
from allcores.pool.doing import Overdue
from allcores.pool.pool import Pool

from .crew import SEND_NS, TAKE_NS, TICK_NS, VirtualCrew

US, MS, S = 1_000, 1_000_000, 1_000_000_000
FATES = (ValueError, WorkerDied, TaskTimeout)


class Item(NamedTuple):
    """What a worker is to make of it."""

    number: int
    ns: int
    nbytes: int  # of its result
    fate: type[Exception] | None  # what happens at its first attempts, and at how many
    attempts: int

    def result(self) -> Any:
        return SimpleNamespace(number=self.number, nbytes=self.nbytes)


class SufferingCrew(VirtualCrew):
    """Virtual workers that raise, die, and take too long."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._tried: Counter[int] = Counter()

    def send(self, task: int, call: int, payload: Any, /) -> None:
        """Likewise."""
        items: list[Item] = payload[1] if call & Mode.ORDERS else payload
        self.now += SEND_NS
        begun = max(heapq.heappop(self._free_at), self.now) + TAKE_NS
        spent, results, errors = 0, [], []
        answer: tuple[int, Any] | None = None
        for i, item in enumerate(items):
            spent += item.ns
            suffers = self._tried[item.number] < item.attempts
            if suffers and item.fate is not ValueError:
                died = item.fate is WorkerDied
                body: Any = Death(1, -9) if died else Overdue(1, 1.0, 1.0)
                answer = (Outcome.DIED if died else Outcome.OVERDUE) | i << 8, tuple(body)
                self._tried[item.number] += (
                    1  # those before it have not answered: they run again, as if for the first time
                )
                break
            if suffers:
                errors.append((i, ValueError(item.number), item.ns))
            results.append(None if suffers else item.result())
            if (suffers and call & Mode.STOP) or (call & Mode.PART and spent > PATIENCE_NS + TICK_NS):
                break
        if answer is None:
            self._tried.update(item.number for item in items[: len(results)])
        heapq.heappush(self._free_at, begun + spent)
        info, body = answer or (Outcome.CHUNK | spent << 8, (results, errors))
        heapq.heappush(self._answers, (begun + spent + SEND_NS, task, info, body))


def some_work(rng: random.Random) -> list[Item]:
    times = rng.choice([(US,), (MS,), (US, 100 * MS), (US, *[10 * US] * 30, 100 * MS), (US, MS, S)])
    weights = rng.choice([(10,), (10, 1 << 20), (1 << 20,), (1 << 20,), (10, 1 << 26)])
    suffering = rng.choice([0.0, 0.0, 0.02, 0.3])
    return [
        Item(
            i,
            rng.choice(times),
            rng.choice(weights),
            rng.choice(FATES),
            rng.choice((1, 2, 9)) if rng.random() < suffering else 0,
        )
        for i in range(rng.choice((0, 1, 7, 60, 400)))
    ]


def some_options(rng: random.Random, method: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "chunksize": rng.choice((None, None, 1, 7)),
        "max_bytes": rng.choice((None, None, 1_000, 3 << 20)),
        "retries": rng.choice((0, 0, 1, 2)),
        "retry_on": rng.choice(((), ValueError)),
        "errors": rng.choice(("raise", "return", "skip")) if method != "map" else rng.choice(("return", "skip")),
        "timeout": rng.choice((None, 1.0)),
    }
    if method != "map":
        options["buffersize"] = rng.choice((None, None, 1, 3, 20))
    return options


def failing(item: Item, options: dict[str, Any]) -> bool:
    """Whether it fails in the end."""
    tried_again = options["retries"] if item.fate is not ValueError or options["retry_on"] else 0
    return item.attempts > tried_again


def number_of(result: Any) -> int:
    number: int = result.index if isinstance(result, Failure) else result.number
    return number


def taken(results: Any, crew: VirtualCrew, rng: random.Random) -> list[int | None]:
    """The numbers of results as they come, None for one that raised; now and then the consumer is slow."""
    slowness = rng.choice((0, 0, 10 * US, 10 * MS))
    got: list[int | None] = []
    while True:
        crew.now += rng.choice((0, slowness))
        try:
            got.append(number_of(next(results)))
        except StopIteration:
            return got
        except FATES:
            got.append(None)


@pytest.mark.parametrize("method", ["map", "imap", "imap_unordered"])
@pytest.mark.parametrize("seed", range(100))
def test_everything_comes(method: str, seed: int) -> None:
    rng = random.Random(f"{method} {seed}")
    work, options = some_work(rng), some_options(rng, method)
    crew = SufferingCrew(rng.choice((1, 2, 8)))
    with Pool(crew.size, context=SimpleNamespace(_crew=lambda _plan: crew)) as pool:
        made = getattr(pool, method)(abs, rng.choice((list, iter))(work), **options)
        got = [number_of(each) for each in made] if method == "map" else taken(made, crew, rng)
        fails = {item.number for item in work if failing(item, options)}
        if options["errors"] == "skip":
            expected: list[int | None] = [item.number for item in work if item.number not in fails]
        elif options["errors"] == "return":
            expected = [item.number for item in work]
        else:
            expected = [None if item.number in fails else item.number for item in work]
        assert Counter(got) == Counter(expected)
        assert method == "imap_unordered" or got == expected
