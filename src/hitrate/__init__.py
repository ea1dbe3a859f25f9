"""hitrate: a self-hosted Turborepo Remote Cache that keeps every cache usage event."""

__version__ = "0.1.0"
