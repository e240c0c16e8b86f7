"""All tables on one page.

The record, which is append-only and which no decision rewrites: ``identifiers``, ``sightings``, ``mentions``,
``traits``, ``choices``, ``consents``, ``landings``, ``machine_clicks``, ``clicks``, ``revocations``,
``revoked_buckets``, ``tombstones``. Raw bodies (``inbox``) may go sooner.
Caches of it, which a rebuild derives again: ``links``, ``email_hashes``, and the columns ``component_id``,
``email_id``, ``degree``, ``stands``, ``apart``, ``browser`` and ``swept``.
What we decided and did: ``messages`` (the stitching log), ``outbox``, ``attempts``.

The same definitions serve SQLite and PostgreSQL. Times are integers, milliseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, SmallInteger, Text, UniqueConstraint
from sqlalchemy.dialects import postgresql

metadata: Final = sa.MetaData()
# Text that ties are broken by is compared by its code points, as Python does, whatever language the server speaks.
Key: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
# What partial indexes hold; a query has to say the same words to be answered from them.
COUNTS: Final = "stands and not apart"
PEOPLE: Final = f"not browser and {COUNTS}"
OWNED: Final = f"browser and {COUNTS}"
NAMELESS: Final = "outcome = 'ignored' and identifiers = '[]'"
IN_TURN: Final = "status = 'pending' and subject_id is not null"
Number: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by themselves only as INTEGER

inbox = sa.Table(
    "inbox",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("message_id", Text, nullable=False),  # the key that deduplicates within the source
    Column("body", Text, nullable=False),  # the element as it came; text, because jsonb refuses \u0000
    Column("envelope", Text),  # what the request said about all of its elements, JSON
    Column("received_at", BigInteger, nullable=False),
    Column("authenticated", Boolean, nullable=False),
    Column("rotten", Text),  # why the element cannot be read, known at the door
    UniqueConstraint("source", "message_id", name="inbox_message"),
    sqlite_autoincrement=True,
)

# Rows that no stitcher has taken yet. A side table: a watermark over inbox.id loses rows that commit late,
# and a status column would rewrite the row that holds the body.
inbox_todo = sa.Table("inbox_todo", metadata, Column("inbox_id", Number, primary_key=True, autoincrement=False))

messages = sa.Table(
    "messages",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),  # = inbox.id
    Column("source", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("type", Text),
    Column("event", Text),
    Column("vendor", Text),
    Column("at", BigInteger, nullable=False),  # event time; the receipt where there is none
    Column("received_at", BigInteger, nullable=False),
    Column("authenticated", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),  # plain words, never an address
    Column("notes", Text),  # what was repaired on the way in, JSON list
    Column("user_id", Text),  # what left, or would have
    Column("anonymous_id", Text),
    Column("arrived_usable", Boolean),
    Column("evidence", Text),  # the links the decision stands on, JSON list of [a_id, b_id, kind]
    Column("recipient_id", BigInteger),  # identifiers.id of the three that may name the addressee
    Column("vendor_profile_id", BigInteger),
    Column("vendor_user_id", BigInteger),
    Column("browser_id", BigInteger),  # the anonymousId it arrived with, if that may be a browser's
    Column("identifiers", Text),  # the identifiers it carried, JSON list of identifiers.id
    Column("taught", Text),  # the links it was a sighting of, JSON list of [a_id, b_id, kind]
    Index("messages_message", "message_id"),
    Index("messages_outcome", "outcome", "id"),
    # What names nobody, so that forgetting has to look into its body.
    Index("messages_nameless", "id", sqlite_where=sa.text(NAMELESS), postgresql_where=sa.text(NAMELESS)),
)

# Which identifiers a message carried: the timeline of a profile, and what forgetting has to find.
mentions = sa.Table(
    "mentions",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True),
    Column("message", Number, primary_key=True, autoincrement=False),
    Column("said_by", SmallInteger, nullable=False, server_default="0"),  # remember.VENDOR, SITE or OPERATOR
    sqlite_with_rowid=False,
)

identifiers = sa.Table(
    "identifiers",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("first_message", Key, nullable=False),  # "source/message_id" of the earliest, the tie-breaker
    Column("last_at", BigInteger, nullable=False),
    Column("carried_at", BigInteger),  # first site or server call that carried it; None: only vendors told us
    # The smallest identifier id of its connected component; NULL for browsers and hubs, which join nobody. Depends on
    # arrival order: internal, never shown, never compared.
    Column("component_id", BigInteger),
    # The profile id of a person whose earliest identifier this is; any of a person's resolves to the person.
    Column("profile_hash", Text, nullable=False),
    Column("email_id", BigInteger),  # of an anonymous_id that is a known email's hash: that email
    Column("degree", Integer, nullable=False, server_default="0"),  # stronger identifiers it is linked to
    # It names nobody: a hub, or a value that the rules block since. Its links are set aside.
    Column("apart", Boolean, nullable=False, server_default=sa.false()),
    UniqueConstraint("value", "type", name="identifiers_value"),  # value first: one look-up finds all types
    Index("identifiers_component", "component_id"),
    Index("identifiers_profile", "profile_hash"),
    Index("identifiers_apart", "id", sqlite_where=sa.text("apart"), postgresql_where=sa.text("apart")),
    # Room on the page for a row's next version: its times move at nearly every sighting, and with it no index entry has
    # to (measured among a million people: the update cost three times as much without).
    postgresql_with={"fillfactor": 80},
)

# Digests of every known email, so that a hash-shaped anonymousId is recognised in either order of arrival.
email_hashes = sa.Table(
    "email_hashes",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("identifier_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Two identifiers seen together, once per kind. a is the stronger end. browser: the weaker end is an anonymous_id
# that is not known to be an email's hash, so the link attaches and does not join.
links = sa.Table(
    "links",
    metadata,
    Column("a_id", Number, primary_key=True, autoincrement=False),
    Column("b_id", Number, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("browser", Boolean, nullable=False),
    Column("first_at", BigInteger, nullable=False),  # of its standing sightings
    Column("first_message", Key, nullable=False),
    Column("stands", Boolean, nullable=False, server_default=sa.true()),  # it has a sighting that counts
    Column("apart", Boolean, nullable=False, server_default=sa.false()),  # an end names nobody: set aside
    Index("links_weaker", "b_id", "a_id"),
    Index("links_people", "a_id", "b_id", sqlite_where=sa.text(PEOPLE), postgresql_where=sa.text(PEOPLE)),
    sqlite_with_rowid=False,
)

# The times two identifiers were seen together, kept per minute as earliest and latest: a set union, so that the
# order and the number of arrivals cannot matter, and "latest at or before t" can be read.
sightings = sa.Table(
    "sightings",
    metadata,
    Column("a_id", Number, primary_key=True, autoincrement=False),
    Column("b_id", Number, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("browser", Boolean, nullable=False),
    Column("first_at", BigInteger, nullable=False),
    Column("first_message", Key, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("last_message", Key, nullable=False),
    Column("stands", Boolean, nullable=False, server_default=sa.true()),  # neither revoked nor without consent
    Column("apart", Boolean, nullable=False, server_default=sa.false()),  # as in links
    Index("sightings_browsers", "a_id", "minute", sqlite_where=sa.text(OWNED), postgresql_where=sa.text(OWNED)),
    Index("sightings_weaker", "b_id", "minute", sqlite_where=sa.text(OWNED), postgresql_where=sa.text(OWNED)),
    sqlite_with_rowid=False,
)

outbox = sa.Table(
    "outbox",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("inbox_id", BigInteger, nullable=False),  # the message it answers
    Column("destination", Text, nullable=False),
    Column("message_id", Text, nullable=False),  # outgoing; deterministic, remembered for ever
    Column("status", Text, nullable=False),  # held, pending, delivered, dead, dropped
    Column("at", BigInteger, nullable=False),  # event time: the order of release and of sending
    Column("due_at", BigInteger, nullable=False),  # held: expires; pending: may be tried from
    Column("body", Text, nullable=False),  # what leaves, without sentAt; while held also without ids
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("pending_at", BigInteger),  # since when it may leave: the seven days of retries count from here
    Column("maybe_sent_at", BigInteger),  # first attempt whose answer we never saw: Segment forgets ids after a day
    Column("claimed_by", Text),
    Column("claimed_until", BigInteger),
    # identifiers.id of whose record it changes: what concerns one leaves in its order, one after the other.
    Column("subject_id", BigInteger),
    UniqueConstraint("message_id", "destination", name="outbox_message"),
    Index("outbox_inbox", "inbox_id"),
    Index("outbox_subject", "subject_id", "id", sqlite_where=sa.text(IN_TURN), postgresql_where=sa.text(IN_TURN)),
    Index(
        "outbox_due",
        "destination",
        "due_at",
        "at",
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    ),
    Index(
        "outbox_held",
        "due_at",
        sqlite_where=sa.text("status = 'held'"),
        postgresql_where=sa.text("status = 'held'"),
    ),
    Index("outbox_dead", "id", sqlite_where=sa.text("status = 'dead'"), postgresql_where=sa.text("status = 'dead'")),
    sqlite_autoincrement=True,
)

# Which identifiers a held delivery waits for.
waiting = sa.Table(
    "waiting",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("outbox_id", Number, primary_key=True, autoincrement=False),
    # Two people were named: mere repetition of what is known may decide between them. Else only news can release it.
    Column("ambiguous", Boolean, nullable=False),
    Index("waiting_outbox", "outbox_id"),
    sqlite_with_rowid=False,
)

attempts = sa.Table(
    "attempts",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("outbox_id", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),  # delivered, refused, unknown, retry (an operator's)
    Column("detail", Text, nullable=False),
    Index("attempts_outbox", "outbox_id", "id"),
)

# Addressees whose events left under an opaque id, so that one identify can join it to their userId later.
opaque_ids = sa.Table(
    "opaque_ids",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("anonymous_id", Text, nullable=False),
    Column("last_at", BigInteger, nullable=False),  # event time of the latest event that left under it
    Column("inbox_id", BigInteger, nullable=False),  # and its message
    Column("ambiguous", Boolean, nullable=False),  # two people were named: only a declared link joins it
    Column("joined_user_id", Text),
)

# The last consent an identifier was seen with, per category, by event time.
consents = sa.Table(
    "consents",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("category", Text, primary_key=True),
    Column("granted", Boolean, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("message", Key, nullable=False),
    sqlite_with_rowid=False,
)

# What a visitor chose about the categories that identity.toml requires, per minute: latest choice, and any refusal.
choices = sa.Table(
    "choices",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("category", Text, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("denied", Boolean, nullable=False),
    Column("granted", Boolean, nullable=False),  # the latest choice of the minute
    Column("at", BigInteger, nullable=False),
    Column("message", Key, nullable=False),
    sqlite_with_rowid=False,
)

# Traits as identify calls told them, per minute the last: which one a person has is decided when somebody asks.
traits = sa.Table(
    "traits",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("message", Key, nullable=False),
    Column("value", Text, nullable=False),  # JSON
    Column("integrations", Text),  # those that its call switched on and off, JSON; NULL if it switched none off
    sqlite_with_rowid=False,
)

# When browsers landed from the links of an email platform, and whom these name.
landings = sa.Table(
    "landings",
    metadata,
    Column("token", Text, primary_key=True),  # keyed hash
    Column("browser_id", Number, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True),
    Column("profile_id", BigInteger, nullable=False),  # whom it names: a profile, or a token that stands for one
    Index("landings_browser", "browser_id"),
    sqlite_with_rowid=False,
)

# When a vendor said that a click of one of its profiles was a machine's.
machine_clicks = sa.Table(
    "machine_clicks",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

# Clicks on the links of mails: a scanner is known by how many different ones of a mail it follows at once.
clicks = sa.Table(
    "clicks",
    metadata,
    Column("delivery", Text, primary_key=True),  # keyed hash of platform, addressee and mail
    Column("at", BigInteger, primary_key=True),
    Column("inbox_id", Number, primary_key=True, autoincrement=False),
    Column("link", Text, nullable=False),  # keyed hash
    Column("profile_id", BigInteger),  # the vendor profile that clicked, if the message names one
    Column("swept", Boolean, nullable=False, server_default=sa.false()),  # one of a scanner's sweep
    Index("clicks_message", "inbox_id"),
    Index("clicks_profile", "profile_id", "at"),
    sqlite_with_rowid=False,
)

# Names that an email platform gave and only it can tell whose they are: link tokens, ids of its profiles. Asked for in
# the background; the answers come by the inbox, like anything else that teaches.
lookups = sa.Table(
    "lookups",
    metadata,
    Column("type", Text, primary_key=True),  # of identifier, such as klaviyo_exchange_id
    Column("value", Text, primary_key=True),  # of the identifier: a token's keyed hash, a profile's id
    Column("token", Text),  # what is asked with; gone as soon as there is an answer
    Column("status", Text, nullable=False),  # wanted, known, unknown
    Column("at", BigInteger, nullable=False),  # when it was first wanted, then when it was answered
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Index(
        "lookups_wanted",
        "due_at",
        sqlite_where=sa.text("status = 'wanted'"),
        postgresql_where=sa.text("status = 'wanted'"),
    ),
    sqlite_with_rowid=False,
)

# How far an email platform's API was read: one row a metric.
polls = sa.Table(
    "polls",
    metadata,
    Column("source", Text, primary_key=True),
    Column("metric_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("began_at", BigInteger, nullable=False),  # when it was first polled: what is older is history
    Column("watermark", BigInteger, nullable=False),  # everything up to here was read
    Column("swept_at", BigInteger, nullable=False),  # when late arrivals were last looked for
    Column("task", Text),  # a reading under way: its cursor and what it is for, JSON, so that it goes on where it was
    sqlite_with_rowid=False,
)

# Work that one process at a time does, and until when it may count on that.
leases = sa.Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)

# What an email platform was last told of a customer, as keyed digests: only what is new to it leaves.
mirrored = sa.Table(
    "mirrored",
    metadata,
    Column("identifier_id", Number, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),  # since when: after a day all of it is told again
    Column("told", Text, nullable=False),  # JSON: attribute → digest of its value
    Column("refused", Boolean, nullable=False, server_default=sa.false()),  # and it would not have it
    sqlite_with_rowid=False,
)

# What operators took back. Identifiers are named by their keyed hashes, so that they may be unknown yet, or erased.
revocations = sa.Table(
    "revocations",
    metadata,
    Column("id", Text, primary_key=True),  # messageId of the operator's act
    Column("at", BigInteger),  # the act's own time; NULL while only its undoing is known
    Column("left_hash", Text),  # one identifier, or one end of a link
    Column("right_hash", Text),
    Column("message", Text),  # or everything that this message ("source/messageId") proved
    Column("until", BigInteger),  # later sightings count again
    Column("undone_at", BigInteger),
    Index("revocations_left", "left_hash"),
    Index("revocations_right", "right_hash"),
    Index("revocations_message", "message"),
)

# The minutes of links that a revoked message had shown, or one whose sender had refused ("consent/" and its number).
revoked_buckets = sa.Table(
    "revoked_buckets",
    metadata,
    Column("a_id", Number, primary_key=True, autoincrement=False),
    Column("b_id", Number, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("revocation", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# Whom we were told to forget, as keyed hashes: what a message carries at or before ``until`` is dropped.
tombstones = sa.Table(
    "tombstones",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("until", BigInteger),  # NULL: for ever
    Column("message", Text, nullable=False),  # the messageId of who said so
)

# Numbers that would otherwise be counted: kept exactly, in the transaction that changes them. A row per shard,
# because many web processes would wait for each other on one row; the sum is the value.
counters = sa.Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("shard", SmallInteger, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# One row a fact about the store itself: the fingerprint of its secret, the progress of an import.
facts = sa.Table("facts", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))

# Who serves, stitches and delivers, and when each was last alive.
heartbeats = sa.Table(
    "heartbeats",
    metadata,
    Column("name", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

# The last message and the last refusal of each source: what `check` shows first.
doors = sa.Table(
    "doors",
    metadata,
    Column("source", Text, primary_key=True),
    Column("last_at", BigInteger),
    Column("refused_at", BigInteger),
    Column("refused_because", Text),
)
