"""Owns calling the real `@vercel/sdk` from Python; sdk.mjs is its other half."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.node_packages import Clients
from tests.support.server import Server

DRIVER = Path(__file__).with_name("vercel_sdk.mjs")
DRIVER_TIMEOUT_S = 60


@dataclass
class Sdk:
    """The real SDK; calls are gathered, and made in order when their outcomes are asked for.

    They go to `url` if it is given, which leads to the server.
    """

    clients: Clients
    server: Server
    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def call(self, operation: str, **request: Any) -> None:
        self.calls.append({"operation": operation, "request": request})

    def upload(self, name: str, content: bytes, *, stream: bool = False, **facts: Any) -> None:
        body = {"base64": base64.b64encode(content).decode(), "stream": stream}
        self.call(
            "uploadArtifact", hash=name, contentLength=len(content), requestBody=body, **facts
        )

    def outcomes(self) -> list[dict[str, Any]]:
        told = {
            "folder": str(self.clients.folder),
            "server": self.url or self.server.url,
            "token": self.server.token,
            "calls": self.calls,
        }
        done = subprocess.run(
            [str(self.clients.node), str(DRIVER)],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=DRIVER_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outcomes: list[dict[str, Any]] = json.loads(done.stdout)
        return outcomes

    def values(self) -> list[Any]:
        """The outcomes of calls which all succeed."""
        outcomes = self.outcomes()
        assert [outcome["error"] for outcome in outcomes if "error" in outcome] == []
        return [outcome["value"] for outcome in outcomes]
