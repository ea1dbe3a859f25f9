"""Cache usage events: validation, durable spool, loader and event store."""
