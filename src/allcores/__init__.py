"""allcores: Process, Thread, Queue, Pool, Value, Array and Lock on a shared-memory core.

``import allcores as mp`` is the process context; ``allcores.get_context("serial" | "thread" | "process")``, or the
environment variable ``ALLCORES_CONTEXT``, runs the same program elsewhere. Nothing is imported before it is used.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

# name -> module that has it.
_LAZY = {
    "Context": "context",
    "DefaultContext": "context",
    "get_all_contexts": "context",
    "get_context": "context",
    **dict.fromkeys(
        (
            "BufferTooShort",
            "CheckpointError",
            "CheckpointMismatch",
            "ConsumerDied",
            "DeadlockError",
            "ExecutorBroken",
            "ExecutorWorkerDied",
            "InitializerFailed",
            "NotSupported",
            "OwnerDied",
            "PoolTerminated",
            "RemoteTraceback",
            "TaskTimeout",
            "TimeoutError",
        ),
        "errors",
    ),
    **dict.fromkeys(("UnpicklableError", "UsageError", "WorkerDied", "WouldBlockForever"), "errors"),
    "Failure": "failure",
    "install": "installed",
    "uninstall": "installed",
    "item_seed": "seeds",
    "Comparison": "comparison",
    "compare": "comparison",
    "worker_state": "pool.state",
    "PoolStatistics": "pool.statistics",
    "Statistics": "usage",
    "statistics": "usage",
}

# What `import allcores as mp` has of the default context.
_OF_DEFAULT_CONTEXT = (
    *(
        "Array",
        "Barrier",
        "BoundedSemaphore",
        "Condition",
        "Event",
        "Executor",
        "JoinableQueue",
        "Lock",
        "Manager",
        "Pipe",
        "Pool",
        "Process",
        "Queue",
        "RLock",
        "RawArray",
        "RawValue",
        "Semaphore",
        "SharedArray",
        "SimpleQueue",
    ),
    *("Thread", "Value", "active_children", "cpu_count", "current_process", "share", "wait"),
)

# And what is said of start methods and of the logger, which begins nothing yet.
_SETTINGS = (
    *("AuthenticationError", "ProcessError", "allow_connection_pickling", "freeze_support", "get_all_start_methods"),
    *("get_logger", "get_start_method", "log_to_stderr", "parent_process", "reducer", "set_executable"),
    *("set_forkserver_preload", "set_start_method"),
)

# Modules under the standard's names: no need to import them by name.
_MODULES = (
    *("connection", "context", "dummy", "managers", "pool", "process", "queues", "reduction", "shared_memory"),
    *("sharedctypes", "synchronize", "util"),
)

__all__ = tuple(sorted((*_LAZY, *_OF_DEFAULT_CONTEXT, *_SETTINGS)))


def __getattr__(name: str) -> Any:
    import importlib

    if name in _OF_DEFAULT_CONTEXT or name in _SETTINGS:
        from allcores.context import default_context

        value = getattr(default_context if name in _SETTINGS else default_context.prepared(), name)
    elif name in _LAZY:
        value = getattr(importlib.import_module(f"allcores.{_LAZY[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"allcores.{name}")
    else:
        raise AttributeError(f"module 'allcores' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
