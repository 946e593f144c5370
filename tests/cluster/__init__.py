"""The cluster contexts: what the contract does not say of them. Where an engine is not installed, its tests are skipped."""
