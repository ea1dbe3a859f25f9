"""Migration of a database of the first schema version."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command, op
from alembic.config import Config

from hitrate.auth import tokens
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

READER, WRITER, REVOKED, EXPIRED, OPERATOR_TOKEN = (tokens.new_secret() for _ in range(5))
NOW = ManualClock().now_ms()


@pytest.fixture
def first_version_dir(tmp_path: Path) -> Path:
    """Data directory of schema 0001: two teams, tokens of each kind, two artifacts."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    engine = sa.create_engine(f"sqlite:///{DataDir(data_dir).database}")
    config = Config()
    config.set_main_option("script_location", "hitrate.db:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        _insert_rows(connection)
    engine.dispose()
    return data_dir


def _insert_rows(connection: sa.Connection) -> None:
    add_team = "INSERT INTO teams VALUES (?, ?, ?, ?)"
    for slug in ("web", "ops"):
        connection.exec_driver_sql(add_team, (f"team_{slug}", slug, f"{slug} people", NOW))
    add_token = "INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    for name, secret, team, read_only, expires_at, revoked_at in (
        ("reader", READER, "team_web", True, None, None),
        ("writer", WRITER, "team_web", False, NOW + 86_400_000, None),
        ("revoked", REVOKED, "team_ops", False, None, NOW),
        ("expired", EXPIRED, "team_ops", False, NOW - 1, None),
        ("operators", OPERATOR_TOKEN, None, False, NOW + 60_000, None),
    ):
        digest = tokens.digest(secret.encode())
        row = (f"tok_{name}", digest, team, name, read_only, NOW, expires_at, revoked_at)
        connection.exec_driver_sql(add_token, row)
    for number in range(2):
        connection.exec_driver_sql(
            "INSERT INTO artifacts (team_id, hash, blob, size_bytes, token_id, created_at, used_at)"
            " VALUES ('team_web', ?, ?, 7, 'tok_writer', ?, ?)",
            (f"h{number}", f"b{number}", NOW, NOW),
        )


def test_migration_keeps_teams_and_artifacts(first_version_dir: Path) -> None:
    engine = open_database(first_version_dir)
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


def test_migration_keeps_what_tokens_may_do(first_version_dir: Path) -> None:
    engine = open_database(first_version_dir)
    accounts = AccountStore(engine, ManualClock())
    authorizer = Authorizer(accounts, ManualClock())
    assert accounts.tokens.get("tok_reader").scopes == READ_ONLY
    assert accounts.tokens.get("tok_writer").scopes == READ_WRITE
    for secret, may_write in ((READER, False), (WRITER, True)):
        auth = authorizer.authorize(bearer(secret), b"slug=web", Permission.READ)
        assert (Permission.WRITE in auth.permissions) == may_write
        authorizer.authorize(bearer(secret), b"", Permission.EVENTS)
        authorizer.authorize(bearer(secret), b"", Permission.ANALYTICS)
        for permission in (
            Permission.TOKENS,
            Permission.MEMBERS,
            Permission.SETTINGS,
            Permission.AUDIT,
            Permission.BILLING,
        ):
            with pytest.raises(Forbidden):
                authorizer.authorize(bearer(secret), b"", permission)
        with pytest.raises(Forbidden):
            authorizer.authorize(bearer(secret), b"slug=ops", Permission.READ)
    for secret in (REVOKED, EXPIRED):
        with pytest.raises(Unauthorized):
            authorizer.authorize(bearer(secret), b"", Permission.READ)
    authorizer.authorize_operator(bearer(OPERATOR_TOKEN))
    writer = accounts.tokens.get("tok_writer")
    assert (writer.label, writer.expires_at_ms, writer.user) == ("writer", NOW + 86_400_000, None)
    assert writer.used_at_ms is None
    assert Scope.ADMIN not in writer.scopes
    engine.dispose()


def test_migrated_database_accepts_new_features(first_version_dir: Path) -> None:
    account_fixture = AccountFixture(first_version_dir)
    [_, web] = account_fixture.teams.all()
    user = account_fixture.create_user()
    token, _ = account_fixture.create_token(web, user)
    rotated, _ = account_fixture.tokens.rotate(
        account_fixture.tokens.get("tok_reader"), 60, OPERATOR
    )
    assert rotated.scopes == READ_ONLY
    assert account_fixture.tokens.get(token.id).user == user
    account_fixture.close()


def test_opening_a_migrated_database_again_changes_nothing(first_version_dir: Path) -> None:
    for _ in range(2):
        open_database(first_version_dir).dispose()
    assert _version(first_version_dir) == SCHEMA_VERSION


def test_server_on_a_migrated_database_accepts_its_tokens(first_version_dir: Path) -> None:
    new_token = run_hitrate(
        "token", "create", "--team", "web", "--data-dir", str(first_version_dir)
    ).strip()
    server = Server(first_version_dir)
    server.port, server.token = free_port(), new_token
    server.start()
    try:
        for secret in (READER, new_token):
            response = server.request("GET", "/v8/artifacts/status", token=secret)
            assert response.json() == {"status": "enabled"}
        assert (
            server.request("PUT", "/v8/artifacts/h2", token=READER, content=b"x").status_code == 403
        )
        assert (
            server.request("PUT", "/v8/artifacts/h2", token=new_token, content=b"x").status_code
            == 202
        )
        assert "printed at the first start" in server.output
    finally:
        server.kill()


def test_commands_refuse_a_newer_schema_with_one_line(first_version_dir: Path) -> None:
    open_database(first_version_dir).dispose()
    connection = sqlite3.connect(DataDir(first_version_dir).database)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    before = (DataDir(first_version_dir).database).read_bytes()
    for arguments in (["user", "list"], ["serve", "--port", str(free_port())]):
        process = try_hitrate(*arguments, "--data-dir", str(first_version_dir))
        assert (process.returncode, process.stdout) == (1, "")
        assert "newer hitrate" in process.stderr
        assert len(process.stderr.splitlines()) == 1
    assert (DataDir(first_version_dir).database).read_bytes() == before


def test_interrupted_migration_is_repeated(
    first_version_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("the power is cut")

    with monkeypatch.context() as patch:
        patch.setattr(op, "create_index", fail)
        with pytest.raises(DatabaseError, match="the power is cut"):
            open_database(first_version_dir)
    open_database(first_version_dir).dispose()
    assert _version(first_version_dir) == SCHEMA_VERSION


def _version(data_dir: Path) -> str:
    connection = sqlite3.connect(DataDir(data_dir).database)
    [(version,)] = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    connection.close()
    return str(version)
