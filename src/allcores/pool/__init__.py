"""The pool: map and its kin over the workers of any context."""

from __future__ import annotations

from allcores.faces import face

__all__ = ("Pool", "ThreadPool")

__getattr__ = face(
    __name__,
    {
        "Pool": "allcores.pool.pool Pool",
        "ThreadPool": "allcores.contexts.threadpool ThreadPool",
        "ApplyResult": "allcores.pool.results AsyncResult",
        "AsyncResult": "allcores.pool.results AsyncResult",
        "MapResult": "allcores.pool.results MapResult",
        "IMapIterator": "allcores.pool.imap IMapIterator",
        "MaybeEncodingError": "allcores.errors UnpicklableError",
        "RemoteTraceback": "allcores.errors RemoteTraceback",
        **{name: f"multiprocessing.pool {name}" for name in ("CLOSE", "INIT", "RUN", "TERMINATE")},
    },
    rest=False,
)
