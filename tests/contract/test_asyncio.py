"""asyncio: calls of a pool awaited, streams of results, and what becomes of them when who awaits is cancelled."""

import asyncio
import gc
import itertools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import allcores

from . import jobs
from .kit import PATIENCE, SHORT, Context, Handle, Place


@pytest.fixture
def pool(mp: Context) -> Iterator[Handle]:
    with mp.Pool(2) as pool:
        yield pool


def run(coroutine: Coroutine[Any, Any, Any], debug: bool = True) -> Any:
    """To its end, in a loop of its own; in debug mode asyncio says what is wrong with its use."""

    async def in_time() -> Any:
        return await asyncio.wait_for(coroutine, PATIENCE)

    result = asyncio.run(in_time(), debug=debug)
    gc.collect()  # what was not awaited warns here
    return result


async def counted(n: int, wait: bool = False) -> AsyncIterator[int]:
    for i in range(n):
        if wait:
            await asyncio.sleep(0)
        yield i


@pytest.mark.parametrize("debug", [True, False])
def test_run(pool: Handle, debug: bool) -> None:
    async def main() -> None:
        assert await pool.run(jobs.square, 3) == 9
        assert await pool.run(jobs.echo, 1, timeout=2, fn=3, self=4) == ((1,), {"timeout": 2, "fn": 3, "self": 4})
        with pytest.raises(ValueError, match="no 3"):
            await pool.run(jobs.fail, 3)
        squares = await asyncio.gather(*(pool.run(jobs.square, i) for i in range(300)))
        assert squares == [i * i for i in range(300)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(pool.run(jobs.square, i)) for i in range(5)]
        assert [task.result() for task in tasks] == [0, 1, 4, 9, 16]

    run(main(), debug)


def test_run_with_options(pool: Handle) -> None:
    async def main() -> None:
        assert await pool.executor(retries=1).run(jobs.square, 3) == 9
        with pytest.raises(ValueError, match="no 3"):
            await pool.executor(retries=1).run(jobs.fail, 3)

    run(main())


def test_what_cannot_be_called_or_sent(pool: Handle, place: Any) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="callable"):
            await pool.run(3)
        if place.copies:
            with pytest.raises(allcores.UnpicklableError):
                await pool.run(jobs.square, threading.Lock())
        assert await pool.run(jobs.square, 3) == 9
        with pytest.raises(TypeError, match="option"):
            pool.stream(jobs.square, [1], retrys=1)
        with pytest.raises(TypeError, match="iterate"):
            await anext(pool.stream(jobs.square, 3))

    run(main())


@pytest.mark.needs("parallel")
def test_the_loop_goes_on(mp: Context, pool: Handle) -> None:
    async def main() -> None:
        gate = mp.Event()
        task = asyncio.create_task(pool.run(jobs.wait_for, gate, 5))
        quick = await pool.run(jobs.square, 2)
        assert (quick, task.done()) == (4, False)
        gate.set()
        assert await task == 5

    run(main())


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [None, 1, 7])
@pytest.mark.parametrize(
    "source",
    [range, lambda n: list(range(n)), lambda n: iter(range(n)), counted, lambda n: counted(n, True)],
    ids=["range", "list", "iterator", "async", "slow async"],
)
def test_stream(pool: Handle, source: Callable[[int], Any], chunksize: int | None, ordered: bool) -> None:
    async def main() -> None:
        results = [r async for r in pool.stream(jobs.square, source(200), ordered=ordered, chunksize=chunksize)]
        if not ordered:
            results.sort()
        assert results == [i * i for i in range(200)]

    run(main())


def test_a_stream_of_nothing(pool: Handle) -> None:
    async def main() -> None:
        assert [r async for r in pool.stream(jobs.square, [])] == []
        assert [r async for r in pool.stream(jobs.square, counted(0))] == []
        stream = pool.stream(jobs.square, [1])
        assert [r async for r in stream] == [1]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        never = pool.stream(jobs.square, [1])
        await never.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(never)

    run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("buffersize", [None, 4])
def test_never_more_than_a_window_ahead(pool: Handle, kind: str, buffersize: int | None) -> None:
    read = [0]

    def numbers() -> Iterator[int]:
        for i in itertools.count():
            read[0] += 1
            yield i

    async def async_numbers() -> AsyncIterator[int]:
        for i in numbers():
            yield i

    async def main() -> None:
        results = pool.stream(
            jobs.identity, numbers() if kind == "sync" else async_numbers(), chunksize=1, buffersize=buffersize
        )
        for taken in range(100):
            assert await anext(results) == taken
            assert read[0] <= taken + (buffersize or 1100) + 1  # where one is late, others may go some way ahead
        await results.aclose()
        before = read[0]
        await asyncio.sleep(0)
        assert read[0] == before

    run(main())


def test_an_error_is_at_its_place(pool: Handle) -> None:
    async def main() -> None:
        stream = pool.stream(lambda x: jobs.fail_at(2, x), range(4), chunksize=1)
        assert [await anext(stream), await anext(stream)] == [0, 1]
        with pytest.raises(ValueError, match="no 2"):
            await anext(stream)
        assert await anext(stream) == 3
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_input_that_raises_does_so_after_its_items(pool: Handle, kind: str) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        yield 2
        jobs.fail("more")

    async def async_numbers() -> AsyncIterator[int]:
        for i in numbers():
            yield i

    async def main() -> None:
        stream = pool.stream(jobs.square, numbers() if kind == "sync" else async_numbers())
        assert [await anext(stream), await anext(stream)] == [1, 4]
        with pytest.raises(ValueError, match="no more"):
            await anext(stream)

    run(main())


def test_the_input_is_read_in_the_loop_s_thread(pool: Handle) -> None:
    threads = set()

    def numbers() -> Iterator[int]:
        for i in range(50):
            threads.add(threading.get_ident())
            yield i

    async def main() -> None:
        assert len([r async for r in pool.stream(jobs.square, numbers(), chunksize=1)]) == 50

    run(main())
    assert threads == {threading.get_ident()}


@pytest.mark.needs("kills")
def test_a_timeout_cancels_the_call(mp: Context, pool: Handle) -> None:
    never = mp.Event()

    async def main() -> None:
        for _ in range(3):  # more than there are workers
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT):
                    await pool.run(jobs.wait_for, never)
        assert await pool.run(jobs.square, 3) == 9

    run(main())


@pytest.mark.needs("parallel")
def test_a_cancelled_task_whose_call_is_queued(mp: Context) -> None:
    gate, started, value = mp.Event(), mp.Semaphore(0), mp.Value("i", 0)

    async def main(pool: Handle) -> None:
        running = asyncio.create_task(pool.run(jobs.announce_and_wait, started, gate))
        queued = asyncio.create_task(pool.run(jobs.add_up, value, 1))
        await asyncio.sleep(0)
        assert started.acquire(timeout=PATIENCE)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        gate.set()
        await running
        await pool.run(jobs.nothing)

    with mp.Pool(1) as pool:
        run(main(pool))
    assert value.value == 0


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_leaving_a_stream_ends_it(mp: Context, kind: str) -> None:
    ended = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for i in itertools.count():
                yield i
        finally:
            ended.append(True)

    async def main(pool: Handle) -> None:
        async for r in pool.stream(jobs.square, itertools.count() if kind == "sync" else numbers(), chunksize=1):
            if r == 100:
                break
        assert await pool.run(jobs.square, 3) == 9

    with mp.Pool(2) as pool:
        run(main(pool))
    assert ended == [True] * (kind == "async")


@pytest.mark.needs("kills")
def test_leaving_a_stream_interrupts_what_runs(mp: Context, pool: Handle) -> None:
    never = mp.Event()

    async def main() -> None:
        async for _ in pool.stream(lambda x: jobs.wait_for(never) if x else x, range(20), chunksize=1):
            break
        assert [r async for r in pool.stream(jobs.square, range(20))] == [i * i for i in range(20)]

    run(main())


@pytest.mark.needs("parallel")
def test_a_cancelled_task_ends_its_stream(mp: Context, pool: Handle) -> None:
    gate, first = mp.Event(), asyncio.Event()

    async def consume() -> None:
        async for _ in pool.stream(lambda x: jobs.wait_for(gate) if x else x, counted(20), chunksize=1):
            first.set()

    async def main() -> None:
        task = asyncio.create_task(consume())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        assert await pool.run(jobs.square, 3) == 9

    run(main())


def test_several_loops_and_threads(pool: Handle) -> None:
    async def main(k: int) -> list[int]:
        first = await asyncio.gather(*(pool.run(jobs.power, k, i % 3) for i in range(30)))
        return first + [r async for r in pool.stream(jobs.square, counted(50))]

    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda k: run(main(k)), range(6)))
    assert results == [[k ** (i % 3) for i in range(30)] + [i * i for i in range(50)] for k in range(6)]


def test_beside_who_waits_otherwise(pool: Handle) -> None:
    """Another thread may have the seat: it dispatches the answers of coroutines too."""

    async def main() -> None:
        for i in range(100):
            assert await pool.run(jobs.square, i) == i * i

    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(lambda: [pool.apply(jobs.square, (i,)) for i in range(200)])
        run(main())
        assert other.result(PATIENCE) == [i * i for i in range(200)]


def test_the_executor_in_a_loop(mp: Context) -> None:
    async def main(executor: Handle) -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, jobs.square, 3) == 9
        futures = [loop.run_in_executor(executor, jobs.square, i) for i in range(50)]
        assert await asyncio.gather(*futures) == [i * i for i in range(50)]
        assert await asyncio.wrap_future(executor.submit(jobs.square, 4)) == 16
        with pytest.raises(ValueError, match="no 3"):
            await asyncio.wrap_future(executor.submit(jobs.fail, 3))
        assert await executor.run(jobs.square, 5) == 25

    with mp.Executor(2) as executor:
        run(main(executor))


@pytest.mark.needs("parallel")
def test_a_closed_loop_loses_only_its_own(mp: Context, pool: Handle) -> None:
    gate = mp.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(pool.run(jobs.wait_for, gate))
    loop.run_until_complete(asyncio.sleep(SHORT))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    gate.set()
    assert pool.apply(jobs.square, (3,)) == 9
    assert run(pool.run(jobs.square, 3)) == 9
    del task


@pytest.mark.needs("parallel")
def test_a_terminated_pool_ends_what_is_awaited(mp: Context) -> None:
    never = mp.Event()
    pool = mp.Pool(1)

    async def stream() -> None:
        async for _ in pool.stream(lambda _: jobs.wait_for(never), counted(5), chunksize=1):
            pass

    async def main() -> None:
        tasks = [asyncio.create_task(pool.run(jobs.wait_for, never)), asyncio.create_task(stream())]
        await asyncio.sleep(SHORT)
        await asyncio.to_thread(pool.terminate)
        never.set()
        for task in tasks:
            with pytest.raises(allcores.PoolTerminated):
                await task

    run(main())


def test_a_pool_that_is_left_while_a_stream_is_held(mp: Context) -> None:
    async def main() -> None:
        with mp.Pool(2) as pool:
            stream = pool.stream(jobs.square, itertools.count())
            assert await anext(stream) == 0
        with pytest.raises(allcores.PoolTerminated, match="closed"):
            async for _ in stream:
                pass

    run(main())


@pytest.mark.needs("kills")
def test_a_worker_that_dies(place: Place, pool: Handle) -> None:
    async def main() -> None:
        with pytest.raises(allcores.WorkerDied, match=place.end("SIGKILL")):
            await pool.run(jobs.die_by_signal)
        got, errors = [], []
        stream = pool.stream(lambda x: jobs.square_or_die(x, 5), range(20))
        while True:
            try:
                got.append(await anext(stream))
            except StopAsyncIteration:
                break
            except allcores.WorkerDied as error:
                errors.append(error.index)
        assert (sorted(got), errors) == ([i * i for i in range(20) if i != 5], [5])

    run(main())


@pytest.mark.needs("kills")
def test_all_workers_are_killed_under_it(pool: Handle) -> None:
    async def main() -> None:
        pids = {r async for r in pool.stream(jobs.pid_of, range(200), chunksize=1)}
        task = asyncio.create_task(asyncio.wait_for(pool.run(jobs.pid_of), PATIENCE))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.wait([task])
        assert isinstance(task.exception(), allcores.WorkerDied | None)
        assert await pool.run(jobs.square, 3) == 9

    run(main())


@pytest.mark.needs("kills")
def test_a_fork_of_the_caller_leaves_it_alone(pool: Handle) -> None:
    async def main() -> None:
        assert await pool.run(jobs.square, 3) == 9
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert [r async for r in pool.stream(jobs.square, counted(100))] == [i * i for i in range(100)]

    run(main())


def test_nothing_of_it_stays_in_the_loop(pool: Handle) -> None:
    from allcores.pool import loops

    async def main() -> None:
        await pool.run(jobs.square, 3)
        async for _ in pool.stream(jobs.square, range(10)):
            break
        for _ in range(4):
            await asyncio.sleep(0)
        assert not any(engine is pool._engine for engine, _loop in loops._bridges)

    run(main())
