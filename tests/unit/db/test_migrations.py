"""A data folder of the release before: its tokens keep what they could do."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config

from hitrate.auth import token_secrets
from hitrate.auth.accounts import AccountStore
from hitrate.auth.authorizer import Authorizer
from hitrate.auth.models import Permission, Scope
from hitrate.auth.permissions import READ_ONLY, READ_WRITE
from hitrate.clock import ManualClock
from hitrate.datadir import DataDir
from hitrate.db.engine import SCHEMA_VERSION, open_database
from hitrate.errors import DatabaseError, Forbidden, Unauthorized
from hitrate.teams.models import OPERATOR
from hitrate.teams.settings import TeamSettings
from tests.support.account_fixture import AccountFixture, bearer
from tests.support.server import Server, free_port, run_hitrate, try_hitrate

READER, WRITER, REVOKED, EXPIRED, OPERATORS = (token_secrets.new_secret() for _ in range(5))
NOW = ManualClock().now_ms()


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    """As the first schema kept it: two teams, tokens of each kind, two artifacts."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    engine = sa.create_engine(f"sqlite:///{DataDir(folder).database}")
    config = Config()
    config.set_main_option("script_location", "hitrate.db:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        _fill(connection)
    engine.dispose()
    return folder


def _fill(connection: sa.Connection) -> None:
    add_team = "INSERT INTO teams VALUES (?, ?, ?, ?)"
    for slug in ("web", "ops"):
        connection.exec_driver_sql(add_team, (f"team_{slug}", slug, f"{slug} people", NOW))
    add_token = "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    for name, secret, team, read_only, expires_at, revoked_at in (
        ("reader", READER, "team_web", True, None, None),
        ("writer", WRITER, "team_web", False, NOW + 86_400_000, None),
        ("revoked", REVOKED, "team_ops", False, None, NOW),
        ("expired", EXPIRED, "team_ops", False, NOW - 1, None),
        ("operators", OPERATORS, None, False, NOW + 60_000, None),
    ):
        digest = token_secrets.digest(secret.encode())
        row = (f"tok_{name}", digest, team, name, read_only, NOW, expires_at, revoked_at)
        connection.exec_driver_sql(add_token, row)
    for number in range(2):
        connection.exec_driver_sql(
            "INSERT INTO artifacts (team_id, hash, blob, size_bytes, token_id, created_at, used_at)"
            " VALUES ('team_web', ?, ?, 7, 'tok_writer', ?, ?)",
            (f"h{number}", f"b{number}", NOW, NOW),
        )


def test_teams_and_artifacts_are_still_there(old_folder: Path) -> None:
    engine = open_database(old_folder)
    teams = AccountStore(engine, ManualClock()).teams.all()
    assert [(t.id, t.slug, t.name, t.settings) for t in teams] == [
        ("team_ops", "ops", "ops people", TeamSettings()),
        ("team_web", "web", "web people", TeamSettings()),
    ]
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT hash, token_id FROM artifacts ORDER BY hash")
        assert [tuple(row) for row in rows] == [("h0", "tok_writer"), ("h1", "tok_writer")]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    engine.dispose()


def test_tokens_do_what_they_did_and_no_more(old_folder: Path) -> None:
    engine = open_database(old_folder)
    accounts = AccountStore(engine, ManualClock())
    authorizer = Authorizer(accounts, ManualClock())
    assert accounts.tokens.get("tok_reader").scopes == READ_ONLY
    assert accounts.tokens.get("tok_writer").scopes == READ_WRITE
    for secret, may_write in ((READER, False), (WRITER, True)):
        auth = authorizer.authorize(bearer(secret), b"slug=web", Permission.READ)
        assert (Permission.WRITE in auth.permissions) == may_write
        authorizer.authorize(bearer(secret), b"", Permission.EVENTS)
        authorizer.authorize(bearer(secret), b"", Permission.ANALYTICS)
        for need in (
            Permission.TOKENS,
            Permission.MEMBERS,
            Permission.SETTINGS,
            Permission.AUDIT,
            Permission.BILLING,
        ):
            with pytest.raises(Forbidden):
                authorizer.authorize(bearer(secret), b"", need)
        with pytest.raises(Forbidden):
            authorizer.authorize(bearer(secret), b"slug=ops", Permission.READ)
    for secret in (REVOKED, EXPIRED):
        with pytest.raises(Unauthorized):
            authorizer.authorize(bearer(secret), b"", Permission.READ)
    authorizer.authorize_operator(bearer(OPERATORS))
    writer = accounts.tokens.get("tok_writer")
    assert (writer.label, writer.expires_at_ms, writer.user) == ("writer", NOW + 86_400_000, None)
    assert writer.used_at_ms is None
    assert Scope.ADMIN not in writer.scopes
    engine.dispose()


def test_what_is_new_can_be_used_at_once(old_folder: Path) -> None:
    account_fixture = AccountFixture(old_folder)
    [_, web] = account_fixture.teams.all()
    user = account_fixture.create_user()
    token, _ = account_fixture.create_token(web, user)
    rotated, _ = account_fixture.tokens.rotate(
        account_fixture.tokens.get("tok_reader"), 60, OPERATOR
    )
    assert rotated.scopes == READ_ONLY
    assert account_fixture.tokens.get(token.id).user == user
    account_fixture.close()


def test_opening_it_again_changes_nothing(old_folder: Path) -> None:
    for _ in range(2):
        open_database(old_folder).dispose()
    assert _version(old_folder) == SCHEMA_VERSION


def test_a_server_on_it_serves_its_tokens(old_folder: Path) -> None:
    fresh = run_hitrate("token", "create", "--team", "web", "--data-dir", str(old_folder)).strip()
    server = Server(old_folder)
    server.port, server.token = free_port(), fresh
    server.start()
    try:
        for secret in (READER, fresh):
            answer = server.request("GET", "/v8/artifacts/status", token=secret)
            assert answer.json() == {"status": "enabled"}
        assert (
            server.request("PUT", "/v8/artifacts/h2", token=READER, content=b"x").status_code == 403
        )
        assert (
            server.request("PUT", "/v8/artifacts/h2", token=fresh, content=b"x").status_code == 202
        )
        assert "shown at the first start" in server.output
    finally:
        server.kill()


def test_a_newer_schema_is_refused_with_a_sentence(old_folder: Path) -> None:
    open_database(old_folder).dispose()
    connection = sqlite3.connect(DataDir(old_folder).database)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (DataDir(old_folder).database).read_bytes()
    for arguments in (["user", "list"], ["serve", "--port", str(free_port())]):
        done = try_hitrate(*arguments, "--data-dir", str(old_folder))
        assert (done.returncode, done.stdout) == (1, "")
        assert "newer hitrate" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert (DataDir(old_folder).database).read_bytes() == before


def test_an_upgrade_that_is_interrupted_is_done_again(
    old_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("the power is cut")

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail)
        with pytest.raises(DatabaseError, match="the power is cut"):
            open_database(old_folder)
    open_database(old_folder).dispose()
    assert _version(old_folder) == SCHEMA_VERSION


def _version(folder: Path) -> str:
    connection = sqlite3.connect(DataDir(folder).database)
    [(version,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return str(version)
