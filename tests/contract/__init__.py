"""The contract: one suite that every context has to pass."""
