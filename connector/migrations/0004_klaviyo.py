"""What writing to Klaviyo and reading from it need: the outbox in turns, what was polled, looked up and told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("outbox", sa.Column("subject_id", sa.BigInteger))
    in_turn = sa.text("status = 'pending' and subject_id is not null")
    op.create_index("outbox_subject", "outbox", ["subject_id", "id"], sqlite_where=in_turn, postgresql_where=in_turn)
    op.add_column("traits", sa.Column("integrations", sa.Text))
    op.create_table(
        "lookups",
        sa.Column("type", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("token", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
    )
    wanted = sa.text("status = 'wanted'")
    op.create_index("lookups_wanted", "lookups", ["due_at"], sqlite_where=wanted, postgresql_where=wanted)
    op.create_table(
        "polls",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("metric_id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("watermark", sa.BigInteger, nullable=False),
        sa.Column("swept_at", sa.BigInteger, nullable=False),
        sa.Column("task", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "mirrored",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("refused", sa.Boolean, nullable=False, server_default=sa.false()),
        sqlite_with_rowid=False,
    )
