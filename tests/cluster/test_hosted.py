"""The hosts of a cluster by themselves, in an event loop of the test: no engine, no network."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from allcores.cluster.calls import Gone
from allcores.cluster.hosted import Hosts
from allcores.cluster.link import Who
from allcores.errors import ConsumerDied, DeadlockError, OwnerDied

A, B, C = (Who(node, 1, node, 1) for node in ("a", "b", "c"))


class Table:
    """Hosts, asked as a Link does."""

    def __init__(self) -> None:
        self.hosts = Hosts()
        self._tickets = 0

    async def call(self, who: Who, oid: int, op: str, *args: Any, timeout: float | None = None) -> Any:
        self._tickets += 1
        request = pickle.dumps((oid, op, tuple(who), args, timeout, self._tickets))
        well, value = pickle.loads(await self.hosts.answer(request))
        if well:
            return value
        raise value

    async def later(self, who: Who, oid: int, op: str, *args: Any) -> "asyncio.Task[Any]":
        """A call that waits, and does so already."""
        task = asyncio.create_task(self.call(who, oid, op, *args))
        before = len(self.hosts.waiting)
        while len(self.hosts.waiting) == before and not task.done():
            await asyncio.sleep(0)
        return task

    async def make(self, kind: str, *args: Any, who: Who = A) -> int:
        return int(await self.call(who, 0, "make", kind, args))

    async def lock(self, recursive: bool = False) -> int:
        return await self.make("Lock", recursive, False, "Lock")


def run(test: Callable[[Table], Awaitable[None]]) -> None:
    async def main() -> None:
        await test(Table())

    asyncio.run(main())


def test_a_lock_goes_to_who_has_waited_longest() -> None:
    async def test(table: Table) -> None:
        lock = await table.lock()
        await table.call(A, lock, "acquire")
        first, second = await table.later(B, lock, "acquire"), await table.later(C, lock, "acquire")
        await table.call(A, lock, "release")
        assert await first is True
        assert not second.done()
        await table.call(B, lock, "release")
        assert await second is True

    run(test)


def test_a_holder_dies_and_all_are_told_until_recovered() -> None:
    async def test(table: Table) -> None:
        lock = await table.lock()
        await table.call(B, lock, "acquire")
        waiting = await table.later(A, lock, "acquire")
        table.hosts.gone("b", "process 1 (b)")
        with pytest.raises(OwnerDied):
            await waiting
        with pytest.raises(OwnerDied):
            await table.call(A, lock, "acquire", timeout=0)
        assert await table.call(A, lock, "recover") is True
        assert await table.call(A, lock, "acquire", timeout=0) is True

    run(test)


def test_what_a_dead_process_started_is_dead_too() -> None:
    async def test(table: Table) -> None:
        lock = await table.lock()
        await table.call(B._replace(node="b/7-1"), lock, "acquire")
        table.hosts.gone("b", "the worker b")
        with pytest.raises(OwnerDied):
            await table.call(A, lock, "acquire")
        with pytest.raises(Gone):
            await table.call(B._replace(node="b/7-1"), lock, "release")

    run(test)


def test_one_that_waits_and_dies_gets_nothing() -> None:
    async def test(table: Table) -> None:
        queue = await table.make("Queue", 0, 0, False)
        dying, living = await table.later(B, queue, "get"), await table.later(C, queue, "get")
        table.hosts.gone("b", "process 1 (b)")
        await table.call(A, queue, "put", b"x", 1)
        assert await living == b"x"
        with pytest.raises(Gone):
            await dying

    run(test)


def test_one_that_was_broken_off_gives_back_what_it_was_given() -> None:
    async def test(table: Table) -> None:
        queue = await table.make("Queue", 0, 0, False)
        await table.call(A, queue, "put", b"x", 1)
        assert await table.call(B, queue, "get") == b"x"
        await table.call(B, queue, "undo", "get", b"x")
        assert await table.call(A, queue, "get", timeout=0) == b"x"

    run(test)


def test_a_circle_of_waits_is_told() -> None:
    async def test(table: Table) -> None:
        one, other = await table.lock(), await table.lock()
        await table.call(A, one, "acquire")
        await table.call(B, other, "acquire")
        waiting = await table.later(A, other, "acquire")
        with pytest.raises(DeadlockError):
            await table.call(B, one, "acquire")
        await table.call(B, other, "release")
        assert await waiting is True

    run(test)


def test_a_consumer_dies_with_items_in_its_hands() -> None:
    async def test(table: Table) -> None:
        queue = await table.make("Queue", 0, 0, True)
        await table.call(A, queue, "put", b"x", 1)
        await table.call(B, queue, "get")
        joining = await table.later(A, queue, "join")
        table.hosts.gone("b", "process 1 (b)")
        with pytest.raises(ConsumerDied):
            await joining
        assert await table.call(A, queue, "recover") == 1
        await table.call(A, queue, "join")

    run(test)


def test_an_object_goes_with_its_last_holder() -> None:
    async def test(table: Table) -> None:
        lock = await table.lock()
        await table.call(A, 0, "leave", lock, "token")
        await table.call(A, 0, "drop", lock)
        assert (await table.call(A, 0, "counts"))[0] == 1  # on its way
        await table.call(B, 0, "arrive", lock, "token")
        table.hosts.gone("b", "process 1 (b)")
        assert (await table.call(A, 0, "counts"))[0] == 0
        with pytest.raises(Gone):
            await table.call(A, lock, "acquire")

    run(test)


def test_a_handle_that_arrives_before_it_is_said_to_have_left() -> None:
    async def test(table: Table) -> None:
        lock = await table.lock()
        await table.call(B, 0, "arrive", lock, "token")
        await table.call(A, 0, "leave", lock, "token")
        await table.call(A, 0, "drop", lock)
        assert (await table.call(A, 0, "counts"))[0] == 1
        await table.call(B, 0, "drop", lock)
        assert (await table.call(A, 0, "counts"))[0] == 0

    run(test)


def test_a_dead_program_leaves_nothing() -> None:
    async def test(table: Table) -> None:
        await table.make("Queue", 0, 0, False)
        await table.lock()
        sent = await table.lock()
        await table.call(A, 0, "leave", sent, "a:1:1")
        await table.call(A, 0, "keep", "team", "", b"x" * 1000)
        table.hosts.gone("a", "the program a", program=True)
        assert table.hosts.objects == {}
        assert table.hosts.pools == {}

    run(test)


def test_who_never_was_ready_for_a_pool() -> None:
    async def test(table: Table) -> None:
        await table.call(A, 0, "keep", "team", "", b"")
        assert await table.call(B, 0, "join", "team") == 0
        assert await table.call(C, 0, "join", "team") == 1
        await table.call(C, 0, "readied", "team")
        table.hosts.gone("b", "the worker b")
        table.hosts.gone("c", "the worker c")
        assert await table.call(A, 0, "was_entering", "team", "b", B.pid) is True
        assert await table.call(A, 0, "was_entering", "team", "c", C.pid) is False
        assert await table.call(A, 0, "was_entering", "another", "b", B.pid) is False
        with pytest.raises(Gone, match="ended"):
            await table.call(A, 0, "join", "another")

    run(test)


def test_a_task_that_must_not_run_twice() -> None:
    async def test(table: Table) -> None:
        assert await table.call(B, 0, "begun", "team", 5) is False
        await table.call(A, 0, "keep", "team", "", b"")
        assert await table.call(B, 0, "begin", "team", 5, 5) is True
        assert await table.call(A, 0, "begun", "team", 5) is True
        assert await table.call(B, 0, "begin", "team", 6, 5) is True  # what the answer to 5 becomes is not known yet
        assert await table.call(C, 0, "begin", "team", 5, 5) is False
        for task in range(7, 2000):
            assert await table.call(B, 0, "begin", "team", task, task) is True
        assert len(table.hosts.pools["team"].begun) < 1000

    run(test)
