"""HTTP: the ASGI floor of the hot routes, the framework beside it, errors and documentation."""
