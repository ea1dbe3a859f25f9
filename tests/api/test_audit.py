"""`/v1/teams/{team}/audit`: access, pages and exports."""

import csv
import io
import json

import pytest
import sqlalchemy as sa

from hitrate.auth.models import Scope
from hitrate.db.tables import AUDIT
from hitrate.roles import Role
from hitrate.teams.audit import record
from hitrate.teams.models import Actor
from tests.support.account_api import AccountApi


def test_owner_reads_changes_newest_first(api: AccountApi) -> None:
    team = api.create_team()
    owner, token = api.create_owner(team)
    api.ok("PATCH", f"{team.slug}/settings", token, json={"requestsPerMinute": 5})
    page = api.ok("GET", f"{team.slug}/audit", token)
    assert [e["action"] for e in page["entries"]] == [
        "settings.change",
        "member.add",
        "team.create",
    ]
    assert page["nextCursor"] is None
    newest = page["entries"][0]
    assert (newest["actor"], newest["actorKind"], newest["actorId"]) == (
        owner.email,
        "user",
        owner.id,
    )
    assert newest["details"] == {
        "before": {"requestsPerMinute": None},
        "after": {"requestsPerMinute": 5},
    }


def test_team_token_and_operator_are_distinct_actors(api: AccountApi) -> None:
    team = api.create_team()
    token, secret = api.create_token(team, scopes=Scope, label="operator")
    for number, caller in enumerate((secret, api.operator)):
        api.ok("PATCH", f"{team.slug}/settings", caller, json={"requestsPerMinute": number})
    first, second = api.ok("GET", f"{team.slug}/audit?limit=2", secret)["entries"]
    assert (first["actorKind"], first["actorId"]) == ("operator", "operator")
    assert (second["actorKind"], second["actorId"]) == ("token", token.id)


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.OWNER}))
def test_other_roles_cannot_read_the_audit_log(api: AccountApi, role: Role) -> None:
    team = api.create_team()
    _, token = api.create_member(team, role)
    for path in ("audit", "audit/export", "audit/export?format=csv"):
        assert api.status("GET", f"{team.slug}/{path}", token) == 403


def test_token_without_admin_scope_cannot_read_the_audit_log(api: AccountApi) -> None:
    team = api.create_team()
    owner, _ = api.create_owner(team)
    scopes = set(Scope) - {Scope.ADMIN}
    for token in (api.create_user_token(owner, *scopes), api.create_team_token(team, *scopes)):
        assert api.status("GET", f"{team.slug}/audit", token) == 403


def test_audit_log_contains_its_own_team_only(api: AccountApi) -> None:
    own_team, other_team = api.create_team(), api.create_team()
    _, token = api.create_owner(own_team)
    api.create_owner(other_team)
    for path in ("audit", "audit/export?format=csv", "audit/export"):
        assert other_team.slug not in api.call("GET", f"{own_team.slug}/{path}", token).text
        assert api.status("GET", f"{other_team.slug}/{path}", token) == 403
    assert api.status("GET", f"{own_team.slug}/audit?slug={other_team.slug}", token) == 403


def test_pages_and_exports_contain_every_entry(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    with api.engine.begin() as connection:
        for number in range(1500):
            record(connection, number, Actor("user", "u", "u"), "test.create", team.id, str(number))
    paged: list[int] = []
    cursor = ""
    while True:
        page = api.ok("GET", f"{team.slug}/audit?limit=700{cursor}", token)
        paged += [entry["id"] for entry in page["entries"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert len(paged) == 1502
    assert paged == sorted(set(paged), reverse=True)
    response = api.call("GET", f"{team.slug}/audit/export", token)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["id"] for line in response.text.splitlines()] == paged
    response = api.call("GET", f"{team.slug}/audit/export?format=csv", token)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert f'filename="{team.slug}-audit.csv"' in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert [int(row["id"]) for row in rows] == paged
    filtered = api.ok("GET", f"{team.slug}/audit?action=member.add", token)["entries"]
    assert [entry["action"] for entry in filtered] == ["member.add"]


def test_csv_export_escapes_formulas_and_separators(api: AccountApi) -> None:
    team = api.create_team()
    formula = "=HYPERLINK(\"http://evil\"),'x'"
    _, owner = api.create_owner(team)
    _, token = api.create_token(team, scopes=Scope, label=formula)
    api.ok("POST", f"{team.slug}/tokens", token, json={"label": formula})
    stranger = api.create_user(email=f"=1+1|{team.slug}@example.com")
    api.ok("POST", f"{team.slug}/members", token, json={"email": stranger.email})
    api.ok("PATCH", f"{team.slug}/settings", token, json={"name": "+formula"})
    text = api.call("GET", f"{team.slug}/audit/export?format=csv", owner).text
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert {len(row) for row in rows} == {8}
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert f"'{stranger.email}" in {row[6] for row in rows}
    assert f"'{formula}" in {row[4] for row in rows}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1001", "limit=many", "limit=" + "9" * 30, "cursor=x",
     "cursor=-1", "cursor=1.5", "cursor=" + "9" * 19, "cursor=%00", "cursor=1%20OR%201=1"],
)  # fmt: skip
def test_invalid_page_parameter_is_refused_by_name(api: AccountApi, query: str) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    status, message = api.client_error("GET", f"{team.slug}/audit?{query}", token)
    assert status == 400
    assert query.partition("=")[0] in message


@pytest.mark.parametrize("form", ["xml", "", "CSV", "csv%00"])
def test_unknown_export_format_is_refused_by_name(api: AccountApi, form: str) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    status, message = api.client_error("GET", f"{team.slug}/audit/export?format={form}", token)
    assert (status, message.split(":")[0]) == (400, "format")


@pytest.mark.parametrize(
    "query",
    ["limit=1&limit=2", "cursor=0", "cursor=" + "9" * 18, "action=%00", "action=%ED%A0%80",
     "action='%20OR%201=1%20--", "action=" + "x" * 5000, "unknown=1"],
)  # fmt: skip
def test_unusual_page_parameters_are_accepted(api: AccountApi, query: str) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    assert len(api.ok("GET", f"{team.slug}/audit?{query}", token)["entries"]) <= 2


def test_entries_cannot_be_changed_or_removed(api: AccountApi) -> None:
    team = api.create_team()
    _, token = api.create_owner(team)
    before = api.ok("GET", f"{team.slug}/audit", token)
    for caller in (token, api.operator):
        for method in ("DELETE", "PUT", "PATCH", "POST"):
            for path in ("audit", f"audit/{before['entries'][0]['id']}", "audit/export"):
                assert api.status(method, f"{team.slug}/{path}", caller, json={}) in (404, 405)
    with api.engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
        connection.execute(sa.delete(AUDIT).where(AUDIT.c.team_id == team.id))
    assert api.ok("GET", f"{team.slug}/audit", token) == before
