"""What a child process does between its fork and its end: settle in, run its job, leave the outcome in the mailbox."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from typing import Any

from allcores import (
    _native,
    base,
    chosen,
    codec,
    cores,
    installed,
    limits,
    lineage,
    process,
    seeds,
    standard,
    start,
    warm,
)

__all__ = ("run_child", "run_forked")


def run_child(mailbox_at: int, parent: int) -> int:
    """Do the job in the mailbox at this offset, leave its outcome there, and return the exit code.

    A pool's worker may then be kept for the job of another pool, and another, before it returns.
    """
    lineage.leave()
    while True:
        code, stays = _do_job(_native.Channel(offset=mailbox_at), parent)
        if not stays:
            return code
        mailbox_at = warm.wait_for_job()
        if not mailbox_at:
            _end()
            _flush()
            return code


def _do_job(mailbox: _native.Channel, parent: int) -> tuple[int, bool]:
    _kind, _whole, surroundings = mailbox.receive()
    _settle_in(surroundings)  # first: the job's functions are imported by the parent's paths
    try:
        standard.prepare_main(surroundings["main"])
        _kind, broken, me = mailbox.receive()
    except BaseException as error:  # noqa: BLE001 - of the program's script: the job is there, and cannot be begun
        broken, me = True, error
    return _work(mailbox, me, bool(broken), base.ParentProcess(parent, surroundings["parent"], start.outlive_parent))


def run_forked(me: Any, mailbox: _native.Channel, context: str, parent: int) -> int:
    """Likewise, in a fork of the process ``parent``, where the job is there already. The exit code."""
    atexit._clear()  # what the parent wants done at its end
    for forget in base.in_fork:
        forget()
    chosen.choose(context)
    if me._authkey is not None:
        standard.set_key(me._authkey)
    standard.begin_anew()
    cores.adopt(cores.share())
    if me._place is not None:
        _take(me._place.surroundings())
    _close_stdin()
    seeds.draw_own()
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined] # until 3.13 it is the parent's
    parent_process = base.ParentProcess(parent, base.current_process().name, start.outlive_parent)
    return _work(mailbox, me, False, parent_process)[0]


def _work(mailbox: _native.Channel, me: Any, broken: bool, parent: base.ParentProcess) -> tuple[int, bool]:
    code, stays = 1, False
    try:
        if broken:
            raise me
        base.become(me, parent)
        mailbox.send(process.RETURNED, 0, me.run())
        code = 0
        stays = warm.can_stay(me)
    except SystemExit as error:
        # That of a module which ends the program when it is imported is no end of this job: it has not begun.
        code = _exit_code(error) or (1 if broken else 0)
        mailbox.send(process.RAISED, 0, codec.pack_error(error))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the caller's to handle
        packed = codec.pack_error(error)
        if not isinstance(error, KeyboardInterrupt):  # Ctrl-C is for all processes: the program itself speaks for them
            name = f"process {os.getpid()}" if broken else me.name
            print(f"Process {name}:\n{packed[2]}", end="", file=sys.stderr)
        mailbox.send(process.RAISED, 0, packed)
    finally:
        if not stays:
            _end()
        _flush()
    return code, stays


def _end() -> None:
    """As the interpreter's own exit: join the threads, and run what is registered for it."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    process.end_children()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _settle_in(surroundings: dict[str, Any]) -> None:
    """Make cwd, environment and paths those of the parent: the template was started earlier, perhaps elsewhere."""
    with contextlib.suppress(OSError):  # a directory that is gone was no use to the parent either
        os.chdir(surroundings["cwd"])
    chosen.choose(surroundings["context"])
    standard.set_key(surroundings["authkey"])
    _take(surroundings)
    installed.adopt(*surroundings["installed"])
    standard.log_like(surroundings["logger"])
    sys.path[:], sys.argv[:] = surroundings["path"], surroundings["argv"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # Whole lines, soon: pieces of lines would mix with those of others, and a block be lost with a killed
            # process.
            stream.reconfigure(line_buffering=True, write_through=False)
    _close_stdin()
    seeds.draw_own()  # or all children would draw the template's numbers


def _take(surroundings: dict[str, Any]) -> None:
    environ, cpus = surroundings.get("environ"), surroundings.get("cpus")
    if environ is not None and dict(os.environ) != environ:
        os.environ.clear()
        os.environ.update(environ)
    if cpus is not None and os.sched_getaffinity(0) != cpus:
        with contextlib.suppress(OSError):  # cores that were taken away meanwhile: then those that are left
            os.sched_setaffinity(0, cpus)
    cores.adopt_in_thread(None)
    cores.adopt(surroundings["cores"])
    limits.adopt(surroundings["threads"])
    limits.apply()


def _close_stdin() -> None:
    if getattr(sys.stdin, "name", None) != os.devnull:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - for the life of the process


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1
