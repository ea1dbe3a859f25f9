"""Owns a team of its own on a server that others use too, with one person in it, and what the
operator says about both.

The operator says it with the real commands, on the server's data folder, while the server runs.
They run in this process: starting Python for each would be most of what the tests wait for.
"""

from __future__ import annotations

import copy
import json
import uuid
from typing import Any

from click.testing import CliRunner

from hitrate.cli.main import cli
from tests.support.server import Server, eventually

# A revoked token, a lower role or a changed setting counts within this time.
COUNTS_WITHIN_S = 5.0
MEASURES = ("uploadedBytes", "downloadedBytes", "requests", "events", "storedBytes")


class Tenant:
    """`server` is the running one as this team sees it: with its slug, and its person's token."""

    def __init__(self, server: Server) -> None:
        self.slug = f"tenant-{uuid.uuid4().hex[:12]}"
        self.person = f"{self.slug}@example.com"
        self.server = copy.copy(server)
        self.server.team = self.slug
        self.operator("team create {team}")
        self.operator("user create {person} --no-password --team {team} --role DEVELOPER")
        self.renew_token()

    def operator(self, command: str) -> str:
        """What `hitrate COMMAND` prints; `{team}` and `{person}` stand for this tenant's."""
        words = command.format(team=self.slug, person=self.person).split()
        done = CliRunner().invoke(cli, [*words, "--data-dir", str(self.server.data_dir)])
        assert done.exit_code == 0, (command, done.output, done.exception)
        return done.stdout

    def renew_token(self) -> str:
        """A new token of the person's, with which the server remembers nothing: what the operator
        said before holds for it from its first request."""
        self.server.token = self.operator("token create --user {person} --team {team}").strip()
        return self.server.token

    def status(self) -> str:
        """What the server says of this team's cache, to whoever asks as turbo does."""
        answer = self.server.request("GET", "/v8/artifacts/status", params={"slug": self.slug})
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["status"]
        return found

    def usage(self) -> dict[str, Any]:
        """What the team used in this billing cycle, by measure."""
        used = json.loads(self.operator("team usage {team} --json"))["current"]["used"]
        return {measure: used[measure] for measure in MEASURES}

    def use(self) -> None:
        """Store something small, so that something was used."""
        path = f"/v8/artifacts/{uuid.uuid4().hex[:16]}"
        answer = self.server.request("PUT", path, params={"slug": self.slug}, content=b"small")
        assert answer.status_code == 202, answer.text

    def await_refusal(self, token: str) -> None:
        """Return when the server takes no more uploads with this token.

        Asked with an upload that stores nothing, since it is invalid; as turbo asks, because the
        server remembers by token and address.
        """
        slug, bad = {"slug": self.slug}, {"x-artifact-duration": "never"}

        def refused() -> bool:
            answer = self.server.request(
                "PUT", "/v8/artifacts/0123456789abcdef", params=slug, headers=bad, token=token
            )
            assert answer.status_code in (400, 401, 403), answer.text
            return answer.status_code != 400

        eventually(refused, COUNTS_WITHIN_S)
