"""Benchmarks of hitrate beside its npm peer. See README.md."""
