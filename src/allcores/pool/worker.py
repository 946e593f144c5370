"""A pool worker in a process of its own: takes tasks from one channel, answers on another, until told to stop."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from allcores import _native, codec, logs, stacks, start, warm
from allcores.base import current_process, in_fork
from allcores.pool import state
from allcores.pool.crew import Mode, Outcome, run_task
from allcores.pool.output import speak
from allcores.pool.retirement import Retirement, retirement_of
from allcores.protocol import STARTING
from allcores.sharing import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allcores.pool.output import Voice
    from allcores.pool.places import Place
    from allcores.pool.plan import Plan
    from allcores.queues import Queue

__all__ = ("BLOCK_BITS", "STOP", "serve")

# The key of no function: the worker ends.
STOP = 0
# A key is a running number and, below it, the block that the function is stored in. Blocks are used again, numbers
# are not.
BLOCK_BITS = 24
_BLOCK = (1 << BLOCK_BITS) - 1
# Above a call: the argument could not be decoded, the payload is the error.
_CALL = _native.BROKEN - 1
# Functions a worker remembers; beyond that it begins anew. Each is one that the pool may name again.
_REMEMBERED = 1024
_REMEMBERED_BYTES = 64 << 20


def serve(
    tasks: Queue,
    answers: Queue,
    news: Queue,
    plan: Plan,
    place: Place,
) -> None:
    """Work until a STOP comes, or one worker's part is done. What becomes of the worker goes to ``news``."""
    signal.signal(signal.SIGINT, _interrupt)
    _native.set_crew(news.offset)
    _native.set_task(STARTING)
    stacks.answer()
    state.begin(place.number)
    if plan.shape:
        warm.begin()
    how = plan.forward_output
    voice = speak(how, current_process().name, lambda: _nudge(news)) if how else None
    if plan.initializer is not None:
        try:
            plan.initializer(*plan.initargs)
        except BaseException as error:  # noqa: BLE001 - told to the pool, which cannot work
            _end(news, Outcome.BROKEN, codec.pack_error(error))
            return
    news.send(STARTING, Outcome.STARTED, os.getpid(), _native.ANSWERS_TASK)
    retirement = retirement_of(plan)
    with _telling_what_stays(answers, news):
        why = _work(tasks, answers, plan.idle_timeout, retirement, voice)
    if retirement is not None:
        retirement.close()
    tasks.break_promise()
    if why == Outcome.RETIRED:
        # The keeper waits for the end of who has said that it ends, and for nobody else meanwhile.
        threading._shutdown()  # type: ignore[attr-defined] # as in child.py
    _end(news, why, os.getpid())
    if why == Outcome.STOPPED and plan.shape:
        if voice is not None:
            voice.fall_silent()
        warm.stay()


def _nudge(news: Queue) -> None:
    """Have the keeper look what was printed. A message that it has not taken yet does, whatever it says."""
    if news.empty():
        news.send(0, Outcome.OUTPUT, None)


@contextmanager
def _telling_what_stays(answers: Queue, news: Queue) -> Iterator[None]:
    """Answers that nobody waits for are taken in all the same, when this worker has had nothing to do for a second.

    So neither they nor what the pool keeps for them, as the function, stay for long.
    """

    def look() -> None:
        if not answers.empty() and news.empty():
            news.send(0, Outcome.UNTAKEN, None)

    start.during_long_waits.append(look)
    try:
        yield
    finally:
        start.during_long_waits.remove(look)


# Whether the function of a task is running.
_running = False


def _interrupt(_signum: int, _frame: object) -> None:
    """Ctrl-C is for the program, whose pool then says which tasks it has given up: only those are broken off."""
    if _running and _native.is_given_up():
        raise KeyboardInterrupt


def _forget() -> None:
    """In a fork of a worker, which is none."""
    global _running
    _running = False
    logs.begin_in_fork()
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)


in_fork.append(_forget)


def _run(func: Callable[..., Any], mode: int, payload: Any) -> tuple[int, Any]:
    global _running
    try:
        _running = True
        answer = run_task(func, mode, payload)
        _running = False
        return answer
    except KeyboardInterrupt as error:  # it came between the two lines
        return Outcome.ERROR, error
    finally:
        _running = False


def _has_threads() -> bool:
    """Whether a thread that tasks have left behind keeps this process from ending."""
    return any(not thread.daemon and thread is not threading.main_thread() for thread in threading.enumerate())


def _end(news: Queue, outcome: int, body: Any) -> None:
    # Whatever happens from here on is no death in a task.
    news.send(STARTING, outcome, body, _native.ANSWERS_TASK)
    _native.set_crew(_native.ENDED_WELL)


def _work(
    tasks: Queue, answers: Queue, patience: float | None, retirement: Retirement | None, voice: Voice | None
) -> int:
    """Do tasks. Why no more: STOPPED, RETIRED, or IDLE when none has come for ``patience`` seconds."""
    functions = _Functions()
    while True:
        received = tasks.receive(patience)
        if received is None:
            if _has_threads():  # it would wait for them, and serve nobody
                continue
            return Outcome.IDLE
        task, call, payload = received
        key = (call & _CALL) >> 8
        if key == STOP:
            return Outcome.STOPPED
        try:
            if call > _CALL:
                raise codec.not_rebuilt("an argument", payload)
            func = functions.get(key)
            if func is None:
                func = functions.load(key, bool(call & Mode.ONCE))
        except BaseException as error:  # noqa: BLE001 - function or argument cannot be loaded here: that fails this task only
            answer: tuple[int, Any] = Outcome.ERROR, error
        else:
            answer = _run(func, call & 0xFF, payload)
        if voice is not None and voice.said:  # that comes before the answer
            voice.finish_task()
            answers.send(0, Outcome.OUTPUT, None)
        tasks.promise_look()  # the next task, which this answer may bring about, need not wake another worker
        _answer(answers, task, *answer)
        del received, payload, answer  # what they hold is not needed while this worker waits
        registry.sweep()
        if retirement is not None and retirement.is_due():
            return Outcome.RETIRED


class _Functions(dict[int, "Callable[..., Any]"]):
    """Functions that were loaded, by key; of those for one call of the pool the last: its next chunk may follow."""

    _once = 0
    _bytes = 0

    def load(self, key: int, once: bool) -> Callable[..., Any]:
        func: Callable[..., Any]
        func, nbytes = _native.load_stored(key & _BLOCK)
        if once:
            self.pop(self._once, None)
            self._once = key
        else:
            self._bytes += nbytes
            if len(self) >= _REMEMBERED or self._bytes > _REMEMBERED_BYTES:
                self.clear()
                self._bytes = nbytes
        self[key] = func
        return func


def _answer(answers: Queue, task: int, info: int, body: Any) -> None:
    if info & 0xFF == Outcome.ERROR:
        body = codec.pack_error(body), os.getpid()
    elif info & 0xFF == Outcome.CHUNK and body[1]:
        body = body[0], [(i, codec.pack_error(e), ns, os.getpid()) for i, e, ns in body[1]]
    try:
        answers.send(task, info, body, _native.ANSWERS_TASK)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the result cannot travel
        _answer_in_parts(answers, task, info, body, error)


def _answer_in_parts(answers: Queue, task: int, info: int, body: Any, error: BaseException) -> None:
    """Of a chunk, only the results that cannot travel become errors."""
    if info & 0xFF != Outcome.CHUNK:
        answers.send(task, Outcome.ERROR, (_why_not(body, error), os.getpid()), _native.ANSWERS_TASK)
        return
    results, errors = body
    for i, result in enumerate(results):
        try:
            codec.dumps_kept(result)
        except (Exception, SystemExit) as why:  # noqa: BLE001 - likewise
            results[i] = None
            errors.append((i, _why_not(result, why), -1, os.getpid()))
    answers.send(task, info, (results, errors), _native.ANSWERS_TASK)


def _why_not(result: Any, error: BaseException) -> codec.Packed:
    better = codec.why_not(result, "the result") if isinstance(error, Exception) else None
    return codec.pack_error(better or error)
