"""Columns for a token's successor and origin; `sign_ins` becomes `pending_auth`.

Until now, a rotation was recorded in the audit log only, and single sign-on was recognized by the
label that `turbo login --sso-team` gives its tokens.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("tokens", sa.Column("replaced_by", sa.String, nullable=True))
    op.add_column(
        "tokens",
        sa.Column("origin", sa.String, nullable=False, server_default=sa.text("'manual'")),
    )
    _fill_replaced_by()
    _fill_origin()
    op.create_index("tokens_team", "tokens", ["team_id"])
    op.create_index("tokens_user", "tokens", ["user_id"])
    op.rename_table("sign_ins", "pending_auth")


def _fill_replaced_by() -> None:
    connection = op.get_bind()
    rotations = connection.exec_driver_sql(
        "SELECT target, json_extract(details, '$.replaces') FROM audit "
        "WHERE action = 'token.rotate' ORDER BY id"
    ).all()
    for successor, replaced in rotations:
        connection.exec_driver_sql(
            "UPDATE tokens SET replaced_by = ? WHERE id = ?", (successor, replaced)
        )


def _fill_origin() -> None:
    # substr, because LIKE ignores case.
    op.execute(
        "UPDATE tokens SET origin = 'sso' "
        "WHERE user_id IS NOT NULL AND substr(label, -14) = 'Single Sign-On'"
    )
    op.execute(
        "UPDATE tokens SET origin = 'login' WHERE user_id IS NOT NULL AND label = 'turbo login'"
    )
