"""Explicit-state models of the protocols in shared memory: every interleaving of small cases, as tests."""
