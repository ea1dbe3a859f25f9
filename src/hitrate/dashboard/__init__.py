"""The pages on which people read what the cache does, and set its limits."""
