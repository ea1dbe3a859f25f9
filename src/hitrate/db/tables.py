"""SQLite tables. Times are UTC milliseconds, money is in micros (millionths of a currency)."""

import sqlalchemy as sa

from hitrate.db.engine import metadata

TEAMS = sa.Table(
    "teams",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("slug", sa.String, nullable=False, unique=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("settings", sa.String, nullable=False, server_default="{}"),
)

USERS = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("email", sa.String, nullable=False, unique=True),
    sa.Column("username", sa.String, nullable=False, unique=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("password_hash", sa.String),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("disabled_at", sa.BigInteger),
)

MEMBERS = sa.Table(
    "members",
    metadata,
    sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), primary_key=True),
    sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("remote_caching", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Index("members_user", "user_id"),
)

TOKENS = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("team_id", sa.String, sa.ForeignKey("teams.id")),
    sa.Column("user_id", sa.String, sa.ForeignKey("users.id")),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("scopes", sa.String, nullable=False, server_default=""),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("used_at", sa.BigInteger),
    sa.Column("replaced_by", sa.String),
    sa.Column("origin", sa.String, nullable=False, server_default="manual"),
    sa.Index("tokens_team", "team_id"),
    sa.Index("tokens_user", "user_id"),
)

SESSIONS = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("user_id", sa.String, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)

PENDING_AUTH = sa.Table(
    "pending_auth",
    metadata,
    sa.Column("hash", sa.LargeBinary, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("details", sa.String, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)
"""Short-lived one-time state of login flows: a redirect to an identity provider, or a verification
token of `turbo login` that has not been exchanged."""

ARTIFACTS = sa.Table(
    "artifacts",
    metadata,
    sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), primary_key=True),
    sa.Column("hash", sa.String, primary_key=True),
    sa.Column("blob", sa.String, nullable=False, unique=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("duration_ms", sa.Float),
    sa.Column("tag", sa.String),
    sa.Column("sha", sa.String),
    sa.Column("dirty_hash", sa.String),
    sa.Column("ci", sa.String),
    sa.Column("interactive", sa.Boolean),
    sa.Column("agent", sa.String),
    sa.Column("token_id", sa.String, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("used_at", sa.BigInteger, nullable=False),
    sa.Column("made_by", sa.String, key="producer"),
    sa.Index("artifacts_used", "used_at"),
    sa.Index("artifacts_team_used", "team_id", "used_at"),
)

USAGE_CYCLES = sa.Table(
    "usage_cycles",
    metadata,
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

AUDIT = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("team_id", sa.String, sa.ForeignKey("teams.id")),
    sa.Column("actor_kind", sa.String, nullable=False),
    sa.Column("actor_id", sa.String, nullable=False),
    sa.Column("actor_name", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("details", sa.String, nullable=False),
    sa.Index("audit_team", "team_id", "id"),
)
"""Append-only: triggers reject any UPDATE or DELETE."""
