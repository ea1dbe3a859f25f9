"""Composition root: wiring, router, health, OpenAPI document and the HTTP server."""
