"""Explicit-state models of the protocols in shared memory: every interleaving of small cases, as tests.

    explore     all reachable states of a model        cases       what the tests do with one
    ring        put and get, chains, pools             recovery    deaths in them, and head put back
    parking     sleepers and wake-ups                  disturb     deaths among them
    blocks      blocks that travel with messages       objects     shared objects, until the last holder
    locking     owners, poison, signals                permits     a bounded semaphore's
    conditions  waiters and notifies                   deaths      who recovers, one at a time

Each is by itself, with the others as single steps where it needs them. In none of them: weaker memory orders (all is
sequentially consistent), processes that are stopped rather than dead, counts that wrap round, the bitmaps of hints, and
memory that runs out. Of `blocks`, the ring's order; of `locking`, recursion; of `permits` and `conditions`: the code is
to follow.
"""
