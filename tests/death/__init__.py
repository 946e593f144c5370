"""Whole programs that are killed, interrupted, starved or stopped, and what is left of them."""
