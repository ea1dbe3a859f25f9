"""The HTTP server process: granian on the event loop, signals, and garbage collector tuning."""

import asyncio
import gc
import signal

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.server.embed import Server as Granian

from hitrate import log
from hitrate.app.router import Router
from hitrate.app.wiring import App
from hitrate.config import Settings

SHUTDOWN_GRACE_S = 5
"""How long requests in flight may take at shutdown; unfinished ones are cancelled."""

_log = log.get_logger("app")


def create_http_server(app: Router, settings: Settings) -> Granian:
    """Create the HTTP server for an app; it runs on the caller's event loop."""
    return Granian(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1024,
        log_enabled=False,
        ssl_cert=settings.tls_cert,
        ssl_key=settings.tls_key,
        ssl_protocol_min=SSLProtocols.tls12,
    )


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, finish the requests in flight, then shut down."""
    app = App(settings)
    router = await app.startup()
    try:
        http = create_http_server(router, settings)
        http.workers_kill_timeout = SHUTDOWN_GRACE_S
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, http.stop)
        _tune_gc()
        _log.info("serving", host=settings.host, port=settings.port, data=str(settings.data_dir))
        await _serve_http(http)
    finally:
        await app.shutdown()
        gc.unfreeze()
        _log.info("stopped")


async def _serve_http(http: Granian) -> None:
    try:
        await http.serve()
    except TimeoutError:
        _log.warning("requests were still in flight when the server stopped")


def _tune_gc() -> None:
    """Turn the cyclic garbage collector on again, and make it run rarely.

    Requests create no reference cycles, and with default thresholds it took 5% of the CPU time.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    gc.enable()
