"""HTTP toolkit that knows no feature: ASGI types, errors, Litestar setup, HTML, forms, cookies."""
