"""Owns a team on a shared server whose runs are known, and the commands that ask about them.

Commands run in this process, which is many times faster; `process` and `in_terminal` start one.
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

from click.testing import CliRunner, Result

from hitrate.cli.main import cli
from tests.support.event_factory import body, event
from tests.support.server import Server, try_hitrate

NO_TURBO: dict[str, str | None] = dict.fromkeys(
    ("TURBO_API", "TURBO_TOKEN", "TURBO_TEAM", "TURBO_TEAMID")
)

Environment = Mapping[str, str | None]
UNCHANGED: Environment = {}

COLD = [
    {"source": "LOCAL", "event": "MISS", "duration": 0},
    {"source": "REMOTE", "event": "MISS", "duration": 0},
]


def told(result: Result) -> str:
    """The one line that a failure says."""
    assert "Traceback" not in result.output
    [line] = [
        line for line in result.stderr.splitlines() if line.startswith(("hitrate: ", "Error: "))
    ]
    return line


class Workshop:
    """A team with a token, `TURBO_…` set for it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.slug = f"team-{uuid.uuid4().hex[:12]}"
        self.operator("team", "create", self.slug)
        self.token = self.new_token()
        self.env = {
            **NO_TURBO,
            "TURBO_API": server.url,
            "TURBO_TOKEN": self.token,
            "TURBO_TEAM": self.slug,
        }

    def new_token(self) -> str:
        """Another of the team's."""
        return self.operator("token", "create", "--team", self.slug).stdout.strip()

    def run(self, *arguments: str, env: Environment = UNCHANGED) -> Result:
        """A command that finds its server as turbo does, but for changes of its environment."""
        return CliRunner().invoke(cli, arguments, env={**self.env, **env}, prog_name="hitrate")

    def ok(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The output of a command, with `--json`."""
        return json.loads(self.ok(*arguments, "--json"))

    def refused(self, *arguments: str, code: int = 1, env: Environment = UNCHANGED) -> str:
        """What a command that must fail says, and nothing else."""
        done = self.run(*arguments, env=env)
        assert done.exit_code == code, done.output
        assert done.stdout == ""
        return told(done)

    def operator(self, *arguments: str) -> Result:
        """A command on the server's data folder."""
        whole = [*arguments, "--data-dir", str(self.server.data_dir)]
        done = CliRunner().invoke(cli, whole, env=NO_TURBO, prog_name="hitrate")
        assert done.exit_code == 0, done.output
        return done

    def process(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command as a process."""
        return try_hitrate(*arguments, env=set_only(self.env))

    def in_terminal(self, *arguments: str, **changes: str) -> str:
        """What a command shows in a terminal of 100 columns."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "hitrate", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **set_only(self.env), "COLUMNS": "100", "TERM": "xterm", **changes},
        )
        os.close(theirs)
        shown = b"".join(_read_terminal(ours))
        os.close(ours)
        process.wait(60)
        return shown.decode().replace("\r\n", "\n")

    def ask(self, path: str, **query: Any) -> Any:
        """The API's own answer."""
        params = {"slug": self.slug, **query}
        answer = self.server.request("GET", path, params=params, token=self.token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def record(self, session: str, *events: dict[str, Any], token: str = "", **who: str) -> None:
        """Events of a session, counted when this returns."""
        items = [event(**{"sessionId": session, **one}) for one in events]
        answer = self.server.request(
            "POST",
            "/v8/artifacts/events",
            content=body(*items),
            params={"slug": self.slug},
            headers={f"x-{name.replace('_', '-')}": value for name, value in who.items()},
            token=token or self.token,
        )
        assert answer.status_code == 200, answer.text
        self.ask("/v1/analytics/summary", fresh="true")

    def record_run(self, session: str, hits: int, misses: int, **who: str) -> None:
        """A run of so many remote hits, a second each, and misses."""
        found = [{"source": "REMOTE", "hash": f"{n:016x}", "duration": 1000} for n in range(hits)]
        missed = [{**one, "hash": f"{n:015x}m"} for n in range(misses) for one in COLD]
        self.record(session, *found, *missed, **who)

    def store(self, name: str, duration_ms: int, size_bytes: int = 1500) -> None:
        """An artifact."""
        answer = self.server.request(
            "PUT",
            f"/v8/artifacts/{name}",
            content=b"x" * size_bytes,
            params={"slug": self.slug},
            headers={"x-artifact-duration": str(duration_ms)},
            token=self.token,
        )
        assert answer.status_code == 202, answer.text


def set_only(env: dict[str, str | None]) -> dict[str, str]:
    """As a process takes it; what is not set is empty, which is the same to turbo and to us."""
    return {name: value or "" for name, value in env.items()}


def _read_terminal(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # the other end is closed: that is how Linux says it
            return
        if not chunk:
            return
        yield chunk


@dataclass
class Fake:
    """A server that answers what it was told to, whatever hitrate would."""

    status: int = 200
    content_type: str = "application/json"
    body: bytes = b"{}"
    by_path: dict[str, Any] = field(default_factory=dict)
    """Instead of `body`, for paths that begin so: a JSON document."""
    announced_bytes: int | None = None
    """More than it sends breaks the answer off."""
    url: str = ""


@contextmanager
def fake_server() -> Iterator[Fake]:
    """At an address of its own."""
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = [doc for path, doc in fake.by_path.items() if self.path.startswith(path)]
            sent = json.dumps(found[0]).encode() if found else fake.body
            self.send_response(fake.status)
            self.send_header("content-type", fake.content_type)
            self.send_header("content-length", str(fake.announced_bytes or len(sent)))
            self.end_headers()
            self.wfile.write(sent)

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
