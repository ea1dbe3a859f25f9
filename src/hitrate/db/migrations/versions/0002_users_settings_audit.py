"""Users, members, token scopes, team settings, sessions, billing cycles and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "teams", sa.Column("settings", sa.String, nullable=False, server_default=sa.text("'{}'"))
    )
    _users_and_members()
    _token_columns()
    op.create_table(
        "sessions",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sign_ins",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("details", sa.String, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage_cycles",
        sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), primary_key=True),
        sa.Column("start_at", sa.BigInteger, primary_key=True),
        sa.Column("end_at", sa.BigInteger, nullable=False),
        sa.Column("uploaded_bytes", sa.BigInteger, nullable=False),
        sa.Column("downloaded_bytes", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("average_stored_bytes", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("cost", sa.BigInteger, nullable=False),
    )
    _audit()


def _users_and_members() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("username", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("password_hash", sa.String, nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "members",
        sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), primary_key=True),
        sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("remote_caching", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("members_user", "members", ["user_id"])


def _token_columns() -> None:
    with op.batch_alter_table("tokens") as tokens:
        tokens.add_column(sa.Column("user_id", sa.String, nullable=True))
        tokens.add_column(
            sa.Column("scopes", sa.String, nullable=False, server_default=sa.text("''"))
        )
        tokens.add_column(sa.Column("used_at", sa.BigInteger, nullable=True))
        tokens.create_foreign_key("tokens_user", "users", ["user_id"], ["id"])
    # A token that could read artifacts could also read recorded events.
    op.execute(
        "UPDATE tokens SET scopes = "
        "CASE WHEN read_only THEN 'analytics events read' ELSE 'analytics events read write' END"
    )
    with op.batch_alter_table("tokens") as tokens:
        tokens.drop_column("read_only")


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), nullable=True),
        sa.Column("actor_kind", sa.String, nullable=False),
        sa.Column("actor_id", sa.String, nullable=False),
        sa.Column("actor_name", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("details", sa.String, nullable=False),
    )
    op.create_index("audit_team", "audit", ["team_id", "id"])
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
