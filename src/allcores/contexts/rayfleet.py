"""A Ray cluster, as a process of the program sees it; and the actors that work for it there."""

from __future__ import annotations

import itertools
import os
import pickle
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from allcores.cluster import link as links
from allcores.cluster import remote
from allcores.cluster.seams import Job, Setup
from allcores.contexts.raybox import Box
from allcores.contexts.raylink import HOSTS, MOST_WAITING, HostsActor, RayLink, attend
from allcores.contexts.raywatch import Calls, Watch, first_line, when_done
from allcores.errors import ClusterDied

if TYPE_CHECKING:
    from allcores.cluster.link import Origin
    from allcores.cluster.seams import Reports, Team

__all__ = ("Blob", "RayFleet", "Resident")

# How long a cluster that others have started may be unreachable: Ray itself gives up after 60 s, and ends the program.
_PATIENCE = 30.0


class Blob:
    """A buffer that Ray carries without a copy of ours."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return Blob, (pickle.PickleBuffer(self.data),)


class Resident:
    """An actor of ours: a worker of pools, one after the other, or who starts processes beside itself."""

    def __init__(self, cluster: str, options: dict[str, Any], hosts: Any) -> None:
        self._node = ray.get_runtime_context().get_worker_id()
        self._link = RayLink(cluster, self._node, hosts)
        links.register(self._link, "ray", options)
        self._never = attend(hosts, self._node)
        self._options = options
        self._box: Box | None = None

    def who(self) -> tuple[str, int, Box, list[Any]]:
        """Its node, its pid, where it is asked, and a value that never comes."""
        if self._box is None:
            self._box = Box((self._link.cluster, "ray", self._options))
            self._box.listen()
        return self._node, os.getpid(), self._box, [self._never]

    def prepare(self, setup: tuple[Any, ...]) -> tuple[Any, ...]:
        self._setup = Setup(*setup)
        return tuple(remote.prepare(self._setup))

    def work(self, told: bytes, *blobs: Blob) -> Any:
        """A task of the pool it was prepared for. ``told``: the Job, the keys of its buffers, and ``oldest`` of begin.

        All in one bytes object, as the answer is, if it has no large buffers: that Ray carries quickest.
        """
        parts, keys, oldest = pickle.loads(told)
        job = Job(*parts)
        if oldest:
            self._link.call(0, "begin", (self._setup.team, job.run, oldest))
        # What has no key is this task's own, to write into; what lies in the store is not.
        views = [bytearray(blob.data) if key is None else blob.data for key, blob in zip(keys, blobs, strict=True)]
        answer = remote.work(self._setup, job, list(zip(keys, views, strict=True)))
        if answer.buffers:
            return tuple(answer._replace(buffers=[Blob(each) for each in answer.buffers]))
        return pickle.dumps(tuple(answer), 5)

    def forget(self, team: str) -> None:
        remote.forget(team)

    def launch(self, *how: Any) -> int:
        from allcores.cluster import launching

        return launching.launch(*how)


class RayFleet:
    """See ``seams.Fleet``."""

    def __init__(self, head: Any, connected: bool) -> None:
        self.head, self._connected, self.near = head, connected, head is not None
        context = ray.get_runtime_context()
        self.options: dict[str, Any] = {"address": context.gcs_address, "namespace": context.namespace}
        self._closed = False
        self.hosts = (
            ray.remote(HostsActor)
            .options(name=HOSTS, get_if_exists=True, num_cpus=0, max_concurrency=MOST_WAITING)
            .remote()
        )
        self.cluster = f"ray-{self.hosts._actor_id.hex()}"
        known = links.known(self.cluster)  # that of a worker, or of a process beside it
        if known is None:
            node = f"{context.get_job_id()}-{context.get_worker_id()}"
            known = RayLink(self.cluster, node, self.hosts)
            self._never = attend(self.hosts, node)
            links.register(known)
        self.link: links.Link = known
        self._calls = known.calls if isinstance(known, RayLink) else Calls()
        self._node: str = context.get_node_id()
        self._resident = ray.remote(num_cpus=0, enable_task_events=False)(Resident)
        self._idle: list[Any] = []  # residents that no pool has
        self._besides: dict[str, Any] = {}  # node of Ray -> the resident that starts processes there
        self._placed = itertools.count()
        self._lock = threading.RLock()
        self._teams: weakref.WeakSet[Any] = weakref.WeakSet()
        self.lost: ClusterDied | None = None
        self._leaving: threading.Thread | None = None
        when_done(self.hosts.never.remote(), lambda error: self._lose(first_line(error)))
        self._watch: Watch | None = None
        if links.home("ray") is None or connected:  # else this process ends with its cluster
            self._watch = Watch(context.gcs_address, 0 if head is not None else _PATIENCE, self._lose)

    def _lose(self, why: str) -> None:
        """The cluster has ended, or the hosts, and with them the program's part of it."""
        with self._lock:
            if self._closed or self.lost is not None:
                return
            self.lost = ClusterDied(f"the Ray cluster at {self.options['address']} is gone: {why}")
            self._leaving = threading.Thread(target=self._give_up, name="allcores-leaving", daemon=True)
            self._leaving.start()  # whoever sees that it is lost may wait for this

    def _give_up(self) -> None:
        assert self.lost is not None
        self._calls.lose(self.lost)
        for team in list(self._teams):
            team.lose(self.lost)
        if self._connected:  # else Ray would end this process, in a minute
            ray.shutdown()

    @property
    def origin(self) -> Origin:
        """Where its objects live."""
        return self.cluster, "ray", self.options

    def slots(self) -> int:
        if self.lost is not None:
            raise self.lost
        if self.head is not None:
            return int(self.head.workers)
        return int(ray.cluster_resources().get("CPU", 0)) or 1

    def recruit(self, size: int, setup: Setup, reports: Reports) -> Team:
        from allcores.contexts.rayteam import RayTeam

        slots = self.slots()
        team = RayTeam(self, size if self.head is not None else min(size, slots), setup, reports)
        self._teams.add(team)
        return team

    # Residents.

    def resident(self) -> Any:
        """One for a pool."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        # Not elsewhere: if the node has died meanwhile, this is a worker that dies, and is replaced.
        return self._make(scheduling_strategy=NodeAffinitySchedulingStrategy(self._next_node(), soft=False))

    def _next_node(self) -> str:
        """In turn, each as often as it has cores: Ray itself puts actors that ask for none wherever it likes."""
        if self.head is not None:
            return self._node
        alive = [each for each in ray.nodes() if each["Alive"]]
        turns = sorted((i, each["NodeID"]) for each in alive for i in range(int(each["Resources"].get("CPU", 0))))
        turns = turns or sorted((0, each["NodeID"]) for each in alive)
        node: str = turns[next(self._placed) % len(turns)][1]
        return node

    def _make(self, **how: Any) -> Any:
        return self._resident.options(**how).remote(self.cluster, self.options, self.hosts)

    def give_back(self, residents: list[Any], team: str) -> None:
        """They have nothing to do. As many as there are cores stay for the next pool."""
        with self._lock:
            room = 0 if self._closed or self.lost else max(self.slots() - len(self._idle), 0)
            for resident in residents[:room]:
                resident.forget.remote(team)
            self._idle += residents[:room]
        for resident in residents[room:]:
            ray.kill(resident)

    def launch(self, origin: Origin, ending: int, name: str, path: list[str], made: bytes) -> int:
        if self.lost is not None:
            raise self.lost
        node = self._next_node()
        for last in (False, True):
            with self._lock:
                if self.lost is not None:
                    raise self.lost
                if node not in self._besides:
                    where = NodeAffinitySchedulingStrategy(node, soft=True)
                    self._besides[node] = self._make(scheduling_strategy=where, max_concurrency=16)
                beside = self._besides[node]
            try:
                pid: int = self._calls.carry(partial(beside.launch.remote, origin, ending, name, path, made)).result()
                return pid
            except ClusterDied:  # or only that one is
                with self._lock:
                    if self._besides.get(node) is beside:
                        del self._besides[node]
                if last:
                    raise
        raise AssertionError("not reached")

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self._leave()
        finally:
            if self.head is not None:
                self.head.close()

    def _leave(self) -> None:
        if isinstance(self.link, RayLink) and links.home("ray") is None:
            links.unregister(self.cluster)
            if not self._connected and self.lost is None:
                for actor in (*self._idle, *self._besides.values(), self.hosts):
                    ray.kill(actor)
            self.link.close()
        if self._watch is not None:
            self._watch.close()
        if self._leaving is not None:
            self._leaving.join()
        elif self._connected:
            ray.shutdown()
