"""Start methods, as the standard library has them: what every context says of them, and what can be set."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from allcores import base, chosen
from allcores.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from logging import Logger

__all__ = ("StartMethods",)


class _Error:
    """One of the errors, as the standard's contexts have them: imported when it is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, context: object, _owner: type | None = None) -> Any:
        return self if context is None else getattr(importlib.import_module(self._module), self._name)


class StartMethods:
    """How processes start, and what the standard's logger says of it: the part of a context that is about that.

    ``forkserver`` and ``spawn`` are the same here: a process of its own, small and with one thread, forks all others.
    ``fork`` forks the calling process.
    """

    name: str
    _start_method: str | None = None  # where there are processes

    AuthenticationError = _Error("multiprocessing")
    BufferTooShort = _Error("allcores.errors")
    ProcessError = _Error("multiprocessing")
    TimeoutError = _Error("allcores.errors")

    def get_start_method(self, allow_none: bool = False) -> str | None:
        """The start method of this context; its name where there is none.

        Args:
            allow_none: of no effect; see ``DefaultContext``.
        """
        return self._start_method or self.name

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Not possible: this context has one. ``allcores.set_start_method`` sets that of the program."""
        raise UsageError(f"cannot set the start method of the {self.name} context: use allcores.set_start_method()")

    def get_all_start_methods(self) -> list[str]:
        """All that there are: ``fork``, ``spawn`` and ``forkserver``."""
        return list(chosen.METHODS)

    def parent_process(self) -> Any:
        """A Process-like object of the process that started this one; None in the main process."""
        return base.parent_process()

    def freeze_support(self) -> None:
        """Be what this process was started for, in a program that is frozen into an executable. Else do nothing.

        Such a program calls it first thing in its main module: started by a process of its own it does not return.
        """
        from allcores import spawn

        spawn.freeze_support()

    def allow_connection_pickling(self) -> None:
        """Do nothing: connections and sockets can be pickled anyway."""

    def set_executable(self, executable: str | bytes | os.PathLike[str]) -> None:
        """Set the interpreter that processes run in, for a program that embeds Python; by default ``sys.executable``.

        To be called before the first process is started: those that are there stay what they are, and so do all that
        are started beside them. The ``fork`` start method has no use for it.
        """
        from allcores import renewal

        renewal.set_executable(executable)

    def set_forkserver_preload(self, module_names: Iterable[str]) -> None:
        """Set the names of modules that are to be imported once, by the process that forks the others.

        A hint: what cannot be imported is left out. It is done when the next process is started and none is there.

        Raises:
            TypeError: it is no list of strings.
        """
        from allcores import preload

        preload.ask_for(module_names)

    def get_logger(self) -> Logger:
        """The logger of ``multiprocessing``, the standard's own."""
        from multiprocessing import util

        return util.get_logger()

    def log_to_stderr(self, level: int | None = None) -> Logger:
        """Have that logger write to stderr, here and in the processes that are started from now on; the logger.

        Args:
            level: from which level on.
        """
        from multiprocessing import util

        return util.log_to_stderr(level)

    @property
    def reducer(self) -> Any:
        """The standard's ``multiprocessing.reduction``: how what is registered there is pickled, it is here too."""
        import multiprocessing.context

        return multiprocessing.context.reduction  # type: ignore[attr-defined] # what can be set is there

    @reducer.setter
    def reducer(self, reduction: Any) -> None:
        import multiprocessing.context

        multiprocessing.context.reduction = reduction  # type: ignore[attr-defined]
