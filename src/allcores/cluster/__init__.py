"""What a cluster context is made of, whatever the engine: it knows neither dask nor ray.

    program ── objects ── Link.call ──▶ Hosts (asyncio, one per cluster)      locks, queues, values, ...
            ── ClusterCrew ── Team.send ──▶ engine ──▶ remote.work() in some worker
                     ▲────── Reports.answered / died / lost ──────────┘
            ── Process ── Fleet.launch ──▶ a process in the cluster ── Told ──▶ its exit code and outcome

An engine brings three things (``seams``): a ``Fleet``, which starts or finds the cluster and sends work; a ``Link``,
which carries calls to ``Hosts``, and in some process of the cluster a ``Hosts`` that is told of deaths. Everything else
is here: the vocabulary, what runs in a worker, the crew below a pool.
"""
