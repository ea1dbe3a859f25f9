"""Teams, tokens and the artifact index."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("slug", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), nullable=True),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("read_only", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
    )
    op.create_table(
        "artifacts",
        sa.Column("team_id", sa.String, sa.ForeignKey("teams.id"), primary_key=True),
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("blob", sa.String, nullable=False, unique=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("duration_ms", sa.Float, nullable=True),
        sa.Column("tag", sa.String, nullable=True),
        sa.Column("sha", sa.String, nullable=True),
        sa.Column("dirty_hash", sa.String, nullable=True),
        sa.Column("ci", sa.String, nullable=True),
        sa.Column("interactive", sa.Boolean, nullable=True),
        sa.Column("agent", sa.String, nullable=True),
        sa.Column("token_id", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger, nullable=False),
    )
    op.create_index("artifacts_used", "artifacts", ["used_at"])
    op.create_index("artifacts_team_used", "artifacts", ["team_id", "used_at"])
