"""Demo team with simulated runs.

`monorepo`, `shared_cache` and `simulator` simulate a monorepo and its runs. `loader` and `create`
write the runs to a data directory.
"""
