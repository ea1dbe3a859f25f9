"""Runs calls of the real `@vercel/sdk` from Python, through vercel_sdk.mjs."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.node_packages import NodePackages
from tests.support.server import Server

DRIVER = Path(__file__).with_name("vercel_sdk.mjs")
DRIVER_TIMEOUT_S = 60


@dataclass
class SdkBatch:
    """Calls that run in order, in one Node process, when their outcomes are requested.

    They are sent to `url`, by default the server's.
    """

    packages: NodePackages
    server: Server
    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)

    def call(self, operation: str, **request: Any) -> None:
        """Add a call."""
        self.calls.append({"operation": operation, "request": request})

    def upload(self, name: str, content: bytes, *, stream: bool = False, **options: Any) -> None:
        """Add an upload."""
        body = {"base64": base64.b64encode(content).decode(), "stream": stream}
        self.call(
            "uploadArtifact", hash=name, contentLength=len(content), requestBody=body, **options
        )

    def outcomes(self) -> list[dict[str, Any]]:
        """Run the calls and return one `{"value": ...}` or `{"error": ...}` for each."""
        batch = {
            "packagesDir": str(self.packages.directory),
            "server": self.url or self.server.url,
            "token": self.server.token,
            "calls": self.calls,
        }
        process = subprocess.run(
            [str(self.packages.node), str(DRIVER)],
            input=json.dumps(batch),
            capture_output=True,
            text=True,
            timeout=DRIVER_TIMEOUT_S,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        outcomes: list[dict[str, Any]] = json.loads(process.stdout)
        return outcomes

    def values(self) -> list[Any]:
        """Run the calls, which must all succeed, and return their values."""
        outcomes = self.outcomes()
        assert [outcome["error"] for outcome in outcomes if "error" in outcome] == []
        return [outcome["value"] for outcome in outcomes]
