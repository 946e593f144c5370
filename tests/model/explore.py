"""A small explicit-state explorer: all reachable states, what must never be seen, what must stay possible.

    initial ──steps──▶ state ──steps──▶ ...      breadth first: a counterexample is a shortest one
       │                 │
       └────faults───────┴──▶ the same state space, but no way out: from every hopeful state a finished
                              one has to be reachable by steps alone, without a further fault

A step that sees something forbidden raises `Broken`, and so may `finished`. The whole state space is kept in
memory: about 1 KB a state, some 50,000 states a second.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
NONE = 0xFFFFFFFF  # no such state, no such edge


class Broken(Exception):
    """The protocol did what it must never do; the message says what."""


class Model(Protocol[State]):
    """What is explored. States are immutable and compare by value."""

    def initial(self) -> State:
        """The one state everything starts from."""

    def steps(self, state: State) -> Iterable[tuple[str, State]]:
        """Every step that some process can do next, by name."""

    def faults(self, state: State) -> Iterable[tuple[str, State]]:
        """Every death that can happen next, by name: never counted as a way out."""

    def finished(self, state: State) -> bool:
        """Whether all work is done here; raises `Broken` if it is done wrongly."""

    def hopeful(self, state: State) -> bool:
        """Whether a finished state has to be reachable from here."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an exploration found."""

    states: int  # distinct ones
    edges: int  # steps and faults between them
    finished: int  # states where all work is done
    failure: str = ""  # empty: the model holds
    trace: tuple[str, ...] = ()  # the steps from the initial state to the failure

    def __str__(self) -> str:
        size = f"{self.states} states, {self.edges} edges, {self.finished} finished"
        if not self.failure:
            return f"holds ({size})"
        return "\n  ".join([f"{self.failure} ({size}); the way there:", *self.trace])


class Explorer(Generic[State]):
    """One exploration: the states by number, and the edges backwards as linked lists in flat arrays."""

    def __init__(self, model: Model[State]) -> None:
        self.model = model
        self.number: dict[State, int] = {}
        self.states: list[State] = []
        self.parent = array("I")  # the state each was first seen from
        self.incoming = array("I")  # a state's newest incoming step; NONE ends the list
        self.following = array("I")  # the next edge in the same list
        self.source = array("I")
        self.done: list[int] = []
        self.edges = 0

    def run(self) -> Report:
        """Explores everything, or up to the first failure."""
        self._add(self.model.initial(), NONE)
        index = 0
        while index < len(self.states):
            try:
                self._expand(index)
            except Broken as broken:
                return self._report(str(broken), index)
            index += 1
        stuck = self._stuck()
        return self._report("stuck: nothing finished can be reached", stuck) if stuck != NONE else self._report()

    def _add(self, state: State, parent: int) -> int:
        known = self.number.setdefault(state, len(self.states))
        if known == len(self.states):
            self.states.append(state)
            self.parent.append(parent)
            self.incoming.append(NONE)
        return known

    def _expand(self, index: int) -> None:
        state = self.states[index]
        if self.model.finished(state):
            self.done.append(index)
        for _, after in self.model.steps(state):
            target = self._add(after, index)
            self.source.append(index)
            self.following.append(self.incoming[target])
            self.incoming[target] = len(self.source) - 1
            self.edges += 1
        for _, after in self.model.faults(state):
            self._add(after, index)
            self.edges += 1

    def _stuck(self) -> int:
        """The first hopeful state without a way to a finished one, walking all steps backwards."""
        reaches = bytearray(len(self.states))
        for index in self.done:
            reaches[index] = 1
        todo = list(self.done)
        while todo:
            edge = self.incoming[todo.pop()]
            while edge != NONE:
                before = self.source[edge]
                if not reaches[before]:
                    reaches[before] = 1
                    todo.append(before)
                edge = self.following[edge]
        lost = (i for i, state in enumerate(self.states) if not reaches[i] and self.model.hopeful(state))
        return next(lost, NONE)

    def _report(self, failure: str = "", at: int = NONE) -> Report:
        return Report(len(self.states), self.edges, len(self.done), failure, self._trace(at))

    def _trace(self, index: int) -> tuple[str, ...]:
        """Names the way to a state; names are asked for again, since keeping them all would cost memory."""
        names: list[str] = []
        while index != NONE and self.parent[index] != NONE:
            before, state = self.states[self.parent[index]], self.states[index]
            names.append(next(name for name, after in self._moves(before) if after == state))
            index = self.parent[index]
        return tuple(reversed(names))

    def _moves(self, state: State) -> Iterable[tuple[str, State]]:
        yield from self.model.steps(state)
        yield from self.model.faults(state)


def explore(model: Model[State]) -> Report:
    """Explores a model completely; the report's `failure` is empty if it holds."""
    return Explorer(model).run()
