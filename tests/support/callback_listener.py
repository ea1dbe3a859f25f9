"""A local HTTP server that receives the browser at the end of a login, as `turbo login` does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class CallbackListener:
    """Records the query parameters of each request in `queries`, oldest first."""

    def __init__(self) -> None:
        self.queries: list[dict[str, list[str]]] = []
        queries = self.queries

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if "favicon" not in self.path:
                    queries.append(parse_qs(urlsplit(self.path).query))
                self.send_response(200)
                self.send_header("content-type", "text/plain")
                self.end_headers()
                self.wfile.write(b"back")

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def start_callback_listener() -> Iterator[CallbackListener]:
    """Run a listener on a free port."""
    listener = CallbackListener()
    thread = threading.Thread(target=listener.server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join()
        listener.server.server_close()
