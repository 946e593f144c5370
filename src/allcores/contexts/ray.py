"""The ray context: work runs on a cluster of Ray.

    program ── RayFleet ── RayTeam ── call ──▶ Resident, an actor for each worker: remote.work
            ── RayLink ── call ──▶ HostsActor, one for each program: Hosts ◀── call ── RayLink of a Resident
            ── launch ──▶ Resident of a node ──▶ a process beside it

Ray runs one connection in a process: where the program has one (``ray.init``), that is used, and left open.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import threading
import uuid
from typing import TYPE_CHECKING, Any

from allcores.cluster import link as links
from allcores.cluster.context import ClusterContext
from allcores.contexts import thread
from allcores.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allcores.contexts.rayfleet import RayFleet

__all__ = ("RayContext",)

if importlib.util.find_spec("ray") is None:
    raise UsageError("get_context('ray') needs Ray: pip install 'allcores[ray]'")


class RayContext(ClusterContext):
    """Work runs on a cluster of Ray.

    Args:
        address: of its head, as ``host:6379``, or ``auto``. Without one the program's own connection is used if it has
            called ``ray.init``; else a cluster of this machine is started at the first use, on the loopback only: with
            ``cpu_count()`` workers, and more when a pool asks for more. It ends with the program. In a worker of a
            cluster it is that one.
        namespace: Ray's. Programs that name the same have their locks, queues, ... in common, as long as the first of
            them lives. By default each program has its own.

    TLS and authentication are Ray's own: by its variables ``RAY_USE_TLS`` and ``RAY_TLS_…``, ``RAY_AUTH_…``.
    """

    name = "ray"
    OPTIONS = ("address", "namespace")
    Thread = thread.Thread

    def __init__(self, *, address: str | None = None, namespace: str | None = None) -> None:
        given = {"address": address, "namespace": namespace}
        super().__init__(**{k: v for k, v in given.items() if v is not None})
        self._address, self._namespace = address, namespace

    def _found(self) -> RayFleet:
        import ray

        from allcores.contexts.rayfleet import RayFleet

        if self._of_parent is not None:
            raise UsageError(
                "this process was forked from one that is connected to Ray, which Ray has no way to go on from: start "
                "it by forkserver or spawn, or fork before the first use"
            )
        if ray.is_initialized():
            self._check_connection(ray)
            return RayFleet(None, connected=False)
        address, namespace, head = self._address, self._namespace, None
        if address is None and (here := links.home(self.name)) is not None:  # of a process beside a worker
            address, namespace = here[2]["address"], here[2]["namespace"]
        if address is None:
            from allcores.contexts.rayhead import Head

            head = Head(self.cpu_count())
            address = head.address
        try:
            _connect(ray, address, namespace or uuid.uuid4().hex)
        except BaseException:
            if head is not None:
                head.close()
            raise
        return RayFleet(head, connected=True)

    def _check_connection(self, ray: Any) -> None:
        """A process has one connection to Ray, and one only."""
        now = ray.get_runtime_context()
        for asked, there in ((self._address, now.gcs_address), (self._namespace, now.namespace)):
            if asked not in (None, "auto", there):
                raise UsageError(
                    f"this process is connected to Ray at {now.gcs_address}, in the namespace {now.namespace!r}, and "
                    f"cannot be to {asked!r} as well: close() that context, or ray.shutdown(), first"
                )


def _connect(ray: Any, address: str, namespace: str) -> None:
    """Connect this process. Its handler of SIGTERM stays what it is, and so does what ``breakpoint()`` begins."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of what will change in Ray
    before, debugger = signal.getsignal(signal.SIGTERM), os.environ.get("PYTHONBREAKPOINT")
    try:
        with _on_loopback(ray, address):
            ray.init(address=address, namespace=namespace, logging_level="ERROR")
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
        if debugger is None:
            os.environ.pop("PYTHONBREAKPOINT", None)
        else:
            os.environ["PYTHONBREAKPOINT"] = debugger


@contextlib.contextmanager
def _on_loopback(ray: Any, address: str) -> Iterator[None]:
    """For a cluster that is on the loopback only, as ours are: Ray takes 127.0.0.1 for this machine's other address.

    Such a one asks for the token of its user (``~/.ray/auth_token``), if ``RAY_AUTH_MODE`` does not say otherwise.
    """
    from ray import _raylet
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    host, _, port = address.rpartition(":")
    if before and host == "127.0.0.1":  # else it does not anyway: in a process of such a cluster
        with socket.socket() as probe:
            ray_constants.ENABLE_RAY_CLUSTER = probe.connect_ex((ray.util.get_node_ip_address(), int(port))) == 0
        if not ray_constants.ENABLE_RAY_CLUSTER:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            _raylet.Config.initialize("")  # it is asked for once else
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
