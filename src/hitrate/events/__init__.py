"""The heart: every cache usage event, from the request to the event store, none lost or doubled."""
