"""The pool: map and its kin over the workers of any context."""
