"""The contexts: one file for each place where work runs."""
