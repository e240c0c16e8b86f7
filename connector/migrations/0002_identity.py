"""Identity that can be taken back: what stands and what is set aside; acts, choices, traits and landings.

Tables that get columns are made anew on SQLite, which can otherwise not add them as ``tables`` says.
Caches are filled by ``derive.adopt``, which every start runs when the rules are not the ones the store was derived by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Key = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

COUNTS = "stands and not apart"


def upgrade() -> None:
    _extend("messages", lambda: [sa.Column("identifiers", sa.Text), sa.Column("taught", sa.Text)])
    _extend("mentions", lambda: [sa.Column("said_by", sa.SmallInteger, nullable=False, server_default="0")])
    _extend("identifiers", _of_identifiers)
    _extend("links", _of_standing)
    _extend("sightings", _of_standing)
    if op.get_bind().dialect.name != "sqlite":
        _by_code_points()
        op.execute("alter table identifiers set (fillfactor = 80)")  # room for a row's next version beside it
    op.execute("update mentions set said_by = 1 where message in (select id from messages where vendor is null)")
    _note_identifiers()
    _tables()


def _note_identifiers() -> None:
    """Which identifiers each message carried: so far only the mentions knew."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "create temporary table carried as select message, json_group_array(identifier_id) as ids from mentions"
            " group by message"
        )
        op.execute("create index temp.carried_message on carried (message)")
        op.execute("update messages set identifiers = (select ids from carried where message = messages.id)")
        op.execute("drop table carried")
    else:
        op.execute(
            "update messages set identifiers = carried.ids from (select message, json_agg(identifier_id)::text as ids"
            " from mentions group by message) carried where carried.message = messages.id"
        )


def _by_code_points() -> None:
    """Ties are broken by these; 0001 left them to the language of the server, which orders them otherwise."""
    for table, column in (
        ("identifiers", "first_message"),
        ("links", "first_message"),
        ("sightings", "first_message"),
        ("sightings", "last_message"),
        ("consents", "message"),
    ):
        op.alter_column(table, column, type_=Key)


def _of_identifiers() -> list[sa.Column[object]]:
    return [
        sa.Column("email_id", sa.BigInteger),
        sa.Column("degree", sa.Integer, nullable=False, server_default="0"),
        sa.Column("apart", sa.Boolean, nullable=False, server_default=sa.false()),
    ]


def _of_standing() -> list[sa.Column[object]]:
    return [
        sa.Column("stands", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("apart", sa.Boolean, nullable=False, server_default=sa.false()),
    ]


INDEXES: dict[str, Sequence[tuple[str, list[str], str | None]]] = {
    "messages": (
        ("messages_message", ["message_id"], None),
        ("messages_outcome", ["outcome", "id"], None),
    ),
    "mentions": (),
    "identifiers": (
        ("identifiers_component", ["component_id"], None),
        ("identifiers_profile", ["profile_hash"], None),
        ("identifiers_apart", ["id"], "apart"),
    ),
    "links": (
        ("links_weaker", ["b_id", "a_id"], None),
        ("links_people", ["a_id", "b_id"], f"not browser and {COUNTS}"),
    ),
    "sightings": (
        ("sightings_browsers", ["a_id", "minute"], f"browser and {COUNTS}"),
        ("sightings_weaker", ["b_id", "minute"], f"browser and {COUNTS}"),
    ),
}

NEW = ("identifiers_apart",)
CHANGED = ("links_people", "sightings_browsers", "sightings_weaker")


def _extend(table: str, columns: Callable[[], list[sa.Column[object]]]) -> None:
    if op.get_bind().dialect.name == "sqlite":
        _anew(table, columns())
        indexes = INDEXES[table]
    else:
        for column in columns():
            op.add_column(table, column)
        for name, *_ in INDEXES[table]:
            if name in CHANGED:
                op.drop_index(name, table)
        indexes = [one for one in INDEXES[table] if one[0] in (*NEW, *CHANGED)]
    for name, keys, where in indexes:
        condition = None if where is None else sa.text(where)
        op.create_index(name, table, keys, sqlite_where=condition, postgresql_where=condition)


def _anew(table: str, columns: list[sa.Column[object]]) -> None:
    """The table once more with its further columns last, and its rows in it."""
    before = f"{table}_0001"
    names = [row[1] for row in op.get_bind().exec_driver_sql(f"pragma table_info({table})")]
    for name, *_ in INDEXES[table]:
        if name not in NEW:
            op.drop_index(name, table)
    op.rename_table(table, before)
    op.create_table(table, *BEFORE[table](), *columns, *CONSTRAINTS.get(table, lambda: [])(), **OPTIONS.get(table, {}))
    listed = ", ".join(names)
    op.execute(f"insert into {table} ({listed}) select {listed} from {before}")  # noqa: S608 - names of ours
    op.drop_table(before)


def _messages() -> list[sa.Column[object]]:
    return [
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
    ]


def _mentions() -> list[sa.Column[object]]:
    return [
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("message", Number, primary_key=True, autoincrement=False),
    ]


def _identifiers() -> list[sa.Column[object]]:
    return [
        sa.Column("id", Number, primary_key=True, autoincrement=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("first_message", sa.Text, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("carried_at", sa.BigInteger),
        sa.Column("component_id", sa.BigInteger),
        sa.Column("profile_hash", sa.Text, nullable=False),
    ]


def _links() -> list[sa.Column[object]]:
    return [
        sa.Column("a_id", Number, primary_key=True, autoincrement=False),
        sa.Column("b_id", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("browser", sa.Boolean, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("first_message", sa.Text, nullable=False),
    ]


def _sightings() -> list[sa.Column[object]]:
    return [
        sa.Column("a_id", Number, primary_key=True, autoincrement=False),
        sa.Column("b_id", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("browser", sa.Boolean, nullable=False),
        sa.Column("first_at", sa.BigInteger, nullable=False),
        sa.Column("first_message", sa.Text, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("last_message", sa.Text, nullable=False),
    ]


BEFORE: dict[str, Callable[[], list[sa.Column[object]]]] = {
    "messages": _messages,
    "mentions": _mentions,
    "identifiers": _identifiers,
    "links": _links,
    "sightings": _sightings,
}
CONSTRAINTS: dict[str, Callable[[], list[sa.Constraint]]] = {
    "identifiers": lambda: [sa.UniqueConstraint("value", "type", name="identifiers_value")],
}
OPTIONS: dict[str, dict[str, bool]] = {
    "mentions": {"sqlite_with_rowid": False},
    "links": {"sqlite_with_rowid": False},
    "sightings": {"sqlite_with_rowid": False},
}


def _tables() -> None:
    _record()
    _acts()


def _record() -> None:
    """What visitors chose, what was told of them, and where they landed."""
    op.create_table(
        "choices",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("category", sa.Text, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("denied", sa.Boolean, nullable=False),
        sa.Column("granted", sa.Boolean, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("message", Key, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "traits",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("message", Key, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "landings",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("browser_id", Number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("profile_id", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("landings_browser", "landings", ["browser_id"])
    op.create_table(
        "machine_clicks",
        sa.Column("identifier_id", Number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sqlite_with_rowid=False,
    )


def _acts() -> None:
    """What operators took back, and whom we were told to forget."""
    op.create_table(
        "revocations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger),
        sa.Column("left_hash", sa.Text),
        sa.Column("right_hash", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("until", sa.BigInteger),
        sa.Column("undone_at", sa.BigInteger),
    )
    op.create_index("revocations_left", "revocations", ["left_hash"])
    op.create_index("revocations_message", "revocations", ["message"])
    op.create_index("revocations_right", "revocations", ["right_hash"])
    op.create_table(
        "revoked_buckets",
        sa.Column("a_id", Number, primary_key=True, autoincrement=False),
        sa.Column("b_id", Number, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True),
        sa.Column("revocation", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstones",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("until", sa.BigInteger),
        sa.Column("message", sa.Text, nullable=False),
    )
