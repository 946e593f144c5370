"""The peers: one line each in the table, and one file for each library, which alone imports it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

_DEFAULT = "with the default start method of this Python, but where one is named"
_ONE_BY_ONE = "its map sends items one by one unless told otherwise"
_KEPT = "its workers outlive the call, so a pool that is not the first is not created"
_BUFFER = "with a buffer of 256 MB for the arrays, as its default of 1 MB takes none"


@dataclass(frozen=True, slots=True)
class Peer:
    """One way to do the operations."""

    name: str
    """What the tables show."""
    module: str
    """The library it needs."""
    implementation: str
    """module:class in this package."""
    distribution: str = ""
    """What to install, and to ask for its version; empty for the standard library."""
    arguments: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    """The methods it is asked for; empty for all that its class has."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Items of a full run of an operation where the usual number would take many seconds."""
    note: str = ""
    """What a reader of the tables should know about how it was used."""

    @property
    def family(self) -> str:
        """The name by which --peers selects it: the start methods of multiprocessing go together."""
        return self.name.split(" ")[0]

    def offers(self, method: str) -> bool:
        """Whether it has the method; asked without importing the library."""
        if self.only and method not in self.only:
            return False
        return hasattr(_class_of(self), method)

    def missing(self) -> str:
        """Why it cannot run here; empty if it can."""
        if find_spec(self.module) is not None:
            return ""
        return f"not installed: pip install '{self.distribution or self.module}'"


def _class_of(peer: Peer) -> Any:
    module, name = peer.implementation.split(":")
    return getattr(import_module(f"bench.peers.{module}"), name)


def _standard(method: str) -> Peer:
    return Peer(
        f"multiprocessing ({method})",
        "multiprocessing",
        "mplike:Standard",
        arguments=(method,),
        only=("pool", "classic"),
    )


# For those that need a hundred microseconds and more for a task.
_FEWER = {"map": 20_000}
# For those whose tasks go through a scheduler, at a millisecond and more.
_FEWEST = {"apply": 200, "apply_async": 1_000, "imap": 1_000, "map": 2_000}
_FEWEST_QUEUE = {"queue_pingpong": 100, "queue_ints": 500, "dicts": 500}

PEERS = (
    Peer("allcores", "allcores", "mplike:Allcores", "allcores"),
    Peer("multiprocessing", "multiprocessing", "mplike:Standard", note=_DEFAULT),
    _standard("fork"),
    _standard("forkserver"),
    _standard("spawn"),
    Peer("concurrent.futures", "concurrent.futures", "futures:Standard", sizes=_FEWER, note=_ONE_BY_ONE),
    Peer("joblib", "joblib", "joblib:Joblib", "joblib", note=_KEPT),
    Peer("joblib (threading)", "joblib", "joblib:Joblib", "joblib", arguments=("threading",), only=("parallel",)),
    Peer("loky", "loky", "futures:Loky", "loky", sizes=_FEWER, note=_ONE_BY_ONE),
    Peer("mpire", "mpire", "mpire:Mpire", "mpire"),
    Peer("pebble", "pebble", "pebble:Pebble", "pebble", sizes=_FEWER, note=_ONE_BY_ONE),
    Peer("billiard", "billiard", "mplike:Billiard", "billiard"),
    Peer("faster-fifo", "faster_fifo", "faster_fifo:FasterFifo", "faster-fifo", note=_BUFFER),
    Peer("faster-fifo (get_many)", "faster_fifo", "faster_fifo:GetMany", "faster-fifo", only=("drain",)),
    Peer("dask.distributed", "distributed", "dask:Dask", "dask[distributed]", sizes=_FEWEST | _FEWEST_QUEUE),
    Peer("ray", "ray", "ray:Ray", "ray", sizes=_FEWEST | _FEWEST_QUEUE | {"map": 100_000}),
)


def create(name: str) -> Any:
    """The implementation of this name, its library imported, nothing started."""
    peer = next(peer for peer in PEERS if peer.name == name)
    return _class_of(peer)(*peer.arguments)
