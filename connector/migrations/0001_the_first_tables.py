"""The first tables.

The comments that explain them are in ``connector/tables.py``; this page says the same once more, because a revision
that has run somewhere must never change with the code. tests/test_migrate.py holds the two against each other.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _evidence()
    _decisions()
    _deliveries()
    _house_keeping()


def _evidence() -> None:
    """Append-only: what came, who was seen with whom, and when."""
    op.create_table(
        "inbox",
        sa.Column("id", Number, primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("envelope", sa.Text),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("authenticated", sa.Boolean, nullable=False),
        sa.Column("rotten", sa.Text),
        sa.UniqueConstraint("source", "message_id", name="inbox_message"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "inbox_todo",
        sa.Column("inbox_id", Number, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "identifiers",
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("first_message", sa.Text, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("carried_at", sa.BigInteger),
        sa.Column("component_id", sa.BigInteger),
        sa.Column("profile_hash", sa.Text, nullable=False),
        sa.UniqueConstraint("value", "type", name="identifiers_value"),
    )
    op.create_index("identifiers_component", "identifiers", ["component_id"])
    op.create_index("identifiers_profile", "identifiers", ["profile_hash"])
    op.create_table(
        "email_hashes",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("identifier_id", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "links",
        sa.Column("a_id", Number, primary_key=True, autoincrement=False),
        sa.Column("b_id", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("browser", sa.Boolean, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("first_message", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    _partial_index("links_people", "links", ["a_id", "b_id"], "not browser")
    op.create_index("links_weaker", "links", ["b_id", "a_id"])
    op.create_table(
        "sightings",
        sa.Column("a_id", Number, primary_key=True, autoincrement=False),
        sa.Column("b_id", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("browser", sa.Boolean, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("first_message", sa.Text, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("last_message", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    _partial_index("sightings_browsers", "sightings", ["a_id", "minute"], "browser")
    op.create_index("sightings_weaker", "sightings", ["b_id", "minute"])


def _decisions() -> None:
    """What was decided about each message, and what it rested on."""
    op.create_table(
        "messages",
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text),
        sa.Column("event", sa.Text),
        sa.Column("vendor", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("authenticated", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("notes", sa.Text),
        sa.Column("user_id", sa.Text),
        sa.Column("anonymous_id", sa.Text),
        sa.Column("arrived_usable", sa.Boolean),
        sa.Column("evidence", sa.Text),
        sa.Column("recipient_id", sa.BigInteger),
        sa.Column("vendor_profile_id", sa.BigInteger),
        sa.Column("vendor_user_id", sa.BigInteger),
        sa.Column("browser_id", sa.BigInteger),
    )
    op.create_index("messages_message", "messages", ["message_id"])
    op.create_index("messages_outcome", "messages", ["outcome", "id"])
    op.create_table(
        "mentions",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("message", Number, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "consents",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("category", sa.Text, primary_key=True),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _deliveries() -> None:
    """What leaves, what waits to leave, and how each attempt went."""
    op.create_table(
        "outbox",
        sa.Column("id", Number, primary_key=True, autoincrement=True),
        sa.Column("inbox_id", sa.BigInteger, nullable=False),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("pending_at", sa.BigInteger),
        sa.Column("maybe_sent_at", sa.BigInteger),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_until", sa.BigInteger),
        sa.UniqueConstraint("message_id", "destination", name="outbox_message"),
        sqlite_autoincrement=True,
    )
    _partial_index("outbox_dead", "outbox", ["id"], "status = 'dead'")
    _partial_index("outbox_due", "outbox", ["destination", "due_at", "at"], "status = 'pending'")
    _partial_index("outbox_held", "outbox", ["due_at"], "status = 'held'")
    op.create_index("outbox_inbox", "outbox", ["inbox_id"])
    op.create_table(
        "waiting",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("outbox_id", Number, primary_key=True, autoincrement=False),
        sa.Column("ambiguous", sa.Boolean, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("waiting_outbox", "waiting", ["outbox_id"])
    op.create_table(
        "attempts",
        sa.Column("id", Number, primary_key=True, autoincrement=True),
        sa.Column("outbox_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("attempts_outbox", "attempts", ["outbox_id", "id"])
    op.create_table(
        "opaque_ids",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("anonymous_id", sa.Text, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("inbox_id", sa.BigInteger, nullable=False),
        sa.Column("ambiguous", sa.Boolean, nullable=False),
        sa.Column("joined_user_id", sa.Text),
    )


def _house_keeping() -> None:
    """Numbers kept instead of counted, and facts about the store itself."""
    op.create_table(
        "counters",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("shard", sa.SmallInteger, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "doors",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("last_at", sa.BigInteger),
        sa.Column("refused_at", sa.BigInteger),
        sa.Column("refused_because", sa.Text),
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
