"""A new team with one user on a server that other tests use too.

Commands run on the server's data directory while the server runs. They run in this process, because
starting Python for each command would take most of the time of the tests.
"""

from __future__ import annotations

import copy
import json
import uuid
from typing import Any

from click.testing import CliRunner

from hitrate.cli.main import cli
from tests.support.server import Server, eventually

# A revoked token, a lower role or a changed setting takes effect within this time.
MAX_PROPAGATION_S = 5.0
USAGE_FIELDS = ("uploadedBytes", "downloadedBytes", "requests", "events", "storedBytes")


class IsolatedTeam:
    """A team, with `server` as its user accesses it: with the team's slug and the user's token."""

    def __init__(self, server: Server) -> None:
        self.slug = f"team-{uuid.uuid4().hex[:12]}"
        self.user = f"{self.slug}@example.com"
        self.server = copy.copy(server)
        self.server.team = self.slug
        self.command("team create {team}")
        self.command("user create {user} --no-password --team {team} --role DEVELOPER")
        self.renew_token()

    def command(self, template: str) -> str:
        """Run a `hitrate` command with this `{team}` and `{user}`, and return its output."""
        words = template.format(team=self.slug, user=self.user).split()
        result = CliRunner().invoke(cli, [*words, "--data-dir", str(self.server.data_dir)])
        assert result.exit_code == 0, (template, result.output, result.exception)
        return result.stdout

    def renew_token(self) -> str:
        """Create a new token of the user.

        The server has cached nothing for it, so that earlier changes apply to its first request.
        """
        self.server.token = self.command("token create --user {user} --team {team}").strip()
        return self.server.token

    def status(self) -> str:
        """Return the status that turbo receives for this team."""
        response = self.server.request("GET", "/v8/artifacts/status", params={"slug": self.slug})
        assert response.status_code == 200, response.text
        status: str = response.json()["status"]
        return status

    def usage(self) -> dict[str, Any]:
        """Return the usage of the current billing cycle by field."""
        usage = json.loads(self.command("team usage {team} --json"))["current"]["used"]
        return {field: usage[field] for field in USAGE_FIELDS}

    def upload_artifact(self) -> None:
        """Upload a small artifact, so that the usage is not zero."""
        path = f"/v8/artifacts/{uuid.uuid4().hex[:16]}"
        response = self.server.request("PUT", path, params={"slug": self.slug}, content=b"small")
        assert response.status_code == 202, response.text

    def wait_until_rejected(self, token: str) -> None:
        """Wait until the server rejects uploads with this token.

        The probe is an invalid upload, which stores nothing. It is sent as turbo does, because the
        server caches authorizations by token and address.
        """
        slug, invalid = {"slug": self.slug}, {"x-artifact-duration": "never"}

        def is_rejected() -> bool:
            response = self.server.request(
                "PUT", "/v8/artifacts/0123456789abcdef", params=slug, headers=invalid, token=token
            )
            assert response.status_code in (400, 401, 403), response.text
            return response.status_code != 400

        eventually(is_rejected, MAX_PROPAGATION_S)
