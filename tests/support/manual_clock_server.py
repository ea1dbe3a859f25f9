"""A hitrate server in the test process, whose clock the test controls."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from hitrate.app.serve import create_http_server
from hitrate.app.wiring import App
from hitrate.clock import ManualClock
from hitrate.config import Settings
from tests.support.server import Server, eventually


class ManualClockServer(Server):
    """A server on a thread with an event loop of its own.

    Artifacts do not expire, unless `artifact_ttl_s` is passed: the clock may jump by weeks.
    """

    def __init__(self, data_dir: Path, clock: ManualClock, **settings: Any) -> None:
        super().__init__(data_dir)
        self._settings = {"artifact_ttl_s": None, **settings}
        self.clock = clock
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._stop: Callable[[], object] = lambda: None

    def start(self) -> None:
        self.data_dir.mkdir(exist_ok=True)
        self._thread.start()
        eventually(self._is_alive)

    def kill(self) -> None:
        self._stop()
        self._thread.join()

    async def _serve(self) -> None:
        settings = Settings(data_dir=self.data_dir, port=self.port, **self._settings)
        app = App(settings, self.clock)
        http = create_http_server(await app.startup(), settings)
        loop = asyncio.get_running_loop()
        self._stop = partial(loop.call_soon_threadsafe, http.stop)
        try:
            await http.serve()
        finally:
            await app.shutdown()

    def _is_alive(self) -> bool:
        assert self._thread.is_alive()
        try:
            return self._client().get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False
