"""Clicks on the links of mails, by which a scanner's sweep is known (what was clicked before is not noted); and the
messages that name nobody, into whose bodies forgetting looks.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "clicks",
        sa.Column("delivery", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("inbox_id", Number, primary_key=True, autoincrement=False),
        sa.Column("link", sa.Text, nullable=False),
        sa.Column("profile_id", sa.BigInteger),
        sa.Column("swept", sa.Boolean, nullable=False, server_default=sa.false()),
        sqlite_with_rowid=False,
    )
    op.create_index("clicks_message", "clicks", ["inbox_id"])
    nameless = sa.text("outcome = 'ignored' and identifiers = '[]'")
    op.create_index("messages_nameless", "messages", ["id"], sqlite_where=nameless, postgresql_where=nameless)
    op.create_index("clicks_profile", "clicks", ["profile_id", "at"])
