"""The benchmark: every operation of the published table, allcores beside its peers, in one run.

    python -m bench                       # from the root of the repository; `make bench` does the same

How one figure comes about:

    __main__ ── plan ──▶ run.py: operation by operation, round by round, peer by peer
                            │  one fresh program each: python -m bench.child PEER OPERATION SIZE FILE
                            ▼
                         child.py ──▶ measure.py times what peers/*.py offer, with the jobs of work.py
                            │
                            ▼
                         one number in FILE ──▶ report.py: JSON, and the Markdown tables for the docs

allcores imports nothing of this. `child.py`, `work.py` and this file stay light, because the start methods
`spawn` and `forkserver` of the standard library import them again in each worker, on its account.
"""
