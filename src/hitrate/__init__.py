"""hitrate: a self-hosted Turborepo Remote Cache that records every cache usage event."""

__version__ = "0.1.0"
