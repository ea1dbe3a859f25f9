"""A data directory of an earlier version opens, complete and with the same numbers."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hitrate.clock import ManualClock
from tests.fixtures.data_directory_v1.record import bodies, record
from tests.support.manual_clock_server import ManualClockServer
from tests.support.server import run_hitrate

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "data_directory_v1"
EXPECTED = json.loads((FIXTURE / "expected.json").read_text())
SECRETS = json.loads((FIXTURE / "secrets.json").read_text())
TEAMS = ["default", "ops", "web"]
RENAMED_KEYS = {
    "hitRateBands": "hitRateQuartiles",
    "madeBy": "producedBy",
    "left": "remaining",
}
RENAMED_LABELS = {
    "did not say": "unknown",
    "not interactive": "non-interactive",
    "a team's token": "team token",
}
RENAMED_PATHS = {
    f"/v1/usage/{report}": f"/v1/analytics/{report}"
    for report in ("summary", "timeseries", "breakdown")
}


def with_current_names(value: Any) -> Any:
    """Return recorded JSON with the keys and labels that this version uses."""
    if isinstance(value, list):
        return [with_current_names(item) for item in value]
    if isinstance(value, dict):
        renamed = {RENAMED_KEYS.get(k, k): with_current_names(item) for k, item in value.items()}
        if "label" in renamed:
            renamed["label"] = RENAMED_LABELS.get(renamed["label"], renamed["label"])
        return renamed
    return value


class Upgraded:
    """A server on an upgraded copy of the fixture, and what it reports."""

    def __init__(self, server: ManualClockServer, client: httpx.Client) -> None:
        self._client = client
        options = ("--data-dir", str(server.data_dir))
        audit = run_hitrate("team", "audit", "--format", "ndjson", *options)
        self.commands = {
            "token list": json.loads(run_hitrate("token", "list", "--json", *options)),
            "user list": json.loads(run_hitrate("user", "list", "--json", *options)),
            "team audit": [json.loads(line) for line in audit.splitlines()],
        }
        users = EXPECTED["after_loading"]["users"]
        admins = {email: f"{email.split('@')[0]}-admin" for email in users}
        self.recorded = record(self._get, TEAMS, admins, EXPECTED["periods"])

    def bodies(self) -> dict[str, dict[str, str]]:
        enabled = self._send("PATCH", "/v1/teams/ops/settings", json={"remoteCaching": True})
        assert enabled.status_code == 200
        return bodies(self._download, self.recorded)

    def _get(self, path: str, query: dict[str, Any], token: str) -> Any:
        path = RENAMED_PATHS.get(path, path)
        response = self._send("GET", path, token, params=query)
        assert response.status_code == 200, (path, response.text)
        return response.json()

    def _download(self, team: str, name: str) -> bytes:
        response = self._send("GET", f"/v8/artifacts/{name}", params={"slug": team})
        assert response.status_code == 200, (team, name, response.text)
        return response.content

    def _send(
        self, method: str, path: str, token: str = "operator", **options: Any
    ) -> httpx.Response:
        authorization = f"Bearer {SECRETS['tokens'][token]['token']}"
        return self._client.request(
            method, path, headers={"authorization": authorization}, **options
        )


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    directory = tmp_path_factory.mktemp("upgrade")
    with tarfile.open(FIXTURE / "data.tar.gz") as archive:
        archive.extractall(directory, filter="data")
    clock = ManualClock(EXPECTED["now_ms"])
    server = ManualClockServer(directory / "data", clock)
    server.start()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield Upgraded(server, client)
    server.kill()


@pytest.mark.parametrize("team", TEAMS)
@pytest.mark.parametrize("part", sorted(EXPECTED["after_loading"]["teams"]["ops"]))
def test_upgraded_data_directory_reports_the_recorded_values(
    upgraded: Upgraded, team: str, part: str
) -> None:
    expected = EXPECTED["after_loading"]["teams"][team][part]
    assert upgraded.recorded["teams"][team][part] == with_current_names(expected)


def test_upgraded_data_directory_has_all_users_with_their_teams_and_tokens(
    upgraded: Upgraded,
) -> None:
    assert upgraded.recorded["users"] == EXPECTED["after_loading"]["users"]


@pytest.mark.parametrize("command", sorted(EXPECTED["after_loading"]["commands"]))
def test_commands_print_the_recorded_values_of_an_upgraded_data_directory(
    upgraded: Upgraded, command: str
) -> None:
    assert upgraded.commands[command] == EXPECTED["after_loading"]["commands"][command]


def test_upgraded_data_directory_has_every_artifact_body(upgraded: Upgraded) -> None:
    assert upgraded.bodies() == EXPECTED["after_loading"]["bodies"]
