"""Managers: the standard library's, with a server that is a process of ours.

    manager.list() ──▶ proxy ── a connection of the standard's ──▶ the manager's process: the list, a thread per client

Where workers live in this process there is nobody to serve: there a manager makes the objects themselves, here.
"""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from multiprocessing import ProcessError, managers, util
from multiprocessing.managers import BaseProxy, Token
from typing import TYPE_CHECKING, Any

from allcores import reducers, shared_memory
from allcores.context import get_context
from allcores.faces import face
from allcores.pool.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token")

# As they are now: whoever puts ours in their place there (``allcores.install``) does not put ours under ours.
standard: Any = managers
State: Any = standard.State
_Base: Any = standard.BaseManager
_Sync: Any = standard.SyncManager
_Memory: Any = standard.SharedMemoryManager

_numbers = itertools.count(1)


class BaseManager(_Base):  # type: ignore[misc] # Any: see there
    """``multiprocessing.managers.BaseManager``. Its server is a process of this context, and ends with the program.

    A client whose manager has died gets ``EOFError`` or ``ConnectionError`` from the next call. What a client held in
    the manager when it died, as a managed lock, stays held: locks of allcores itself know better.

    Args:
        address: where the server listens; by default a name of its own in the file system.
        authkey: what clients have to know; by default the program's own, ``current_process().authkey``.
        serializer: ``"pickle"`` or ``"xmlrpclib"``.
        ctx: the context, of allcores, whose Process the server is; by default the program's.
        shutdown_timeout: seconds that ``shutdown`` gives the server to end, before it is terminated.
    """

    _is_here = False  # its objects are made in this process

    def __init__(
        self,
        address: Any = None,
        authkey: bytes | None = None,
        serializer: str = "pickle",
        ctx: Any = None,
        *,
        shutdown_timeout: float = 1.0,
    ) -> None:
        _Base.__init__(self, address, authkey, serializer, ctx or get_context(), shutdown_timeout=shutdown_timeout)
        self._process: Any = None
        self._address: Any

    def start(self, initializer: Callable[..., object] | None = None, initargs: Iterable[Any] = ()) -> None:
        """Start the server, and wait until it listens.

        Raises:
            ProcessError: it was started before.
            BaseException: whatever the initializer raised.
        """
        if self._state.value != State.INITIAL:
            ended = self._state.value == State.SHUTDOWN
            raise ProcessError("Manager has shut down" if ended else "Already started server")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if self._ctx._is_here:
            self._start_here(initializer, initargs)
        else:
            self._start_there(initializer, initargs)

    def _start_here(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        if initializer is not None:
            initializer(*initargs)
        self._is_here = True
        self._state.value = State.STARTED
        self.shutdown = util.Finalize(self, _end, args=(self._state, self._left_at_the_end()), exitpriority=0)

    def _left_at_the_end(self) -> list[Any]:
        return []

    def _start_there(self, initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> None:
        receives, tells = self._ctx.Pipe(duplex=False)
        key = bytes(self._authkey)  # of which the standard's own class refuses to be pickled
        self._process = self._ctx.Process(
            target=_serve,
            args=(type(self), self._registry, self._address, key, self._serializer, tells, initializer, initargs),
            name=f"{type(self).__name__}-{next(_numbers)}",
        )
        self._process.start()
        try:
            tells.close()
            self._address = receives.recv()
        except EOFError:
            self._process.result()
            raise
        except BaseException:  # Ctrl-C, which the server ignores: the end of the program would wait for it
            self._process.kill()
            raise
        finally:
            receives.close()
        self._state.value = State.STARTED
        about = self._process, self._address, self._authkey, self._state, self._Client, self._shutdown_timeout
        self.shutdown = util.Finalize(self, type(self)._finalize_manager, args=about, exitpriority=0)

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Any = None,
        exposed: Any = None,
        method_to_typeid: Mapping[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Have a method of this name that makes an object in the manager, and returns a proxy of it."""
        _register(cls, typeid, callable, proxytype, exposed, method_to_typeid, create_method)
        made = cls._registry[typeid][-1]
        reducers.add_proxy(f"AutoProxy[{typeid}]" if made is standard.AutoProxy else made.__name__)
        if create_method:
            setattr(cls, typeid, _here_or_there(typeid, cls.__dict__[typeid]))

    def _make_here(self, typeid: str, args: tuple[Any, ...], kwds: dict[str, Any]) -> Any:
        assert self._state.value == State.STARTED, "the manager has shut down"
        make = self._registry[typeid][0]
        if make is None:
            if kwds or len(args) != 1:
                raise ValueError("Without callable, must have one non-keyword argument")
            return args[0]
        for kind, name in _OF_THE_CONTEXT:
            if make is kind:
                make = getattr(self._ctx, name)
        return make(*args, **kwds)


_register: Any = _Base.register.__func__


def _here_or_there(typeid: str, there: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(there)
    def create(self: BaseManager, /, *args: Any, **kwds: Any) -> Any:
        return self._make_here(typeid, args, kwds) if self._is_here else there(self, *args, **kwds)

    return create


def _serve(cls: Any, registry: Any, address: Any, authkey: bytes, *how: Any) -> None:
    """In the manager's process."""
    cls._run_server(registry, address, standard.process.AuthenticationString(authkey), *how)


def _end(state: Any, left: list[Any]) -> None:
    state.value = State.SHUTDOWN
    for each in left:
        each.unlink()


class SyncManager(BaseManager, _Sync):  # type: ignore[misc] # Any: see there
    """``multiprocessing.managers.SyncManager``: what ``Manager()`` starts."""


# What waits is made by the context, where the manager's objects are made here: it knows who could end the wait.
_OF_THE_CONTEXT = (
    (queue.Queue, "JoinableQueue"),
    (threading.Event, "Event"),
    (threading.Lock, "Lock"),
    (threading.RLock, "RLock"),
    (threading.Semaphore, "Semaphore"),
    (threading.BoundedSemaphore, "BoundedSemaphore"),
    (threading.Condition, "Condition"),
    (threading.Barrier, "Barrier"),
    (Pool, "Pool"),
)


def _register_all() -> None:
    for typeid, (make, exposed, method_to_typeid, proxytype) in list(_Sync._registry.items()):
        ours = Pool if typeid == "Pool" else make
        SyncManager.register(typeid, ours, proxytype, exposed, method_to_typeid, hasattr(_Sync, typeid))


_register_all()


class SharedMemoryManager(BaseManager, _Memory):  # type: ignore[misc] # Any: see there
    """``multiprocessing.managers.SharedMemoryManager``: what it has made is unlinked when it shuts down."""

    def SharedMemory(self, size: int) -> shared_memory.SharedMemory:  # noqa: N802
        """A new SharedMemory of so many bytes."""
        made: shared_memory.SharedMemory = self._tracked(lambda: shared_memory.SharedMemory(create=True, size=size))
        return made

    def ShareableList(self, sequence: Iterable[Any]) -> shared_memory.ShareableList:  # noqa: N802
        """A new ShareableList of these values."""
        made: shared_memory.ShareableList = self._tracked(lambda: shared_memory.ShareableList(sequence))
        return made

    def _tracked(self, make: Callable[[], Any]) -> Any:
        if self._is_here:
            assert self._state.value == State.STARTED, "the manager has shut down"
            made = make()
            self._made.append(getattr(made, "shm", made))
            return made
        with self._Client(self._address, authkey=self._authkey) as connection:
            made = make()
            memory = getattr(made, "shm", made)
            try:
                standard.dispatch(connection, None, "track_segment", (memory.name,))
            except BaseException:
                memory.unlink()
                raise
        return made

    def _left_at_the_end(self) -> list[Any]:
        self._made: list[Any] = []
        return self._made


__getattr__ = face(__name__)
