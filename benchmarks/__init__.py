"""Benchmarks of hitrate next to its npm peer. See README.md."""
