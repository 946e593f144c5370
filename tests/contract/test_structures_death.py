"""A Structure in shared memory whose user was killed: one store is whole or not there, more than one is told."""

import ctypes
import os
import signal
from collections.abc import Callable

import numpy as np
import pytest

import allcores
from allcores import _native

from . import jobs
from .kit import PATIENCE, Context, Handle
from .test_structures import Flags, Point

Start = Callable[..., Handle]
pytestmark = pytest.mark.needs("kills", "shares")

BIG = 4 << 20


class Big(ctypes.Structure):
    _fields_ = (("n", ctypes.c_int64), ("bytes", ctypes.c_ubyte * BIG))


def kill(process: Handle) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)


def killed_while(mp: Context, start: Start, step: Callable[[int], object], count: int) -> Handle:
    """A process that does the step again and again, and is killed in the middle of one."""
    going = mp.Semaphore(0)

    def go_on() -> None:
        for i in range(1 << 40):
            step(i)
            going.release()

    process = start(go_on)
    for _ in range(count):
        assert going.acquire(timeout=PATIENCE)
    kill(process)
    return process


def test_dying_with_the_lock_is_told_to_all(mp: Context, start: Start) -> None:
    value, array = mp.Value(Point, 1, 2), mp.Array(Point, 2)
    for lock, uses in (
        (value.get_lock(), (lambda: value.x, lambda: setattr(value, "x", 1), value.acquire)),
        (array.get_lock(), (lambda: array[0], lambda: array.__setitem__(0, (1, 2)), lambda: list(array))),
    ):
        held = mp.Event()
        holder = start(jobs.hold_until_killed, lock, held, mp.Event())
        assert held.wait(PATIENCE)
        kill(holder)
        for use in uses:
            with pytest.raises(allcores.OwnerDied) as caught:
                use()
            assert caught.value.pid == holder.pid
            with pytest.raises(allcores.OwnerDied):
                start(use).result(PATIENCE)
        lock.recover()
        uses[1]()
        uses[0]()


@pytest.mark.parametrize("count", [1, 30, 300])
def test_dying_in_a_field_harms_nobody(mp: Context, start: Start, count: int) -> None:
    value, flags = mp.Value(Point), mp.Value(Flags, 0, 77)

    def step(i: int) -> None:
        value.x = i
        flags.small = i % 4
        value.y = value.x

    killed_while(mp, start, step, count)
    assert value.x >= count - 1
    assert value.x - value.y in (0.0, 1.0)
    assert flags.wide == 77
    value.x = flags.small = 1  # the locks are free


def is_sound(array: Handle, pid: int) -> bool:
    """Whether the lock says nothing about a death; if it does, of this process."""
    try:
        return len(array[:]) == 1
    except allcores.OwnerDied as error:
        return bool(error.pid != pid)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_dying_in_a_whole_element_is_told(mp: Context, start: Start, count: int) -> None:
    """Half an element is never left without a word."""
    array = mp.Array(Big, 1)
    ones, twos = (Big(n, (ctypes.c_ubyte * BIG).from_buffer_copy(bytes([n]) * BIG)) for n in (1, 2))

    def step(i: int) -> None:
        array[0] = twos if i % 2 else ones

    process = killed_while(mp, start, step, count)
    view = np.asarray(array)
    if not is_sound(array, process.pid):
        array.get_lock().recover()
        array[0] = ones
    n = array[0].n
    assert n in (1, 2)
    assert (view["bytes"][0] == n).all()


def test_it_ends_with_its_last_holder(mp: Context, start: Start) -> None:
    """A killed one included."""
    there, before = mp.Event(), _native.usage()[1]

    def make_and_wait() -> None:
        array = mp.Array(Big, 16)
        array[15].n = 1
        there.set()
        mp.Event().wait(PATIENCE)
        del array

    process = start(make_and_wait)
    assert there.wait(PATIENCE)
    assert _native.usage()[1] > before + 16 * BIG
    kill(process)
    assert _native.usage()[1] < before + BIG
