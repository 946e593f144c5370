"""Log records of workers, which are handled where the pool was made.

    worker   logger ──▶ root's handler ── what makes the record ──▶ channel
    parent                                                           └──▶ the logger of that name, with all its handlers

``logging`` is not imported for this: whoever imports it in a worker finds the handler there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from allcores import codec
from allcores.onimport import WhenImported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Sent", "begin_in_fork", "forget", "forward", "handle", "handlers", "levels")

# Until `logging` is imported in a worker.
_awaiting: WhenImported | None = None

# Which loggers log what: of the root and of all that have a level of their own; and what `logging.disable` says.
Levels = tuple[int, dict[str, int]]


def levels() -> Levels | None:
    """Those of this process; None if it does not use ``logging``."""
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    named = {"": logging.root.level}
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if getattr(logger, "level", 0):  # else it goes by the one above it, or is none itself
            named[name] = logger.level
    return logging.root.manager.disable, named


def forward(like: Levels | None, name: str, send: Callable[[Sent], object]) -> None:
    """In a worker: give what makes each record to ``send``, at once or from the import of ``logging`` on.

    Args:
        like: the levels that its loggers are to have, so that what the parent does not want costs nothing here.
        name: of the worker, for the records.
        send: must not log.
    """

    global _awaiting

    def install(logging: Any) -> None:
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            for each in [each for each in getattr(logger, "handlers", ()) if each in _parents]:
                logger.removeHandler(each)
        logging.root.addHandler(_make_handler(logging, name, send))
        _leave_to_the_user(logging)
        if like is not None:
            disabled, named = like
            logging.disable(disabled)
            for each, level in named.items():
                logging.getLogger(each or None).setLevel(level)

    if "logging" in sys.modules:
        install(sys.modules["logging"])
    else:
        _awaiting = WhenImported(lambda module: module == "logging", lambda module: install(sys.modules[module]))
        _awaiting.watch()


def forget() -> None:
    """In a worker whose pool has ended: loggers have the levels that they have in a program that has set none."""
    global _ours
    if _awaiting is not None:  # it is imported once: none is left behind in this process for the next pool
        _awaiting.stop()
    logging = sys.modules.get("logging")
    if logging is None:
        return
    if _ours is not None:
        logging.root.removeHandler(_ours)
        _ours = None
    logging.disable(logging.NOTSET)
    for logger in logging.root.manager.loggerDict.values():
        if getattr(logger, "level", 0):
            logger.setLevel(logging.NOTSET)
    logging.root.setLevel(logging.WARNING)


def begin_in_fork() -> None:
    """In a fork: the handlers that are there are its parent's; where records go to that, they handle them there."""
    _parents[:] = handlers()


def handlers() -> list[Any]:
    """Of the loggers of this process, whoever has added them."""
    logging = sys.modules.get("logging")
    if logging is None:
        return []
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    found = [each for logger in loggers for each in getattr(logger, "handlers", ())]
    return [each for each in found if not isinstance(each, logging.NullHandler)]


class Sent(NamedTuple):
    """A record as it travels, as a plain tuple: small, so that most fit into the cell of a message."""

    name: str
    levelno: int
    pathname: str
    lineno: int
    function: str | None
    message: str
    exc_text: str | None
    stack_info: str | None
    created: float
    process: int | None
    process_name: str
    thread: int | None
    thread_name: str | None
    more: dict[str, Any] | None  # given by `extra=`, and names of levels that are not the usual


def handle(sent: tuple[Any, ...]) -> None:
    """In the parent: handle a record as if it were logged here, if this process logs such."""
    import logging

    told = Sent(*sent)
    logger = logging.getLogger(told.name)
    if not logger.isEnabledFor(told.levelno):
        return
    make = logging.getLogRecordFactory()
    at = told.name, told.levelno, told.pathname, told.lineno
    record = make(*at, told.message, None, None, told.function, told.stack_info)
    later = told.created - record.created
    record.created, record.msecs = told.created, told.created % 1 * 1000
    record.relativeCreated += later * 1000
    record.exc_text = told.exc_text
    record.process, record.processName = told.process, told.process_name
    record.thread, record.threadName = told.thread, told.thread_name
    record.__dict__.update(told.more or {})
    logger.handle(record)


_ours: Any = None  # the handler of this process, which is a worker
_parents: list[Any] = []  # those that it was forked with


def _make_handler(logging: Any, name: str, send: Callable[[Sent], object]) -> Any:
    class Forwarder(logging.Handler):  # type: ignore[misc] # a module that is perhaps never imported has no types
        """Sends records to where the pool was made, unless the worker's own handlers have them."""

        def emit(self, record: Any) -> None:
            if _is_handled_here(logging, record.name):
                return
            try:
                send(_sent(record, name))
            except Exception:  # noqa: BLE001 - as all handlers do: what cannot be logged is no error of who logs
                self.handleError(record)

        def __repr__(self) -> str:
            return "<handler of allcores: to where the pool was made>"

    global _ours
    if _ours is not None:  # a worker that has worked for another pool
        logging.root.removeHandler(_ours)
    _ours = Forwarder()
    return _ours


def _is_handled_here(logging: Any, name: str) -> bool:
    """Whether the worker has handlers of its own for this: then they are what the user wants."""
    logger = logging.getLogger(name)
    while logger is not None:
        if any(each is not _ours and not isinstance(each, logging.NullHandler) for each in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _sent(record: Any, name: str) -> Sent:
    """Its message made, its exception a text."""
    exc_text = record.exc_text
    if record.exc_info and not exc_text:
        import traceback

        exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    more = {key: _sendable(value) for key, value in record.__dict__.items() if key not in _USUAL}
    if record.levelno not in _LEVELS:
        more["levelname"] = record.levelname
    at = record.name, record.levelno, record.pathname, record.lineno, record.funcName
    what = record.getMessage(), exc_text, record.stack_info, record.created
    return Sent(*at, *what, record.process, name, record.thread, record.threadName, more or None)


def _sendable(value: Any) -> Any:
    if type(value) not in _PLAIN:
        try:
            codec.dumps_kept(value)
        except Exception:  # noqa: BLE001 - it cannot travel: its text can
            return codec.short_repr(value)
    return value


# What all records have. The name of an asyncio task comes along like something extra.
_USUAL = frozenset(
    (
        *("name", "msg", "args", "levelname", "levelno", "pathname", "filename", "module", "exc_info", "exc_text"),
        *("stack_info", "lineno", "funcName", "created", "msecs", "relativeCreated", "thread", "threadName"),
        *("processName", "process", "message", "asctime"),
    )
)
_LEVELS = frozenset((10, 20, 30, 40, 50))
_PLAIN = frozenset((str, int, float, bool, type(None)))


def _leave_to_the_user(logging: Any) -> None:
    """``basicConfig`` does nothing where the root has a handler: ours is none that the user knows of."""
    configure = logging.basicConfig
    if configure.__module__ == __name__:
        return

    def basicConfig(**how: Any) -> None:  # noqa: N802 - its name
        if how and _ours is not None:
            logging.root.removeHandler(_ours)
        configure(**how)

    logging.basicConfig = basicConfig
