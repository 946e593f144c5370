"""The cluster contexts beyond the contract. Where an engine is not installed, its tests are skipped."""
