"""Runs `hitrate` commands that query a server, for a separate team on a shared server.

Also a fake server that returns any response.
"""

import json
import os
import pty
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from click.testing import Result

from tests.support.cli import error_line, run_cli
from tests.support.event_factory import body, event
from tests.support.server import Server, try_hitrate

NO_TURBO: dict[str, str | None] = dict.fromkeys(
    ("TURBO_API", "TURBO_TOKEN", "TURBO_TEAM", "TURBO_TEAMID")
)

Environment = Mapping[str, str | None]
UNCHANGED: Environment = {}

MISS_EVENTS = [
    {"source": "LOCAL", "event": "MISS", "duration": 0},
    {"source": "REMOTE", "event": "MISS", "duration": 0},
]


class RemoteCli:
    """The command line with turbo's variables, for a new team with one token."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.slug = f"team-{uuid.uuid4().hex[:12]}"
        self.run_as_operator("team", "create", self.slug)
        self.token = self.new_token()
        self.env = {
            **NO_TURBO,
            "TURBO_API": server.url,
            "TURBO_TOKEN": self.token,
            "TURBO_TEAM": self.slug,
        }

    def new_token(self) -> str:
        """Create another token of the team."""
        return self.run_as_operator("token", "create", "--team", self.slug).stdout.strip()

    def run(self, *arguments: str, env: Environment = UNCHANGED) -> Result:
        """Run a command with turbo's variables and changes of the environment."""
        return run_cli(*arguments, env={**self.env, **env})

    def run_ok(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its standard output."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def run_json(self, *arguments: str) -> Any:
        """Run a command that must succeed with `--json`, and return its decoded output."""
        return json.loads(self.run_ok(*arguments, "--json"))

    def run_error(self, *arguments: str, code: int = 1, env: Environment = UNCHANGED) -> str:
        """Run a command that must exit with `code`, and return its line on standard error."""
        result = self.run(*arguments, env=env)
        assert result.exit_code == code, result.output
        assert result.stdout == ""
        return error_line(result)

    def run_as_operator(self, *arguments: str) -> Result:
        """Run a command that must succeed on the server's data directory."""
        result = run_cli(*arguments, "--data-dir", str(self.server.data_dir), env=NO_TURBO)
        assert result.exit_code == 0, result.output
        return result

    def run_process(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as a process."""
        return try_hitrate(*arguments, env=process_env(self.env))

    def run_in_terminal(self, *arguments: str, **changes: str) -> str:
        """Run a command in a terminal of 100 columns, and return what it prints."""
        env = {**os.environ, **process_env(self.env), "COLUMNS": "100", "TERM": "xterm", **changes}
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "hitrate", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            env=env,
        )
        os.close(terminal)
        output = b"".join(_read_terminal(controller))
        os.close(controller)
        process.wait(60)
        return output.decode().replace("\r\n", "\n")

    def get_json(self, path: str, **query: Any) -> Any:
        """Return the response of the API."""
        params = {"slug": self.slug, **query}
        response = self.server.request("GET", path, params=params, token=self.token)
        assert response.status_code == 200, response.text
        return response.json()

    def record(self, session: str, *events: dict[str, Any], token: str = "", **client: str) -> None:
        """Record events of a session, and wait until analytics include them."""
        items = [event(**{"sessionId": session, **fields}) for fields in events]
        response = self.server.request(
            "POST",
            "/v8/artifacts/events",
            content=body(*items),
            params={"slug": self.slug},
            headers={f"x-{name.replace('_', '-')}": value for name, value in client.items()},
            token=token or self.token,
        )
        assert response.status_code == 200, response.text
        self.get_json("/v1/analytics/summary", fresh="true")

    def record_run(self, session: str, hits: int, misses: int, **client: str) -> None:
        """Record a run with remote hits, which save a second each, and misses."""
        hit_events = [
            {"source": "REMOTE", "hash": f"{n:016x}", "duration": 1000} for n in range(hits)
        ]
        miss_events = [
            {**fields, "hash": f"{n:015x}m"} for n in range(misses) for fields in MISS_EVENTS
        ]
        self.record(session, *hit_events, *miss_events, **client)

    def upload(self, artifact_hash: str, duration_ms: int, size_bytes: int = 1500) -> None:
        """Upload an artifact."""
        response = self.server.request(
            "PUT",
            f"/v8/artifacts/{artifact_hash}",
            content=b"x" * size_bytes,
            params={"slug": self.slug},
            headers={"x-artifact-duration": str(duration_ms)},
            token=self.token,
        )
        assert response.status_code == 202, response.text


def process_env(env: dict[str, str | None]) -> dict[str, str]:
    """Return variables for a process. Unset ones are empty, which has the same meaning."""
    return {name: value or "" for name, value in env.items()}


def _read_terminal(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # Linux reports that the other end is closed
            return
        if not chunk:
            return
        yield chunk


@dataclass
class FakeServer:
    """Server that returns the same response to every GET request."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b"{}"
    by_path: dict[str, Any] = field(default_factory=dict)
    """JSON documents by path prefix, which replace `body`."""
    content_length: int | None = None
    """If it exceeds the size of the body, the response is cut short."""
    url: str = ""


@contextmanager
def run_fake_server() -> Iterator[FakeServer]:
    """Run a fake server on a free port."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            documents = [
                document
                for prefix, document in fake.by_path.items()
                if self.path.startswith(prefix)
            ]
            body = json.dumps(documents[0]).encode() if documents else fake.body
            self.send_response(fake.status)
            self.send_header("content-type", fake.content_type)
            self.send_header("content-length", str(fake.content_length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
