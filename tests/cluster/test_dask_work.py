"""What runs on dask: streams in flat memory, pools in pools, and no more cores than there are."""

import pytest

from .programs import run

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


def test_an_endless_iterator_streams_in_flat_memory() -> None:
    ended = run(
        """
        import ctypes, itertools, psutil, allcores
        mp = allcores.get_context("dask")
        drawn = ahead = 0
        def items():
            global drawn
            for drawn in itertools.count(1):
                yield drawn.to_bytes(16_000, "little")
        with mp.Pool(2) as pool:
            processes = [psutil.Process(), psutil.Process(mp._fleet().head.pid)]
            results, number = pool.imap(bytes, items()), 0
            def take(count):
                global number, ahead
                for _ in range(count):
                    number += 1
                    assert int.from_bytes(next(results), "little") == number
                    ahead = max(ahead, drawn - number)
            def least():
                # Of many moments: a chunk more or less is on the way. Without what malloc keeps for itself.
                found = []
                for _ in range(32):
                    take(500)
                    ctypes.CDLL(None).malloc_trim(0)
                    found.append([each.memory_info().rss for each in processes])
                return [min(each) for each in zip(*found)]
            take(4000)
            before = least()
            take(4000)
            grown = [now - was for now, was in zip(least(), before)]
            pool.terminate()
        assert ahead < 10_000, ahead
        assert max(grown) < 24e6, grown  # of 320 MB there, and as much back
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_slow_reader_is_not_run_away_from() -> None:
    ended = run(
        """
        import itertools, time, allcores
        drawn = 0
        def items():
            global drawn
            for drawn in itertools.count(1):
                yield bytes(1_000_000)
        with allcores.get_context("dask").Pool(2) as pool:
            results = pool.imap(len, items())
            for _ in range(20):
                next(results)
            time.sleep(2)
            assert drawn < 200, drawn
            pool.terminate()
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_the_local_context_in_a_task_has_its_share_of_the_cores() -> None:
    ended = run(
        """
        import os, allcores
        def job(x):
            with allcores.Pool() as pool:
                inner = pool.map(lambda y: (x * y, os.environ["OMP_NUM_THREADS"]), range(20))
                return pool._crew.size, inner
        with allcores.get_context("dask").Pool(2) as pool:
            for x, (size, inner) in enumerate(pool.map(job, range(4), chunksize=1)):
                assert size == 1, size
                assert inner == [(x * y, "1") for y in range(20)], inner
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_libraries_have_one_thread_for_a_task() -> None:
    ended = run(
        """
        import allcores
        def threads(_):
            import numpy, threadpoolctl
            return [each["num_threads"] for each in threadpoolctl.threadpool_info()]
        with allcores.get_context("dask").Pool(2) as pool:
            found = pool.map(threads, range(4), chunksize=1)
        assert all(n == 1 for each in found for n in each), found
        with allcores.get_context("dask").Pool(2, threads_per_worker=2) as pool:
            found = pool.map(threads, range(4), chunksize=1)
        assert all(n == 2 for each in found for n in each), found
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_all_workers_wait_for_an_inner_map() -> None:
    """As many tasks as there are workers, several deep, in calls with a time limit too, and with a pool that stays."""
    ended = run(
        """
        import allcores
        mp = allcores.get_context("dask")
        def tree(depth, x):
            if not depth:
                return 1
            with mp.Pool(2) as pool:
                return sum(pool.starmap(tree, [(depth - 1, i) for i in range(3)], chunksize=1, timeout=30))
        kept = None
        def with_one_that_stays(x):
            global kept
            kept = kept or mp.Pool(2)
            return sum(kept.map(abs, range(x + 3), chunksize=1))
        with mp.Pool(2) as pool:
            assert pool.starmap(tree, [(2, i) for i in range(6)], chunksize=1) == [9] * 6
            assert pool.map(with_one_that_stays, range(10), chunksize=1) == [sum(range(x + 3)) for x in range(10)]
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_the_programs_processes_are_waited_for_at_its_end() -> None:
    ended = run(
        """
        import sys, time, allcores
        mp = allcores.get_context("dask")
        def late():
            time.sleep(1)
            open(sys.argv[1], "w").write("done")
        mp.Process(target=late).start()
        mp.Process(target=time.sleep, args=(1000,), daemon=True).start()
        """,
        "/dev/stdout",
    )
    assert ended.returncode == 0, ended.stderr


def test_a_fork_of_the_program_comes_to_the_same_cluster() -> None:
    ended = run(
        """
        import os, allcores
        mp = allcores.get_context("dask")
        q = mp.Queue()
        with mp.Pool(2) as pool:
            pool.map(abs, range(4))
            child = os.fork()
            if not child:
                mp.Queue()
                q.put((mp._fleet().cluster, os.getpid()))
                os._exit(0)
            assert q.get(timeout=30) == (mp._fleet().cluster, child)
            assert os.waitpid(child, 0)[1] == 0
            assert pool.map(abs, range(4)) == [0, 1, 2, 3]
        """
    )
    assert ended.returncode == 0, ended.stderr


def test_a_large_array_of_many_calls_is_there_once() -> None:
    ended = run(
        """
        import os, numpy as np, allcores
        mp = allcores.get_context("dask")
        big = np.arange(2_000_000)
        shared = mp.SharedArray.from_array(big)
        def write(x):
            assert x[0] == 0 and x[-1] == 1_999_999
            x[0] = 7
            return int(x.sum())
        def look(pair):
            a, i = pair
            try:
                a[0] = i
            except allcores.NotSupported:
                return int(a.sum()) + i
        def closed(i):
            return int(big.sum()) + i
        with mp.Pool(2) as pool:
            before = len(os.listdir("/proc/self/fd"))
            for _ in range(3):
                assert pool.map(write, [big] * 8, chunksize=1) == [big.sum() + 7] * 8
                assert big[0] == 0
                assert pool.map(look, [(shared, i) for i in range(8)], chunksize=1) == [big.sum() + i for i in range(8)]
                assert pool.map(closed, range(8), chunksize=1) == [big.sum() + i for i in range(8)]
            del shared
            assert len(os.listdir("/proc/self/fd")) < before + 3
        """
    )
    assert ended.returncode == 0, ended.stderr
