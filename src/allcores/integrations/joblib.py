"""A backend for joblib, and so for scikit-learn: import this module, then name it.

    import allcores.integrations.joblib
    with joblib.parallel_config(backend="allcores"):
        search.fit(X, y)

    Parallel ── submit(batch) ──▶ pool ──▶ some worker: run_batch
             ◀─ callback: next batch ── whoever waits for results, or the pool's driver
             ◀─ retrieve_result ── blocks for the one result that joblib wants next

joblib asks every 10 ms whether a result is there, of backends that hand results over in callbacks. This one does not:
joblib then calls ``retrieve_result``, which waits for that very result. Only ``return_as="generator_unordered"`` knows
no other way than the callbacks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from allcores import codec, cores
from allcores.context import get_context
from allcores.integrations.arrays import Call, SentOnce
from allcores.integrations.kept import KeptPools
from allcores.pool.options import NO_OPTIONS
from allcores.pool.results import AsyncResult

try:
    from joblib.parallel import FallbackToBackend, ParallelBackendBase, SequentialBackend, parallel_config
    from joblib.parallel import register_parallel_backend as _register
except ImportError as missing:
    raise ImportError('allcores.integrations.joblib needs joblib: pip install "allcores[joblib]"') from missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from allcores.pool.pool import Pool

__all__ = ("AllcoresBackend", "run_batch", "shutdown")

# Seconds of work that a batch is to be, for each worker: joblib spends a tenth of a millisecond on a batch, in one
# thread for all workers. More would leave workers idle at the end.
_AIM = 0.005
# A batch is so many times as long as it takes to send it: that has to look at all of a large array each time.
_LEAST_WORK = 10
# A batch is at most so many times as large as the one before: the first may have been quick by chance.
_GROWTH = 8

# Seconds after which workers that nobody uses end; as long as joblib's own.
_IDLE = 300.0


def run_batch(calls: list[Call], nested: tuple[Any, int | None], first: int) -> tuple[list[Any], float]:
    """In a worker: the results of the calls, and the seconds that they took.

    Args:
        calls: functions, each with its arguments.
        nested: the backend that Parallel is to use inside of them, and its ``n_jobs``.
        first: the index of the first of them in the input of Parallel.
    """
    start = time.perf_counter()
    results = []
    with parallel_config(backend=nested[0], n_jobs=nested[1]):
        for i, (func, args, kwargs) in enumerate(calls, first):
            try:
                results.append(func(*args, **kwargs))
            except BaseException as error:
                error.add_note(f"call {i} of this Parallel: {_said(func, args, kwargs)}")
                raise
    return results, time.perf_counter() - start


def _said(func: Any, args: Any, kwargs: Any) -> str:
    name = getattr(func, "__qualname__", None) or codec.short_repr(func)
    given = [codec.short_repr(x, 30) for x in args] + [f"{k}={codec.short_repr(v, 30)}" for k, v in kwargs.items()]
    text = f"{name}({', '.join(given)})"
    return text if len(text) <= 200 else text[:197] + "..."


class _Batch:
    """What was sent, for the error that names it."""

    def __init__(self, calls: list[Call], first: int) -> None:
        self._calls, self._first = calls, first

    def __repr__(self) -> str:
        more = "" if len(self._calls) == 1 else f" to {self._first + len(self._calls) - 1}"
        return f"call {self._first}{more} of this Parallel: {_said(*self._calls[0])}"


class _Progress:
    """What is known of one call of Parallel. Its batches tell it of their end; one that is late tells no other call."""

    def __init__(self) -> None:
        self.out: dict[int, AsyncResult] = {}  # jobs, by their first call
        self.failure: BaseException | None = None
        self.size = 1  # of a batch, in calls
        self.seconds = self.sending = 0.0  # of a call; to send a batch

    def measure(self, calls: int, seconds: float) -> None:
        """So many calls took so long in a worker."""
        each = seconds / calls
        self.seconds = each if not self.seconds else 0.5 * (self.seconds + each)


class AllcoresBackend(ParallelBackendBase):  # type: ignore[misc] # joblib has no types
    """Runs the batches of one ``Parallel`` at a time in a pool of allcores, which is kept for the next one.

    Args:
        nesting_level: how many backends this one runs inside of.
        inner_max_num_threads: threads that BLAS and OpenMP may use in each worker; by default its share of the cores.
    """

    supports_inner_max_num_threads = True
    supports_return_generator = True
    supports_timeout = True
    # Whether results are handed over in callbacks: decided for each call of Parallel.
    supports_retrieve_callback = False

    def __init__(self, nesting_level: int | None = None, inner_max_num_threads: int | None = None) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self.parallel: Any = None
        self._arrays = SentOnce(None)
        self._begin()

    def _begin(self) -> None:
        self._pool: Pool | None = None
        self._progress = _Progress()

    def __reduce__(self) -> Any:
        return AllcoresBackend, (self.nesting_level, self.inner_max_num_threads)

    # How many, and of which kind.

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many workers that means here. Inside a worker of a pool at most its share of the cores."""
        if n_jobs == 0:
            raise ValueError("n_jobs must not be 0: it is a number of workers, or -1 for one per usable core")
        if n_jobs is None:
            return 1
        if n_jobs < 0:
            return max(cores.room() + 1 + n_jobs, 1)
        return min(n_jobs, cores.share() or n_jobs)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, max_nbytes: int | None = None, mmap_mode: Any = "r", **_: Any
    ) -> int:
        """Make ready for one Parallel. While this backend still serves another, that one gets one of its own.

        Args:
            n_jobs: as joblib has it.
            parallel: the one to serve.
            max_nbytes: arrays of so many bytes and more are sent once; None: none is.
            mmap_mode: None means that none is, too. Otherwise each call has a copy of its own to write to of an array
                that is its argument, and a read-only one of those that are within its arguments.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        if self.parallel is not None and self.parallel is not parallel:
            raise FallbackToBackend(AllcoresBackend(self.nesting_level, self.inner_max_num_threads))
        self.parallel = parallel
        self._n_jobs = n_jobs
        self._arrays = SentOnce(None if mmap_mode is None else max_nbytes)
        self.supports_retrieve_callback = not parallel.return_ordered
        return n_jobs

    def get_nested_backend(self) -> tuple[Any, None]:
        """Inside a worker: this one again, with the worker's share of the cores. One core means serial."""
        self._arrays.input_was_read()  # joblib asks for each batch that it makes of new input
        return AllcoresBackend((self.nesting_level or 0) + 1, self.inner_max_num_threads), None

    # Batches out.

    def compute_batch_size(self) -> int:
        """As many calls as take a few milliseconds, by the time that they took in the workers."""
        so_far = self._progress
        if so_far.seconds > 0:
            aim = self._n_jobs * max(_AIM, _LEAST_WORK * so_far.sending)
            so_far.size = min(max(int(aim / so_far.seconds), 1), so_far.size * _GROWTH)
        return so_far.size

    def submit(self, func: Any, callback: Callable[..., Any]) -> AsyncResult | _Unsent:
        """Send a batch. What cannot be sent fails as a call would: joblib is in no state to be told otherwise."""
        try:
            return self._send(func, callback)
        except Exception as error:  # noqa: BLE001 - there are no workers
            self._progress.failure = self._progress.failure or error
            if self.supports_retrieve_callback:
                callback(error)
            return _Unsent(error)

    def _send(self, func: Any, callback: Callable[..., Any]) -> AsyncResult:
        calls: list[Call] = func.items
        first = self.parallel.n_dispatched_tasks - len(calls)
        if self._pool is None:
            self._pool = _pools.acquire((self._n_jobs, self.inner_max_num_threads))
        pool, engine = self._pool, self._pool._engine
        known = pool._learn(run_batch, NO_OPTIONS)
        n, progress = len(calls), self._progress
        by_callback = self.supports_retrieve_callback

        def settled(value: Any) -> None:  # joblib keeps the job until its result is asked for, and so whatever this has
            progress.out.pop(first, None)
            if isinstance(value, BaseException):
                progress.failure = progress.failure or value
                if by_callback:
                    callback(value)
                return
            progress.measure(n, value[1])
            callback(value)

        job = AsyncResult(engine, known, _Batch(calls, first), (settled, settled))
        progress.out[first] = job
        start = time.perf_counter()
        try:
            with self._arrays:
                engine.submit(job, known.call, (self._arrays.each_own(calls), (func._backend, func._n_jobs), first))
        except BaseException as error:
            engine.fail_later(job, error)
            if not isinstance(error, Exception):
                raise
        progress.sending = time.perf_counter() - start
        if self.parallel.return_generator:
            engine.drive(job)  # whoever takes the results need not be waiting for them
        return job

    # Results in.

    def retrieve_result(self, out: AsyncResult | _Unsent | None, timeout: float | None = None) -> Any:
        """Wait for the result that joblib wants next, or for the first failure of any."""
        if out is None:  # the input raised; joblib has the error
            return None
        if isinstance(out, _Unsent):
            raise out.error
        assert self._pool is not None
        if not self._pool._engine.wait(_Turn(self._progress, out), timeout):
            from allcores.errors import TimeoutError

            raise TimeoutError(f"a call of this Parallel took longer than timeout={timeout} s")
        failure = self._progress.failure
        if not out.ready_ and failure is not None:
            raise failure
        return out.get()[0]

    def retrieve_result_callback(self, out: Any) -> Any:
        """Of a batch that ``submit``'s callback was told of: its results, or its error raised."""
        if isinstance(out, BaseException):
            raise out
        return out[0]

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End what runs: with all workers, or where others use them too, with those that are at it."""
        pool = self._pool
        if pool is not None and not _pools.end_alone(pool):
            pool._engine.cancel(*self._progress.out.values())
        self._release()

    def terminate(self) -> None:
        """The Parallel is done. Its workers are kept."""
        self._release()
        self._arrays.clear()
        self.parallel = None

    def stop_call(self) -> None:
        """A call of the Parallel is done. What it sent is not needed any more."""
        self._arrays.clear()

    def _release(self) -> None:
        pool = self._pool
        self._begin()
        if pool is not None:
            _pools.release(pool)


class _Unsent:
    """In the place of the job of a batch that could not be sent."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Turn:
    """Ready when a job is, or any has failed."""

    def __init__(self, progress: _Progress, job: AsyncResult) -> None:
        self._progress, self._job = progress, job

    @property
    def ready_(self) -> bool:
        return self._job.ready_ or self._progress.failure is not None


def _make(shape: tuple[int, int | None]) -> Pool:
    n_jobs, threads = shape
    return get_context().Pool(n_jobs, threads_per_worker=threads, idle_timeout=_IDLE)


_pools = KeptPools(_make)


def shutdown() -> None:
    """End the idle workers that are kept for the next Parallel. They end with the program in any case."""
    _pools.shutdown()


_register("allcores", AllcoresBackend)
