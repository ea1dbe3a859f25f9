"""The artifact cache: routes, index, bodies, eviction and garbage collection."""
