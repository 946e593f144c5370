"""The lot: who is kept, for whom, for how long."""

from types import SimpleNamespace
from typing import Any

import pytest

from allcores import lot as module
from allcores.lot import STAY, Lot

GIB = 1 << 30


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "_native", SimpleNamespace(available_memory=lambda: 8 * GIB))
    return clock


class Worker:
    def __init__(self, parent: int = 1, shape: int = 7) -> None:
        self.parent, self.shape = parent, shape


def test_given_once_and_the_last_comer_first(clock: Clock) -> None:
    lot: Lot[Any] = Lot()
    first, second = Worker(), Worker()
    assert lot.add(first, 0)
    assert lot.add(second, 0)
    assert [lot.take(1, 7) for _ in range(3)] == [second, first, None]


def test_only_to_its_own_parent_and_shape(clock: Clock) -> None:
    lot: Lot[Any] = Lot()
    worker = Worker()
    lot.add(worker, 0)
    assert lot.take(2, 7) is None
    assert lot.take(1, 8) is None
    assert lot.all_of(2) == []
    assert lot.all_of(1) == lot.all_of() == [worker]
    lot.discard(worker)
    lot.discard(worker)
    assert lot.take(1, 7) is None


def test_together_they_have_an_eighth_of_the_memory(clock: Clock) -> None:
    lot: Lot[Any] = Lot()
    assert lot.add(Worker(), GIB // 2)
    assert not lot.add(Worker(), GIB // 2 + 1)
    assert lot.add(Worker(), GIB // 2)
    assert not lot.add(Worker(), 0)


def test_not_for_ever(clock: Clock) -> None:
    lot: Lot[Any] = Lot()
    assert lot.patience_ms() is None
    first, second = Worker(), Worker()
    lot.add(first, 0)
    clock.now += 10
    lot.add(second, 0)
    assert lot.overdue() == []
    assert STAY * 1000 - 10_000 <= (lot.patience_ms() or 0) <= STAY * 1000 - 9_990
    clock.now += STAY - 10
    assert lot.overdue() == [first]
    assert lot.patience_ms() in (0, 1)
    lot.discard(first)
    assert lot.overdue() == []
